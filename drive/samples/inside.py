"""Which points lie in which boxes, fast enough to be asked for every training sample."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ops.points_in_boxes import cpu


def points_in_boxes(
    points: npt.NDArray[np.float32], boxes: np.ndarray, margin_m: float = 0.0
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First box of each point, and the number of points in each box (faces count, boxes may overlap).

    Args:
        points: float32 [P, >=3], the boxes' own frame.
        boxes: [N, >=7] x y z length width height yaw.
        margin_m: Every face is moved outwards by this.

    Returns:
        int64 [P], the lowest index of a box that holds the point or -1; int64 [N], counts.
    """
    return cpu.points_in_boxes(points, boxes, margin=margin_m)
