"""Greedy suppression for the CPU: groups side by side over threads, neighbours from a grid, linear at constant density.

Floor of 4096 boxes: a sort (0.1 ms) and one overlap for each pair of a kept box with a near, worse, living one.
"""

import numpy as np
from numba import njit

from ops import threads as threading
from ops.rotated_iou import near
from ops.rotated_iou.cpu import prepare, row_iou

GRAIN = 2048.0


@njit(cache=True, nogil=True)
def _suppress(start, stop, rows, reach, bounds, thresholds, alive):  # type: ignore[no-untyped-def]
    """Rows bounds[g]:bounds[g + 1] are group g, best first; clears alive where a better kept box overlaps."""
    for g in range(start, stop):
        first, last = bounds[g], bounds[g + 1]
        # IoU is at most the smaller size over the larger; the margin covers its roundings.
        least = thresholds[g] - 1e-9
        mine, far = rows[first:last], reach[first:last]
        grid = near.build(mine[:, 0], mine[:, 1], far)
        found = np.empty(last - first + 1, np.int64)
        for i in range(last - first):
            if not alive[first + i] or far[i] < 0:
                continue
            for k in range(near.query(grid, mine[i, 0], mine[i, 1], far[i], found)):
                j = found[k]
                if j <= i or not alive[first + j]:
                    continue
                if min(mine[i, 8], mine[j, 8]) < least * max(mine[i, 8], mine[j, 8]):
                    continue
                if row_iou(mine, i, mine, j, False) > thresholds[g]:
                    alive[first + j] = False


@njit(cache=True, nogil=True)
def _group_rows(by_score, groups, count):  # type: ignore[no-untyped-def]
    """(by_score ordered by group, kept in order within a group; bounds [count + 1])."""
    bounds = np.zeros(count + 1, np.int64)
    for n in range(groups.size):
        bounds[groups[n] + 1] += 1
    for g in range(count):
        bounds[g + 1] += bounds[g]
    cursor, out = bounds[:-1].copy(), np.empty_like(by_score)
    for n in by_score:
        out[cursor[groups[n]]] = n
        cursor[groups[n]] += 1
    return out, bounds


@njit(cache=True, nogil=True)
def _ties_by_index(scores, order):  # type: ignore[no-untyped-def]
    """Put boxes of equal score in rising order."""
    start = 0
    while start < order.size:
        stop = start + 1
        while stop < order.size and scores[order[stop]] == scores[order[start]]:
            stop += 1
        if stop - start > 1:
            order[start:stop] = np.sort(order[start:stop])
        start = stop


def rotated_nms(
    boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray, thresholds: np.ndarray, *, threads: int
) -> np.ndarray:
    """Kept indices, best score first. boxes [N, >=7], groups int64 [N] in 0..len(thresholds) - 1; scores no NaN."""
    by_score = np.argsort(-scores)
    _ties_by_index(scores, by_score)
    by_group, bounds = _group_rows(by_score, groups, thresholds.size)
    rows, reach = prepare(boxes[by_group], False)
    alive = np.ones(boxes.shape[0], np.bool_)
    parts = threading.balanced_parts(bounds, threads, GRAIN)
    threading.run(_suppress, parts, threads, rows, reach, bounds, thresholds, alive)
    kept = np.empty(boxes.shape[0], np.bool_)
    kept[by_group] = alive
    return by_score[kept[by_score]]
