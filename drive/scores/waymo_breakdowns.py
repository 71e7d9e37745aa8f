"""Which shard of a breakdown a box lies in (waymo_open_dataset metrics/breakdown_generator.cc).

VELOCITY and CAMERA shards are of the labels only: every prediction that could belong to one takes part in its
matching, and what is right or wrong there is decided by the label.
"""

from __future__ import annotations

import numpy as np

from drive.scores.waymo_boxes import WaymoBoxes
from drive.scores.waymo_config import SHARDS, SIGN

LABEL_ONLY = ("VELOCITY", "CAMERA")
_RANGE_M = (30.0, 50.0)
_LARGE_M = 7.0
_SPEEDS = tuple(float(np.float32(v)) for v in (0.2, 1.0, 3.0, 10.0))
_CAMERA_DEG = (0.0, 45.0, -45.0, 90.0, -90.0)  # in the order of the shards
_HALF_VIEW_DEG = 25.2


def own_shard(generator: str, boxes: WaymoBoxes, speed: np.ndarray | None = None) -> np.ndarray:
    """The shard of each box, int64 [N], -1 for none. speed: f32 [N, 2] instead of the boxes' own."""
    first = (boxes.kind - 1) * len(SHARDS[generator])
    sizes = boxes.boxes.astype(np.float64)
    if generator == "ONE_SHARD":
        return np.zeros(len(boxes), dtype=np.int64)
    if generator == "ALL_BUT_SIGN":
        return (boxes.kind == SIGN).astype(np.int64)
    if generator == "OBJECT_TYPE":
        return first
    if generator == "RANGE":
        distance = np.sqrt(sizes[:, 0] * sizes[:, 0] + sizes[:, 1] * sizes[:, 1] + sizes[:, 2] * sizes[:, 2])
        return first + np.searchsorted(_RANGE_M, distance, side="right")
    if generator == "SIZE":
        return first + (sizes[:, 3:6].max(axis=1, initial=0.0) >= _LARGE_M)
    if generator == "VELOCITY":
        v = (boxes.speed if speed is None else speed).astype(np.float64)
        return first + np.searchsorted(_SPEEDS, np.sqrt(v[:, 0] * v[:, 0] + v[:, 1] * v[:, 1]), side="right")
    seen = camera_views(boxes)
    return np.where(seen.any(axis=1), first + seen.argmax(axis=1), -1)


def camera_views(boxes: WaymoBoxes) -> np.ndarray:
    """Which cameras' fields of view hold each box's centre, bool [N, 5]; neighbours overlap, the rear has none."""
    sizes = boxes.boxes.astype(np.float64)
    angle = np.degrees(np.arctan2(sizes[:, 1], sizes[:, 0]))[:, None]
    middle = np.array(_CAMERA_DEG)
    return (angle > middle - _HALF_VIEW_DEG) & (angle < middle + _HALF_VIEW_DEG)


def nearest_speeds(predictions: WaymoBoxes, labels: WaymoBoxes, start_p: np.ndarray, start_l: np.ndarray) -> np.ndarray:
    """Speed of the nearest label (centre to centre) of the same frame for each prediction, f32 [P, 2]; 0 without any.

    Both sorted by frame; start_p, start_l int64 [F + 1]. (metrics_utils.cc ``EstimateObjectSpeed``)
    """
    speed = np.zeros((len(predictions), 2), dtype=np.float32)
    for f in range(len(start_p) - 1):
        p, g = slice(start_p[f], start_p[f + 1]), slice(start_l[f], start_l[f + 1])
        if p.start < p.stop and g.start < g.stop:
            offset = predictions.boxes[p, None, :3].astype(np.float64) - labels.boxes[None, g, :3]
            speed[p] = labels.speed[g][(offset.astype(np.float32) ** 2).sum(axis=2).argmin(axis=1)]
    return speed
