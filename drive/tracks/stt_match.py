"""Which track takes which detection, from the network's association: one compiled step."""

from __future__ import annotations

import numpy as np
from numba import njit

from ops.assignment.cpu import FREE, optimal


def matched_choice(
    logits: np.ndarray, look_at: np.ndarray, detections: int, least: float, no_match: float = 1.0
) -> np.ndarray:
    """Each track's place in ``logits`` [N, 1 + K]: int64 [N], 0 = none; no detection twice.

    The most likely joint choice: a track's cost is -log of its share, for a detection as for "no match", which every
    track has to itself and whose share counts ``no_match`` times. Pairs with a share under ``least`` are not matched.

    Args:
        look_at: int64 [N, K] below ``detections``, -1 = there is none.

    Raises:
        ValueError: a logit, or ``no_match``, makes a cost that is not finite.
    """
    choice, finite = _chosen(logits, look_at, detections, -np.log(least), -np.log(no_match) if no_match > 0 else np.inf)
    if not finite:
        raise ValueError("the association of a track with its detections is not finite")
    return choice


@njit(cache=True, nogil=True, error_model="numpy")
def _chosen(logits, look_at, detections, most, none_cost):  # type: ignore[no-untyped-def]
    """(choice [N], True where all costs are finite)."""
    n, k = look_at.shape
    offsets = np.zeros(n + 1, np.int64)
    column, cost = np.empty(n * (1 + k), np.int64), np.empty(n * (1 + k))
    place_of = np.empty(n * (1 + k), np.int64)
    used, finite = 0, True
    for i in range(n):
        top, total = -np.inf, 0.0
        for p in range(1 + k):
            if p == 0 or look_at[i, p - 1] >= 0:
                top = max(top, np.float64(logits[i, p]))
        for p in range(1 + k):
            if p == 0 or look_at[i, p - 1] >= 0:
                total += np.exp(np.float64(logits[i, p]) - top)
        total = top + np.log(total)
        first = used
        for p in range(1, 1 + k):
            j, paid = look_at[i, p - 1], total - np.float64(logits[i, p])
            if j < 0 or paid > most:
                continue
            finite &= np.isfinite(paid)
            place = used
            while place > first and column[place - 1] > j:  # columns rise within a row
                column[place], cost[place] = column[place - 1], cost[place - 1]
                place_of[place] = place_of[place - 1]
                place -= 1
            column[place], cost[place], place_of[place] = j, paid, p
            used += 1
        column[used], cost[used], place_of[used] = detections + i, total - np.float64(logits[i, 0]) + none_cost, 0
        finite &= np.isfinite(cost[used])
        used += 1
        offsets[i + 1] = used
    choice = np.zeros(n, np.int64)
    if n == 0 or not finite:
        return choice, finite
    column_of, row_of = np.full(n, FREE, np.int64), np.full(detections + n, FREE, np.int64)
    optimal(0, 1, np.array([0, n]), offsets, column[:used], cost[:used], row_of, column_of)
    for i in range(n):
        for e in range(offsets[i], offsets[i + 1]):
            if column[e] == column_of[i]:
                choice[i] = place_of[e]
    return choice, finite
