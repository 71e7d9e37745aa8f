"""Greedy suppression for the CPU: groups side by side over threads, near pairs only."""

import numpy as np
from numba import njit

from ops import threads as threading
from ops.rotated_iou.cpu import box_iou, half_diagonals, new_scratch

GRAIN = 256.0


@njit(cache=True, nogil=True)
def _suppress(start, stop, boxes, bounds, thresholds, alive):  # type: ignore[no-untyped-def]
    """Rows bounds[g]:bounds[g + 1] are group g, best first; clears alive where a better kept box overlaps."""
    scratch, reach = new_scratch(), half_diagonals(boxes)
    for g in range(start, stop):
        first, last = bounds[g], bounds[g + 1]
        for i in range(first, last):
            if not alive[i]:
                continue
            for j in range(i + 1, last):
                dx, dy, far = boxes[i, 0] - boxes[j, 0], boxes[i, 1] - boxes[j, 1], reach[i] + reach[j]
                near = dx * dx + dy * dy <= far * far and alive[j]
                if near and box_iou(boxes, i, boxes, j, False, scratch) > thresholds[g]:
                    alive[j] = False


def rotated_nms(
    boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray, thresholds: np.ndarray, *, threads: int
) -> np.ndarray:
    """Kept indices, best score first. boxes float64 [N, 7], groups int64 [N] in 0..len(thresholds) - 1."""
    by_score = np.argsort(-scores, kind="stable")
    by_group = by_score[np.argsort(groups[by_score], kind="stable")]
    bounds = np.searchsorted(groups[by_group], np.arange(thresholds.size + 1))
    alive = np.ones(boxes.shape[0], np.bool_)
    cost = np.concatenate([[0.0], np.cumsum(np.diff(bounds).astype(np.float64) ** 2)])
    parts = threading.balanced_parts(cost, threads, GRAIN**2)
    threading.run(_suppress, parts, threads, boxes[by_group], bounds, thresholds, alive)
    kept = np.empty(boxes.shape[0], np.bool_)
    kept[by_group] = alive
    return by_score[kept[by_score]]
