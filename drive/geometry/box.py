"""The one box: columns x y z (centre) length width height yaw vx vy, metres, radians, metres a second.

::

          length (along yaw)
        +-----------------+        corners 0..3 are the bottom, 4..7 the same above them,
     1  |        ^        | 0      counter-clockwise from front left as drawn here:
        |  width | y      |           0 front left   1 rear left
        |        +---> x  |  front    2 rear right   3 front right
     2  |                 | 3
        +-----------------+
"""

from __future__ import annotations

import numpy as np

from drive.geometry.angles import wrap_angle
from drive.geometry.rigid import yaw_of_matrix

BOX_COLUMNS = ("x", "y", "z", "length", "width", "height", "yaw", "vx", "vy")
X, Y, Z, LENGTH, WIDTH, HEIGHT, YAW, VX, VY = range(9)

_CORNER_SIGNS = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], dtype=np.float64) / 2


def corners_bev(boxes: np.ndarray) -> np.ndarray:
    """Ground-plane corners [N, 4, 2] of boxes [N, >=7], counter-clockwise from the front left one."""
    boxes = np.asarray(boxes, dtype=np.float64)
    local = _CORNER_SIGNS[None] * boxes[:, None, [LENGTH, WIDTH]]
    cos, sin = np.cos(boxes[:, YAW])[:, None], np.sin(boxes[:, YAW])[:, None]
    x = cos * local[..., 0] - sin * local[..., 1] + boxes[:, None, X]
    y = sin * local[..., 0] + cos * local[..., 1] + boxes[:, None, Y]
    return np.stack([x, y], axis=-1)


def corners(boxes: np.ndarray) -> np.ndarray:
    """Corners [N, 8, 3] of boxes [N, >=7]: the four of the bottom, then the four above them."""
    boxes = np.asarray(boxes, dtype=np.float64)
    flat = corners_bev(boxes)
    bottom = np.broadcast_to((boxes[:, Z] - boxes[:, HEIGHT] / 2)[:, None, None], (len(boxes), 4, 1))
    top = np.broadcast_to((boxes[:, Z] + boxes[:, HEIGHT] / 2)[:, None, None], (len(boxes), 4, 1))
    return np.concatenate([np.concatenate([flat, bottom], -1), np.concatenate([flat, top], -1)], axis=1)


def transform_boxes(a_from_b: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Boxes [N, 9] of frame b in frame a. Boxes stay upright: only the yaw of the motion turns them."""
    out = np.array(boxes, dtype=np.float64)
    out[:, :3] = out[:, :3] @ a_from_b[:3, :3].T + a_from_b[:3, 3]
    out[:, YAW] = wrap_angle(out[:, YAW] + yaw_of_matrix(a_from_b))
    out[:, [VX, VY]] = out[:, [VX, VY]] @ a_from_b[:2, :2].T
    return out


def points_in_box_mask(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Which points [P, >=3] lie in which boxes [N, >=7] (faces count): bool [N, P]. All pairs: for small N."""
    boxes = np.asarray(boxes, dtype=np.float64)
    offset = points[None, :, :3].astype(np.float64) - boxes[:, None, :3]
    cos, sin = np.cos(boxes[:, YAW])[:, None], np.sin(boxes[:, YAW])[:, None]
    along = cos * offset[..., 0] + sin * offset[..., 1]
    across = -sin * offset[..., 0] + cos * offset[..., 1]
    half = boxes[:, [LENGTH, WIDTH, HEIGHT]] / 2
    inside_plan = (np.abs(along) <= half[:, :1]) & (np.abs(across) <= half[:, 1:2])
    return inside_plan & (np.abs(offset[..., 2]) <= half[:, 2:])
