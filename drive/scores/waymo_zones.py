"""Which boxes touch a no-label zone: polygons on the ground in which nobody labelled, so nothing there is false."""

from __future__ import annotations

import numpy as np

from drive.geometry.box import LENGTH, WIDTH, YAW, X, Y


def touches_zone(boxes: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Whether each box, seen from above, shares a point with a polygon, bool [N].

    boxes: f64 [N, >= 7] BOX_COLUMNS. polygon: f64 [V, 2] in the same frame, of any shape, closed or not.
    """
    corners = _corners(boxes)
    inside_polygon = _inside_polygon(corners.reshape(-1, 2), polygon).reshape(-1, 4).any(axis=1)
    offset = polygon[None] - boxes[:, None, [X, Y]]
    cos, sin = np.cos(boxes[:, None, YAW]), np.sin(boxes[:, None, YAW])
    along, across = offset[..., 0] * cos + offset[..., 1] * sin, offset[..., 1] * cos - offset[..., 0] * sin
    inside_box = (np.abs(along) <= boxes[:, None, LENGTH] / 2) & (np.abs(across) <= boxes[:, None, WIDTH] / 2)
    return inside_polygon | inside_box.any(axis=1) | _sides_cross(corners, polygon)


def _corners(boxes: np.ndarray) -> np.ndarray:
    """[N, 4, 2], round the box."""
    cos, sin = np.cos(boxes[:, YAW]), np.sin(boxes[:, YAW])
    forward = np.stack([cos, sin], axis=1) * boxes[:, [LENGTH]] / 2
    left = np.stack([-sin, cos], axis=1) * boxes[:, [WIDTH]] / 2
    return boxes[:, None, [X, Y]] + np.stack([forward + left, left - forward, -forward - left, forward - left], axis=1)


def _inside_polygon(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Even-odd rule, bool [N], of points [N, 2]."""
    a, b = polygon, np.roll(polygon, -1, axis=0)
    x, y = points[:, :1], points[:, 1:]
    spans = (a[:, 1] > y) != (b[:, 1] > y)
    rise = np.where(a[:, 1] == b[:, 1], 1.0, b[:, 1] - a[:, 1])
    cut = a[:, 0] + (y - a[:, 1]) * (b[:, 0] - a[:, 0]) / rise
    return (spans & (x < cut)).sum(axis=1) % 2 == 1


def _sides_cross(corners: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Whether a side of each box [N, 4, 2] crosses one of the polygon's, bool [N]."""
    p, q = corners[:, :, None], np.roll(corners, -1, axis=1)[:, :, None]
    a, b = polygon[None, None], np.roll(polygon, -1, axis=0)[None, None]

    def side(u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
        cross = (v - u)[..., 0] * (w - u)[..., 1] - (v - u)[..., 1] * (w - u)[..., 0]
        return np.asarray(cross)

    apart = (side(p, q, a) * side(p, q, b) > 0) | (side(a, b, p) * side(a, b, q) > 0)
    # Two pieces of one line count as crossing where they touch; the other tests find them anyway.
    return np.asarray((~apart).any(axis=(1, 2))) & _boxes_near(corners, polygon)


def _boxes_near(corners: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Whether the bounding rectangles meet, bool [N]."""
    low, high = corners.min(axis=1), corners.max(axis=1)
    return ((low <= polygon.max(axis=0)) & (high >= polygon.min(axis=0))).all(axis=1)
