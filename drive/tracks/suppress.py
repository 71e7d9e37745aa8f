"""Suppression by 3D IoU: what SimpleTrack does to a detector's boxes before it tracks them (compiled, no torch)."""

from __future__ import annotations

import numpy as np
from numba import njit

from ops.rotated_iou import near
from ops.rotated_iou.cpu import prepare, row_iou


@njit(cache=True, nogil=True)
def _keep(rows, reach, labels, limits, alive):  # type: ignore[no-untyped-def]
    grid = near.build(rows[:, 0], rows[:, 1], reach)
    found = np.empty(len(rows) + 1, np.int64)
    for i in range(len(rows)):
        if not alive[i] or reach[i] < 0:
            continue
        for k in range(near.query(grid, rows[i, 0], rows[i, 1], reach[i], found)):
            j = found[k]
            if j > i and alive[j] and labels[j] == labels[i] and row_iou(rows, i, rows, j, True) > limits[labels[i]]:
                alive[j] = False


def kept_by_iou_3d(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Rows of the boxes to keep, best score first (equal scores: lower row first): int64 [kept].

    A box goes where its 3D IoU with a better kept one of its label is greater than the label's limit. boxes float64
    [N, >=7], limits float64 [K]. Cost is linear in boxes at constant density.
    """
    order = np.argsort(-scores, kind="stable")
    rows, reach = prepare(boxes[order], True)
    alive = np.ones(len(order), dtype=np.bool_)
    _keep(rows, reach, labels[order], limits, alive)
    return order[alive]
