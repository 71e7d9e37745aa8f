"""``cam_instances`` of mmdet3d's infos: the boxes of a key frame as every camera sees them.

Fields and rules as mmdet3d 1.4 writes them for nuScenes. A box is listed for a camera where its centre is in front of
it and the hull of its projected corners (those in front) covers a part of the image; ``bbox`` is what bounds that part:
left, top, right, bottom in pixels, lens distortion left out. ``bbox_3d`` is in the camera's frame (x right, y down, z
forward): geometric centre, length, height, width, and yaw about y (0 = along x, -pi/2 = along z); ``velocity`` its x
and z there; ``center_2d`` and ``depth`` the projected centre; ``attr_label`` the number of the first attribute in
`ATTRIBUTES`. Objects of a category that is no class are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from drive.geometry.box import corners
from drive.geometry.rigid import invert, rotate_vectors, transform_points

# The order of mmdet3d's own nuScenes infos; the last is for a box without any, or with one that is not listed.
ATTRIBUTES = (
    "cycle.with_rider", "cycle.without_rider", "pedestrian.moving", "pedestrian.standing",
    "pedestrian.sitting_lying_down", "vehicle.moving", "vehicle.parked", "vehicle.stopped", "None",
)  # fmt: skip


@dataclass(frozen=True)
class Placed:
    """The N boxes of a frame in the global frame.

    Attributes:
        global_from_box: [N, 4, 4]; size: length, width, height [N, 3]; velocity: global [N, 3], NaN where not known.
        labels: int [N], -1 = no class; attributes: names, joined by ``;``, of each.
    """

    global_from_box: np.ndarray
    size: np.ndarray
    velocity: np.ndarray
    labels: np.ndarray
    attributes: list[str]


def camera_instances(
    boxes: Placed, global_from_camera: np.ndarray, intrinsics: np.ndarray, width: int, height: int
) -> list[dict[str, Any]]:
    """The boxes that a camera [4, 4] with `intrinsics` [3, 3] and an image of `width` x `height` pixels sees."""
    camera_from_global = invert(global_from_camera)
    local = camera_from_global @ boxes.global_from_box.reshape(-1, 4, 4)
    velocity = rotate_vectors(camera_from_global, boxes.velocity)
    found = []
    for i in np.flatnonzero(boxes.labels >= 0).tolist():
        length, wide, tall = boxes.size[i].tolist()
        centre = local[i, :3, 3]
        if centre[2] <= 0:
            continue
        edges = transform_points(local[i], corners(np.array([[0, 0, 0, length, wide, tall, 0.0]]))[0])
        seen = bounds_in_image(_pixels(edges[edges[:, 2] > 0], intrinsics), width, height)
        if seen is None:
            continue
        # From what length and width axes have of the camera's x, as theirs: about y where the box stands upright.
        yaw = float(np.arctan2(local[i, 0, 1], local[i, 0, 0]))
        found.append(
            {
                "bbox_label": int(boxes.labels[i]),
                "bbox_label_3d": int(boxes.labels[i]),
                "bbox": seen,
                "bbox_3d_isvalid": True,
                "bbox_3d": [*centre.tolist(), length, tall, wide, yaw],
                "velocity": velocity[i, [0, 2]].tolist(),
                "center_2d": _pixels(centre[None], intrinsics)[0].tolist(),
                "depth": float(centre[2]),
                "attr_label": _attribute(boxes.attributes[i]),
            }
        )
    return found


def _attribute(names: str) -> int:
    first = names.split(";")[0]
    return ATTRIBUTES.index(first) if first in ATTRIBUTES else len(ATTRIBUTES) - 1


def _pixels(points: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Pixels [P, 2] of points [P, 3] in front of a camera."""
    homogeneous = points @ intrinsics.T
    return np.asarray(homogeneous[:, :2] / homogeneous[:, 2:3])


def bounds_in_image(pixels: np.ndarray, width: float, height: float) -> list[float] | None:
    """Left, top, right, bottom of what the convex hull of pixels [P, 2] covers of the image; None = no area of it."""
    shape = _convex_hull(pixels)
    if len(shape) < 3:
        return None
    for axis, bound, sign in ((0, 0.0, 1.0), (0, width, -1.0), (1, 0.0, 1.0), (1, height, -1.0)):
        shape = _cut(shape, axis, bound, sign)
    if len(shape) < 3:
        return None
    low, high = shape.min(axis=0), shape.max(axis=0)
    return [*low.tolist(), *high.tolist()] if (high > low).all() else None


def _convex_hull(points: np.ndarray) -> np.ndarray:
    """Corners [H, 2] of the hull of points [P, 2], in order around it (Andrew's monotone chain)."""
    ordered = np.unique(points, axis=0)  # sorted by x, then y
    chains: list[list[np.ndarray]] = []
    for run in (ordered, ordered[::-1]):
        chain: list[np.ndarray] = []
        for point in run:
            while len(chain) >= 2 and _turn(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        chains.append(chain[:-1])
    return np.array([*chains[0], *chains[1]]).reshape(-1, 2)


def _turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    """Positive where a, b, c turn left."""
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def _cut(shape: np.ndarray, axis: int, bound: float, sign: float) -> np.ndarray:
    """The part of a convex polygon [H, 2] where ``sign * (coordinate - bound) >= 0`` (Sutherland and Hodgman)."""
    side = sign * (shape[:, axis] - bound) if len(shape) else np.zeros(0)
    kept: list[np.ndarray] = []
    for i in range(len(shape)):
        before, inside, was_inside = shape[i - 1], side[i] >= 0, side[i - 1] >= 0
        if inside != was_inside:
            crossing = before + (shape[i] - before) * (side[i - 1] / (side[i - 1] - side[i]))
            crossing[axis] = bound
            kept.append(crossing)
        if inside:
            kept.append(shape[i])
    return np.array(kept).reshape(-1, 2)
