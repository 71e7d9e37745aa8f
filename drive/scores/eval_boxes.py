"""Boxes of many frames in the global frame: what every metric of this folder compares.

Ground truth and predictions have the same shape, so that one filter serves both. The list of frames is separate, as a
frame without any box still counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# nuScenes' attributes; the index is the code in EvalBoxes.attribute. [nuscenes-devkit eval/detection/constants.py]
ATTRIBUTES = (
    "pedestrian.moving",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "cycle.with_rider",
    "cycle.without_rider",
    "vehicle.moving",
    "vehicle.parked",
    "vehicle.stopped",
)
NO_ATTRIBUTE = -1  # a code of a closed set, not a measurement: barriers and cones have none
UNKNOWN_POINTS = -1  # the data set does not count points (predictions never do)


@dataclass(frozen=True)
class EvalFrames:
    """The frames that a score covers, F of them, and what the filters need to know about each.

    ids: name of each frame (nuScenes: sample token), unique. ego_xy: f64 [F, 2], the ego's global position.
    log_names: the log of each frame. Bicycle racks, R of them, in the global frame: rack_frame int64 [R],
    rack_centre and rack_size (length, width, height) f64 [R, 3], rack_rotation f64 [R, 3, 3] (global from rack).
    """

    ids: tuple[str, ...]
    log_names: tuple[str, ...]
    ego_xy: np.ndarray
    rack_frame: np.ndarray
    rack_centre: np.ndarray
    rack_size: np.ndarray
    rack_rotation: np.ndarray

    def __post_init__(self) -> None:
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("frame ids are not unique")
        if self.ego_xy.shape != (len(self.ids), 2) or len(self.log_names) != len(self.ids):
            raise ValueError(f"{len(self.ids)} frames, but ego_xy {self.ego_xy.shape}, {len(self.log_names)} log names")

    def __len__(self) -> int:
        return len(self.ids)

    @staticmethod
    def without_racks(ids: Sequence[str], ego_xy: np.ndarray, log_names: Sequence[str] | None = None) -> EvalFrames:
        """Frames of a data set that marks no bicycle racks."""
        names = tuple(log_names) if log_names is not None else ("",) * len(ids)
        none = np.zeros((0, 3))
        return EvalFrames(
            tuple(ids),
            names,
            np.asarray(ego_xy, dtype=np.float64),
            np.zeros(0, np.int64),
            none,
            none,
            np.zeros((0, 3, 3)),
        )


@dataclass(frozen=True)
class EvalBoxes:
    """N boxes, grouped by frame in the order of the frames; inside a frame the order is the source's (it breaks ties).

    frame: int64 [N], non-decreasing index into EvalFrames. boxes: f64 [N, 9] BOX_COLUMNS, GLOBAL frame.
    velocity_valid: bool [N] (where False, vx and vy mean nothing). label: int64 [N] index into the class names.
    score: f64 [N] (0 for ground truth). attribute: int64 [N] index into ATTRIBUTES or NO_ATTRIBUTE.
    num_points: int64 [N] lidar + radar points or UNKNOWN_POINTS.
    """

    frame: np.ndarray
    boxes: np.ndarray
    velocity_valid: np.ndarray
    label: np.ndarray
    score: np.ndarray
    attribute: np.ndarray
    num_points: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.frame)
        for name in ("boxes", "velocity_valid", "label", "score", "attribute", "num_points"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{name} has {len(getattr(self, name))} rows, frame has {n}")
        if n and (self.boxes.shape != (n, 9) or np.any(np.diff(self.frame) < 0)):
            raise ValueError("boxes must be [N, 9] and grouped by frame")

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, rows: np.ndarray) -> EvalBoxes:
        """The boxes at ``rows`` (mask or increasing indices)."""
        return EvalBoxes(
            self.frame[rows],
            self.boxes[rows],
            self.velocity_valid[rows],
            self.label[rows],
            self.score[rows],
            self.attribute[rows],
            self.num_points[rows],
        )

    @staticmethod
    def empty() -> EvalBoxes:
        none = np.zeros(0, np.int64)
        return EvalBoxes(none, np.zeros((0, 9)), np.zeros(0, bool), none, np.zeros(0), none, none)

    @staticmethod
    def concatenate(parts: Sequence[EvalBoxes]) -> EvalBoxes:
        """Parts whose frame indices already follow one another."""
        if not parts:
            return EvalBoxes.empty()
        return EvalBoxes(
            np.concatenate([p.frame for p in parts]),
            np.concatenate([p.boxes for p in parts]),
            np.concatenate([p.velocity_valid for p in parts]),
            np.concatenate([p.label for p in parts]),
            np.concatenate([p.score for p in parts]),
            np.concatenate([p.attribute for p in parts]),
            np.concatenate([p.num_points for p in parts]),
        )


def ego_distance(boxes: EvalBoxes, frames: EvalFrames) -> np.ndarray:
    """Distance in the ground plane from the ego to each box's centre, metres, f64 [N]."""
    offset = boxes.boxes[:, :2] - frames.ego_xy[boxes.frame]
    return np.sqrt(offset[:, 0] ** 2 + offset[:, 1] ** 2)
