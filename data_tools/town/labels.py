"""What an annotator would write down: points inside boxes, visibility, attributes.

An annotator fits boxes to points, and the beam passes an object up to a whole turn before the sweep's timestamp. So
the boxes stand where the beam met the objects (`drive.render.lidar.beam_delay`), not where they are when the turn ends:
at 10 m/s the difference is up to half a metre.
"""

from __future__ import annotations

import numba
import numpy as np

# Share of the rays through a box's silhouette that meet the thing inside it, by kind.
FILL = {"car": 0.75, "truck": 0.8, "bus": 0.75, "bicycle": 0.4, "pedestrian": 0.6, "cone": 0.5}
VISIBILITY_EDGES = (0.4, 0.6, 0.8)
MOVING_MPS = 0.3
# Range noise puts half of a face's returns outside it: boxes are drawn this much larger at the sides and the top.
BOX_MARGIN = 0.04


def label_boxes(poses: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Boxes [N, 7] (x y z length width height yaw) of things standing at `poses` [N, 3] with bodies `sizes` [N, 3]."""
    drawn = sizes + BOX_MARGIN * np.array([2.0, 2.0, 1.0])
    return np.column_stack([poses[:, :2], drawn[:, 2] / 2, drawn, poses[:, 2]])


@numba.njit(cache=True, nogil=True)
def count_points(points: np.ndarray, boxes: np.ndarray, counts: np.ndarray) -> None:
    """Adds to `counts` [N] the points [P, 3] inside each box [N, 7] (x y z length width height yaw; faces count)."""
    for b in range(len(boxes)):
        cos, sin = np.cos(boxes[b, 6]), np.sin(boxes[b, 6])
        half_l, half_w, half_h = boxes[b, 3] / 2, boxes[b, 4] / 2, boxes[b, 5] / 2
        reach = half_l + half_w
        for p in range(len(points)):
            dx, dy = points[p, 0] - boxes[b, 0], points[p, 1] - boxes[b, 1]
            if dx > reach or dx < -reach or dy > reach or dy < -reach:
                continue
            if (
                abs(cos * dx + sin * dy) <= half_l
                and abs(cos * dy - sin * dx) <= half_w
                and abs(points[p, 2] - boxes[b, 2]) <= half_h
            ):
                counts[b] += 1


@numba.njit(cache=True, nogil=True)
def expected_rays(boxes: np.ndarray, height: float, slopes: np.ndarray, columns: int, counts: np.ndarray) -> None:
    """Adds to `counts` [N] how many rays of a level lidar at (0, 0, `height`) pass through each box [N, 7]."""
    step = 2 * np.pi / columns
    for b in range(len(boxes)):
        x, y = boxes[b, 0], boxes[b, 1]
        distance = np.sqrt(x * x + y * y)
        half_l, half_w = boxes[b, 3] / 2, boxes[b, 4] / 2
        radius = np.sqrt(half_l * half_l + half_w * half_w)
        if distance < radius + 0.5:
            continue
        spread = np.arcsin(radius / distance)
        middle = np.arctan2(y, x)
        low, high = boxes[b, 2] - boxes[b, 5] / 2 - height, boxes[b, 2] + boxes[b, 5] / 2 - height
        cos, sin = np.cos(boxes[b, 6]), np.sin(boxes[b, 6])
        ox, oy = -(cos * x + sin * y), -(cos * y - sin * x)  # the lidar in the box's frame
        for c in range(int((middle - spread) / step) - 1, int((middle + spread) / step) + 2):
            gx, gy = np.cos(c * step), np.sin(c * step)
            dx, dy = cos * gx + sin * gy, cos * gy - sin * gx
            near, far = 0.0, 1e9
            if abs(dx) > 1e-12:
                t0, t1 = (-half_l - ox) / dx, (half_l - ox) / dx
                near, far = max(near, min(t0, t1)), min(far, max(t0, t1))
            elif abs(ox) > half_l:
                continue
            if abs(dy) > 1e-12:
                t0, t1 = (-half_w - oy) / dy, (half_w - oy) / dy
                near, far = max(near, min(t0, t1)), min(far, max(t0, t1))
            elif abs(oy) > half_w:
                continue
            if near >= far:
                continue
            for s in slopes:
                a, z = s * near, s * far
                if max(a, z) >= low and min(a, z) <= high:
                    counts[b] += 1


def visibility_token(hits: int, expected: int, kind: str, distance: float) -> str:
    """Bin '1'..'4' of the visible share, judged by returns against the rays that would hit it alone in the world."""
    seen = FILL[kind] / (1.0 + (distance / 75.0) ** 4)
    share = hits / max(expected * seen, 1.0)
    return str(1 + sum(share > edge for edge in VISIBILITY_EDGES))


def attribute_name(kind: str, speed_mps: float, parked: bool) -> str:
    """The one attribute by the nuScenes rules; '' for cones."""
    if kind == "cone":
        return ""
    if kind == "bicycle":
        return "cycle.with_rider"
    moving = speed_mps > MOVING_MPS
    if kind == "pedestrian":
        return "pedestrian.moving" if moving else "pedestrian.standing"
    if parked:
        return "vehicle.parked"
    return "vehicle.moving" if moving else "vehicle.stopped"
