"""Every number of the baselines, by data set and class name, with its source.

AB3DMOT: https://github.com/xinshuoweng/AB3DMOT, ``AB3DMOT_libs/model.py`` (get_param) and ``kalman_filter.py``; the
sets tuned for PointRCNN (KITTI), CenterPoint and Megvii detections (nuScenes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from drive.errors import UserError


@dataclass(frozen=True)
class Ab3dmotClass:
    """How AB3DMOT treats one class.

    Attributes:
        name: Of the class, as the detections name it.
        matching: "optimal" (Hungarian) or "greedy" (cheapest pair first).
        metric: "giou" (generalised IoU in 3D with the convex hull) or "distance" (between centres in 3D, metres).
        limit: The least GIoU, or the greatest distance, of a pair.
        min_hits: Matches (its first detection counts) before a track is reported; in the first ``min_hits`` frames of a
            sequence every track is.
        max_age: Frames without a match after which a track ends.
    """

    name: str
    matching: Literal["optimal", "greedy"]
    metric: Literal["giou", "distance"]
    limit: float
    min_hits: int
    max_age: int


def _by_name(*classes: Ab3dmotClass) -> dict[str, Ab3dmotClass]:
    return {c.name: c for c in classes}


AB3DMOT_KITTI = _by_name(
    Ab3dmotClass("Car", "optimal", "giou", -0.2, 3, 2),
    Ab3dmotClass("Pedestrian", "greedy", "giou", -0.4, 1, 4),
    Ab3dmotClass("Cyclist", "optimal", "distance", 2.0, 3, 4),
)
AB3DMOT_NUSCENES_CENTERPOINT = _by_name(
    Ab3dmotClass("car", "greedy", "giou", -0.4, 1, 2),
    Ab3dmotClass("truck", "greedy", "giou", -0.4, 1, 2),
    Ab3dmotClass("bus", "greedy", "giou", -0.4, 1, 2),
    Ab3dmotClass("trailer", "greedy", "giou", -0.3, 3, 2),
    Ab3dmotClass("pedestrian", "greedy", "giou", -0.5, 1, 2),
    Ab3dmotClass("motorcycle", "greedy", "giou", -0.7, 3, 2),
    Ab3dmotClass("bicycle", "greedy", "distance", 6.0, 3, 2),
)
AB3DMOT_NUSCENES_MEGVII = _by_name(
    Ab3dmotClass("car", "greedy", "giou", -0.5, 1, 2),
    Ab3dmotClass("truck", "greedy", "giou", -0.2, 1, 2),
    Ab3dmotClass("bus", "greedy", "giou", -0.2, 1, 2),
    Ab3dmotClass("trailer", "greedy", "giou", -0.2, 3, 2),
    Ab3dmotClass("pedestrian", "greedy", "distance", 2.0, 1, 2),
    Ab3dmotClass("motorcycle", "greedy", "giou", -0.8, 3, 2),
    Ab3dmotClass("bicycle", "greedy", "giou", -0.6, 3, 2),
)

# Seconds between two frames of the data that the numbers above were tuned on.
KITTI_PERIOD_S = 0.1
NUSCENES_PERIOD_S = 0.5

# The filter's matrices, diagonals for a box's entries and for its velocity's (per frame): kalman_filter.py.
AB3DMOT_FIRST_VARIANCE = (10.0, 10000.0)
AB3DMOT_PROCESS_VARIANCE = (1.0, 0.01)
AB3DMOT_MEASUREMENT_VARIANCE = 1.0

Parameters = TypeVar("Parameters")


def of_classes(table: Mapping[str, Parameters], class_names: tuple[str, ...]) -> tuple[Parameters, ...]:
    """The table's entry of every class. Raises UserError for a class that the table does not have."""
    for name in class_names:
        if name not in table:
            have = ", ".join(table)
            raise UserError(f"class {name!r}", f"the tracker has no parameters for it, only for {have}", "give others")
    return tuple(table[name] for name in class_names)
