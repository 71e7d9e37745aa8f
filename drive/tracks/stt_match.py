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
    used, finite = 0, True
    for i in range(n):
        top, total = np.float64(logits[i, 0]), 0.0
        for p in range(k):
            if look_at[i, p] >= 0:
                top = max(top, np.float64(logits[i, 1 + p]))
        for p in range(1 + k):
            if p == 0 or look_at[i, p - 1] >= 0:
                total += np.exp(np.float64(logits[i, p]) - top)
        total = top + np.log(total)
        none = total - np.float64(logits[i, 0]) + none_cost
        finite &= np.isfinite(none)
        for p in range(k):
            paid = total - np.float64(logits[i, 1 + p])
            if look_at[i, p] < 0 or paid > most or paid > none:  # "no match" is always free, and then better
                continue
            finite &= np.isfinite(paid)
            column[used], cost[used] = look_at[i, p], paid
            used += 1
        column[used], cost[used] = detections + i, none
        used += 1
        offsets[i + 1] = used
    choice = np.zeros(n, np.int64)
    if n == 0 or not finite:
        return choice, finite
    column_of, row_of = np.full(n, FREE, np.int64), np.full(detections + n, FREE, np.int64)
    optimal(0, 1, np.array([0, n]), offsets, column[:used], cost[:used], row_of, column_of)
    for i in range(n):
        for p in range(k):
            if look_at[i, p] == column_of[i]:
                choice[i] = 1 + p
    return choice, finite
