"""Greedy matching of predictions to ground truth by centre distance, for several thresholds in one pass.

Semantics of nuscenes-devkit 1.2, eval/detection/algo.py ``accumulate``: predictions of the whole split in the order of
their score; each takes the nearest ground truth of its frame that is still free, if it is strictly nearer than the
threshold. Which boxes are free differs by threshold, so each threshold keeps its own marks; the distances are shared.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _match(
    pred_frame: np.ndarray, pred_xy: np.ndarray, truth_start: np.ndarray, truth_xy: np.ndarray, thresholds: np.ndarray
) -> np.ndarray:
    num_thresholds = len(thresholds)
    taken = np.zeros((len(truth_xy), num_thresholds), dtype=np.uint8)
    match = np.full((num_thresholds, len(pred_xy)), -1, dtype=np.int64)
    nearest = np.empty(num_thresholds, dtype=np.float64)
    nearest_row = np.empty(num_thresholds, dtype=np.int64)
    for p in range(len(pred_xy)):
        nearest[:] = np.inf
        nearest_row[:] = -1
        x, y = pred_xy[p, 0], pred_xy[p, 1]
        for g in range(truth_start[pred_frame[p]], truth_start[pred_frame[p] + 1]):
            dx, dy = x - truth_xy[g, 0], y - truth_xy[g, 1]
            # The root, not the square: squares that differ in the last bit can share a root, and the first wins.
            distance = np.sqrt(dx * dx + dy * dy)
            for t in range(num_thresholds):
                if distance < nearest[t] and taken[g, t] == 0:
                    nearest[t] = distance
                    nearest_row[t] = g
        for t in range(num_thresholds):
            if nearest[t] < thresholds[t]:
                match[t, p] = nearest_row[t]
                taken[nearest_row[t], t] = 1
    return match


def match_centres(
    pred_frame: np.ndarray, pred_xy: np.ndarray, truth_frame: np.ndarray, truth_xy: np.ndarray, thresholds: np.ndarray
) -> np.ndarray:
    """Row of the ground truth that each prediction takes, or -1: int64 [T, P].

    pred_frame int64 [P], pred_xy f64 [P, 2] in the order in which they choose (best score first). truth_frame int64 [G]
    non-decreasing, truth_xy f64 [G, 2]. thresholds f64 [T], metres, strict. One class at a time.
    """
    num_frames = int(max(pred_frame.max(initial=-1), truth_frame.max(initial=-1))) + 1
    truth_start = np.zeros(num_frames + 1, dtype=np.int64)
    np.cumsum(np.bincount(truth_frame, minlength=num_frames), out=truth_start[1:])
    return _match(
        np.ascontiguousarray(pred_frame, dtype=np.int64),
        np.ascontiguousarray(pred_xy, dtype=np.float64),
        truth_start,
        np.ascontiguousarray(truth_xy, dtype=np.float64),
        np.ascontiguousarray(thresholds, dtype=np.float64),
    )
