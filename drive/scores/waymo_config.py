"""What Waymo's detection and tracking metrics are asked to compute: the fields of its ``Config`` message that matter.

Names and defaults follow waymo_open_dataset/protos/metrics.proto (release 1.6.7).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

VEHICLE, PEDESTRIAN, SIGN, CYCLIST = 1, 2, 3, 4
TYPE_NAMES = {VEHICLE: "VEHICLE", PEDESTRIAN: "PEDESTRIAN", SIGN: "SIGN", CYCLIST: "CYCLIST"}
LEVEL_1, LEVEL_2 = 1, 2
BOX_3D, BOX_2D, BOX_AXIS_ALIGNED = 1, 2, 3

# Breakdown.GeneratorId, and the names of its shards (of one type where the shards are by type).
GENERATORS = {
    "ONE_SHARD": 1,
    "OBJECT_TYPE": 2,
    "RANGE": 3,
    "VELOCITY": 7,
    "ALL_BUT_SIGN": 8,
    "SIZE": 9,
    "CAMERA": 10,
}
SHARDS = {
    "ONE_SHARD": ("ONE_SHARD",),
    "OBJECT_TYPE": ("",),
    "RANGE": ("[0, 30)", "[30, 50)", "[50, +inf)"),
    "VELOCITY": ("STATIONARY", "SLOW", "MEDIUM", "FAST", "VERY_FAST"),
    "ALL_BUT_SIGN": ("ALL_BUT_SIGN", "SIGN"),
    "SIZE": ("small", "large"),
    "CAMERA": ("FRONT", "FRONT-LEFT", "FRONT-RIGHT", "SIDE-LEFT", "SIDE-RIGHT"),
}
_WITHOUT_TYPE = ("ONE_SHARD", "ALL_BUT_SIGN")

ALIGN_NOT, ALIGN_RANGE, ALIGN_CENTER, ALIGN_FURTHER, ALIGN_CLOSER_ANY, ALIGN_BETWEEN = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True)
class LongitudinalTolerance:
    """LET-3D-AP (Hung et al. 2022): errors along the line of sight are forgiven within a tolerance.

    sensor_m: the camera's place in the ego frame. share: tolerance as a share of the label's distance; least_m: never
    less than this. align: how a prediction slides along its line of sight before the IoU.
    """

    sensor_m: tuple[float, float, float] = (1.43, 0.0, 2.18)
    share: float = 0.1
    least_m: float = 0.5
    align: int = ALIGN_RANGE


def uniform_cutoffs() -> tuple[float, ...]:
    """0, 0.01, ... 1: those of the challenge."""
    return (*(i * 0.01 for i in range(100)), 1.0)


@dataclass(frozen=True)
class WaymoConfig:
    """breakdowns: (generator, difficulty levels) in the order of the figures. iou_thresholds: by object type number,
    the first entry unused. score_cutoffs: empty for ``desired_cutoffs`` quantiles of the scores themselves.
    """

    breakdowns: tuple[tuple[str, tuple[int, ...]], ...] = (
        ("OBJECT_TYPE", (LEVEL_1, LEVEL_2)),
        ("RANGE", (LEVEL_1, LEVEL_2)),
    )
    iou_thresholds: tuple[float, ...] = (0.0, 0.7, 0.5, 0.5, 0.5)
    box_type: int = BOX_3D
    score_cutoffs: tuple[float, ...] = field(default_factory=uniform_cutoffs)
    desired_cutoffs: int = 0
    desired_recall_delta: float = 0.05
    min_precision: float = 0.0
    min_heading_accuracy: float = -1.0
    tolerance: LongitudinalTolerance | None = None

    def __post_init__(self) -> None:
        unknown = [name for name, _ in self.breakdowns if name not in GENERATORS]
        if unknown:
            raise ValueError(f"no breakdown {unknown[0]!r}; there are {', '.join(GENERATORS)}")
        if len(self.iou_thresholds) != len(TYPE_NAMES) + 1 or min(self.iou_thresholds[1:]) <= 0:
            raise ValueError("iou_thresholds: one a type number 0..4, those of 1..4 above 0")
        if not self.score_cutoffs and self.desired_cutoffs <= 0:
            raise ValueError("score_cutoffs is empty, so desired_cutoffs must say how many are wanted")
        if self.box_type not in (BOX_3D, BOX_2D, BOX_AXIS_ALIGNED):
            raise ValueError(f"box_type {self.box_type} is not one of 1 (3D), 2 (2D), 3 (axis-aligned)")
        if self.tolerance is not None and self.box_type == BOX_AXIS_ALIGNED:
            raise ValueError("the longitudinal tolerance needs 3D or 2D boxes seen from above")

    def levels(self, breakdown: int) -> tuple[int, ...]:
        """Difficulty levels of a breakdown; level 2 where none is named."""
        return self.breakdowns[breakdown][1] or (LEVEL_2,)

    def rows(self) -> list[tuple[int, int, int]]:
        """(index of the breakdown, shard, level) of every figure, in the official order."""
        return [
            (b, shard, level)
            for b, (name, _) in enumerate(self.breakdowns)
            for shard in range(shard_count(name))
            for level in self.levels(b)
        ]

    def names(self) -> list[str]:
        """Official names of the figures, as ``OBJECT_TYPE_TYPE_VEHICLE_LEVEL_1`` (config_util_py.py)."""
        return [f"{shard_name(self.breakdowns[b][0], shard)}_LEVEL_{level}" for b, shard, level in self.rows()]

    def cutoffs(self, scores: np.ndarray) -> np.ndarray:
        """The score cutoffs, float32 [S], of predictions with these scores."""
        if self.score_cutoffs:
            return np.array(self.score_cutoffs, dtype=np.float32)
        return _quantile_cutoffs(np.sort(np.asarray(scores, dtype=np.float32)), self.desired_cutoffs)


def shard_count(generator: str) -> int:
    """How many shards a breakdown has, over all types."""
    count = len(SHARDS[generator])
    return count if generator in _WITHOUT_TYPE else count * len(TYPE_NAMES)


def shard_name(generator: str, shard: int) -> str:
    """Official name of a shard without its level."""
    names = SHARDS[generator]
    if generator in _WITHOUT_TYPE:
        return names[shard]
    parts = (generator, f"TYPE_{TYPE_NAMES[shard // len(names) + 1]}", names[shard % len(names)])
    return "_".join(part for part in parts if part)


def _quantile_cutoffs(scores: np.ndarray, wanted: int) -> np.ndarray:
    """Cutoffs with about equally many predictions between them (metrics_utils.cc ``DecideScoreCutoffs``), float32."""
    if wanted == 1:
        return np.zeros(1, dtype=np.float32)
    if wanted >= len(scores):
        step = np.float32(1.0 / (wanted - 1))
        cutoffs, value = [], np.float32(0.0)
        while value < 1:
            cutoffs.append(value)
            value = value + step
        if 1 - cutoffs[-1] > step * 0.5:
            cutoffs.append(np.float32(1.0))
        return np.array(cutoffs, dtype=np.float32)
    buckets = wanted - 1
    base = len(scores)
    at, chosen = 0, [scores[0]]
    for i in range(buckets - 1):
        size = base // (buckets - i)
        base -= size
        at += size
        chosen.append(np.clip(scores[at], np.float32(0), np.float32(1)))
    return np.array([*chosen, 1.0], dtype=np.float32)
