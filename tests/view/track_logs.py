"""A log with two labelled cars, a van and the ego's own box, and tracks of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from drive.geometry.rigid import quaternion_from_yaw
from drive.logs.store import Log
from drive.logs.writer import LogWriter
from drive.tracks.sequence import TrackSet
from drive.tracks.track import TrackedFrame

PERIOD_NS = 500_000_000
STEP_M = 2.0  # the ego's way from frame to frame, along y


def write_log(
    root: Path, name: str = "street", frames: int = 4, dataset: str = "nuscenes", labels: bool = True
) -> Path:
    """The ego drives along y. Car a stays 10 m ahead of it, car b stands at (8, 0), a van at (-8, 0), all in metres."""
    with LogWriter(root, name, dataset=dataset, source_version="1", licence="CC0-1.0", split="val") as log:
        for k in range(frames):
            log.add_frame(
                k * PERIOD_NS,
                rows={},
                pose_translation=[0, STEP_M * k, 0],
                pose_rotation=quaternion_from_yaw(np.pi / 2),
                source_timestamp=k * PERIOD_NS // 1000,
                source_token=f"{name}-{k}",
            )
            if not labels:
                continue
            boxes = np.zeros((4, 9))
            boxes[:, 3:6] = [4, 2, 1.5]
            boxes[:, :2] = [[10, 0], [-STEP_M * k, -8], [-STEP_M * k, 8], [0, 0]]  # ego axes: forward, left
            log.add_boxes(
                k,
                boxes,
                ["vehicle.car", "vehicle.car", "vehicle.van", "vehicle.car"],
                ["a", "b", "van", "ego"],
                velocity_valid=np.zeros(4, bool),
                source_translation=boxes[:, :3] @ [[0, 1, 0], [-1, 0, 0], [0, 0, 1]] + [0, STEP_M * k, 0],
                source_rotation=quaternion_from_yaw(boxes[:, 6] + np.pi / 2),
                source_size=boxes[:, [4, 3, 5]],
            )
        log.add_table(
            "track_roles", pa.table({"track": ["ego"], "role": ["ego"], "difficulty": pa.array([None], pa.int32())})
        )
    return root / name


def tracked(k: int, ids: list[int], places: list[tuple[float, float]], scores: list[float]) -> TrackedFrame:
    """Frame k: cars at places (fixed frame)."""
    n = len(ids)
    boxes = np.zeros((n, 9))
    boxes[:, :2] = np.array(places).reshape(-1, 2)
    boxes[:, 3:6] = [4, 2, 1.5]
    boxes[:, 6], boxes[:, 8] = np.pi / 2, 4.0
    yes = np.ones(n, bool)
    return TrackedFrame(
        k * PERIOD_NS, np.array(ids, np.int64), boxes, np.array(scores, float), np.zeros(n, np.int64), yes,
        np.zeros((n, 2)), ~yes, np.zeros((n, 4)), ~yes, np.arange(n), yes,
    )  # fmt: skip


def tracks_of(path: Path, frames: list[TrackedFrame]) -> TrackSet:
    log = Log.open(path)
    ids = [f"{log.name}/{k}" for k in range(len(frames))]
    return TrackSet.join(("car",), ids, [log.name] * len(frames), list(range(len(frames))), frames)


def with_a_switch(path: Path) -> TrackSet:
    """Car a: id 1, in frame 2 and 3 id 7. Car b: id 2 in all frames but 1. A box at the van, one at nothing (low)."""
    frames = [
        tracked(0, [1, 2, 3, 4], [(0, 10), (8.5, 0), (-8, 0.5), (30, 30)], [0.9, 0.8, 0.7, 0.2]),
        tracked(1, [1], [(0, 12)], [0.9]),
        tracked(2, [7, 2], [(0, 14.5), (8, 0)], [0.6, 0.8]),
        tracked(3, [7, 2], [(0, 16), (8, 0)], [0.6, 0.8]),
    ]
    return tracks_of(path, frames)
