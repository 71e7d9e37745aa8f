"""Every number of the baselines, by data set and class name, with its source.

AB3DMOT: https://github.com/xinshuoweng/AB3DMOT, ``AB3DMOT_libs/model.py`` (get_param) and ``kalman_filter.py``; the
sets tuned for PointRCNN (KITTI), CenterPoint and Megvii detections (nuScenes).
CenterPoint: https://github.com/tianweiy/CenterPoint, ``tools/nusc_tracking/pub_tracker.py`` and ``pub_test.py``,
``tools/waymo_tracking/test.py``.
SimpleTrack: https://github.com/tusen-ai/SimpleTrack, ``configs/`` and ``mot_3d/motion_model/kalman_filter.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

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


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Parameters = TypeVar("Parameters", bound=_Named)


def _by_name(*classes: Parameters) -> dict[str, Parameters]:
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

# Seconds between two frames of the data that the numbers were tuned on.
KITTI_PERIOD_S = 0.1
NUSCENES_PERIOD_S = 0.5
WAYMO_PERIOD_S = 0.1

# The filters' matrices, diagonals for a box's entries and for its velocity's. AB3DMOT's velocity is a frame's,
# SimpleTrack's a second's; SimpleTrack leaves the process noise at the unit matrix.
KALMAN_FIRST_VARIANCE = (10.0, 10000.0)
KALMAN_MEASUREMENT_VARIANCE = 1.0
AB3DMOT_PROCESS_VARIANCE = (1.0, 0.01)
SIMPLE_TRACK_PROCESS_VARIANCE = (1.0, 1.0)


@dataclass(frozen=True)
class GreedyClass:
    """How CenterPoint's tracker treats one class.

    Attributes:
        name: Of the class.
        gate_m: Metres from above between a track and a detection, at most.
        birth_score: A detection starts a track only with a greater score; None: every one does.
    """

    name: str
    gate_m: float
    birth_score: float | None = None


GREEDY_NUSCENES = _by_name(
    GreedyClass("car", 4.0),
    GreedyClass("truck", 4.0),
    GreedyClass("bus", 5.5),
    GreedyClass("trailer", 3.0),
    GreedyClass("pedestrian", 1.0),
    GreedyClass("motorcycle", 13.0),
    GreedyClass("bicycle", 3.0),
)
GREEDY_WAYMO = _by_name(
    GreedyClass("vehicle", 0.8, 0.75), GreedyClass("pedestrian", 0.4, 0.75), GreedyClass("cyclist", 0.6, 0.75)
)
# Not published: KITTI's detectors measure no velocity, so that a gate must hold the way of a whole frame at the first
# match: 4 m in 0.1 s is 40 m/s. They are nuScenes' gates.
GREEDY_KITTI = _by_name(GreedyClass("Car", 4.0), GreedyClass("Pedestrian", 1.0), GreedyClass("Cyclist", 3.0))
GREEDY_MAX_AGE = 3


@dataclass(frozen=True)
class SimpleTrackClass:
    """How SimpleTrack treats one class.

    Attributes:
        name: Of the class.
        first_score: A detection takes part in the first stage, and may start a track, with at least this score.
        suppress_iou: A detection goes where its 3D IoU with a better one of its class is greater.
        min_giou: The least 3D GIoU of a pair, in both stages.
        second_score: In the second stage a track without a match goes on where a detection with a greater score than
            this is near; None: there is no second stage.
        max_age: Frames without a match after which a track ends.
    """

    name: str
    first_score: float
    suppress_iou: float
    min_giou: float = -0.5
    second_score: float | None = None
    max_age: int = 2

    @property
    def matching(self) -> Literal["optimal"]:
        return "optimal"

    @property
    def metric(self) -> Literal["giou"]:
        return "giou"

    @property
    def limit(self) -> float:
        return self.min_giou


SIMPLE_TRACK_NUSCENES = _by_name(
    *(SimpleTrackClass(name, 0.01, 0.1) for name in AB3DMOT_NUSCENES_CENTERPOINT)
)  # configs/nu_configs/giou.yaml
SIMPLE_TRACK_WAYMO = _by_name(  # configs/waymo_configs/{vc,pd}_kf_giou.yaml
    SimpleTrackClass("vehicle", 0.7, 0.25, second_score=0.1),
    SimpleTrackClass("pedestrian", 0.5, 0.25, second_score=0.1),
    SimpleTrackClass("cyclist", 0.7, 0.25, second_score=0.1),
)
# Not published: Waymo's set for PointRCNN's scores, which are logits: ln(p / (1 - p)) of 0.7, 0.5 and 0.1.
SIMPLE_TRACK_KITTI = _by_name(
    SimpleTrackClass("Car", 0.8473, 0.25, second_score=-2.1972),
    SimpleTrackClass("Pedestrian", 0.0, 0.25, second_score=-2.1972),
    SimpleTrackClass("Cyclist", 0.8473, 0.25, second_score=-2.1972),
)


def of_classes(table: Mapping[str, Parameters], class_names: tuple[str, ...]) -> tuple[Parameters, ...]:
    """The table's entry of every class. Raises UserError for a class that the table does not have."""
    for name in class_names:
        if name not in table:
            have = ", ".join(table)
            raise UserError(f"class {name!r}", f"the tracker has no parameters for it, only for {have}", "give others")
    return tuple(table[name] for name in class_names)
