"""Least-cost assignment of the objects that kept no track to the tracks that nobody keeps (compiled)."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def complete_assignment(cost: np.ndarray) -> np.ndarray:
    """Column of each row of a complete assignment of least cost, f64 [n, m] with n <= m; int64 [n].

    Shortest augmenting paths (Crouse 2016, "On implementing 2D rectangular assignment algorithms").
    """
    n, m = cost.shape
    row_price, column_price = np.zeros(n), np.zeros(m)
    column_of, row_of = np.full(n, -1, np.int64), np.full(m, -1, np.int64)
    shortest, came_from = np.empty(m), np.empty(m, np.int64)
    done = np.empty(m, np.bool_)
    seen = np.empty(n, np.bool_)
    for start in range(n):
        shortest[:] = np.inf
        came_from[:] = -1
        done[:] = False
        seen[:] = False
        row, length, sink = start, 0.0, -1
        while sink < 0:
            seen[row] = True
            best, best_column = np.inf, -1
            for j in range(m):
                if done[j]:
                    continue
                reach = length + cost[row, j] - row_price[row] - column_price[j]
                if reach < shortest[j]:
                    shortest[j] = reach
                    came_from[j] = row
                if shortest[j] < best or (shortest[j] == best and row_of[j] < 0):
                    best, best_column = shortest[j], j
            length = best
            done[best_column] = True
            if row_of[best_column] < 0:
                sink = best_column
            else:
                row = row_of[best_column]
        row_price[start] += length
        for i in range(n):
            if seen[i] and i != start:
                row_price[i] += length - shortest[column_of[i]]
        for j in range(m):
            if done[j]:
                column_price[j] -= length - shortest[j]
        j = sink
        while True:
            i = came_from[j]
            row_of[j] = i
            column_of[i], j = j, column_of[i]
            if i == start:
                break
    return column_of


@njit(cache=True, nogil=True)
def assign_rest(
    objects: np.ndarray, threshold: float, offsets: np.ndarray, prediction: np.ndarray, distance: np.ndarray,
    pred_score: np.ndarray, taken: np.ndarray, chosen: np.ndarray,
) -> None:  # fmt: skip
    """Pairs for the rows `objects` that kept no track: as many as possible, then the nearest. Fills `chosen`."""
    total = 0
    for g in objects:
        total += offsets[g + 1] - offsets[g]
    columns = np.empty(total, np.int64)
    width = 0
    rows = np.empty(len(objects), np.int64)
    height = 0
    for g in objects:
        free = False
        for e in range(offsets[g], offsets[g + 1]):
            p = prediction[e]
            if pred_score[p] >= threshold and not taken[p]:
                free = True
                known = False
                for j in range(width):
                    if columns[j] == p:
                        known = True
                        break
                if not known:
                    columns[width] = p
                    width += 1
        if free:
            rows[height] = g
            height += 1
    if height == 0:
        return
    if height == 1:  # nearly always: the nearest free one
        g, best = rows[0], -1
        for e in range(offsets[g], offsets[g + 1]):
            p = prediction[e]
            if pred_score[p] >= threshold and not taken[p] and (best < 0 or distance[e] < distance[best]):
                best = e
        chosen[g] = best
        return
    pair = np.full((height, width), -1, np.int64)
    worst = 0.0
    for i in range(height):
        g = rows[i]
        for e in range(offsets[g], offsets[g + 1]):
            p = prediction[e]
            if pred_score[p] >= threshold and not taken[p]:
                for j in range(width):
                    if columns[j] == p:
                        pair[i, j] = e
                        worst = max(worst, distance[e])
                        break
    # One pair that is not allowed must cost more than any number of allowed ones (motmetrics.lap).
    dear = 2.0 * min(height, width) * (worst + 1.0) + 1.0
    turned = height > width
    cost = np.full((width, height) if turned else (height, width), dear)
    for i in range(height):
        for j in range(width):
            if pair[i, j] >= 0:
                if turned:
                    cost[j, i] = distance[pair[i, j]]
                else:
                    cost[i, j] = distance[pair[i, j]]
    found = complete_assignment(cost)
    for k in range(len(found)):
        i, j = (found[k], k) if turned else (k, found[k])
        if pair[i, j] >= 0:
            chosen[rows[i]] = pair[i, j]
