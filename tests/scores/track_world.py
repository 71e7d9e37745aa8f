"""Small logs with moving objects, and tracks on them, for tests of what is scored from logs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from drive.geometry.box import transform_boxes
from drive.geometry.rigid import quaternion_from_yaw
from drive.logs.store import Log
from drive.logs.writer import LogWriter
from drive.samples.classes import ClassMap
from drive.tracks.sequence import TrackSet, join_sets
from drive.tracks.track import TrackedFrame

FRAMES, PERIOD_S, EGO_YAW = 12, 0.5, 0.4
# Each: category, place (ego frame of frame 0), velocity and acceleration in the global frame.
OBJECTS = (
    ("vehicle.car", (10.0, 3.0), (2.0, 0.0), (0.0, 0.0)),
    ("vehicle.car", (20.0, -4.0), (0.0, 4.0), (0.0, -0.8)),
    ("human.pedestrian.adult", (5.0, 6.0), (0.0, 0.0), (0.0, 0.0)),
)
CLASSES = ClassMap(("car", "pedestrian"), {"vehicle.car": "car", "human.pedestrian.adult": "pedestrian"})
SIZES = {"vehicle.car": (4.0, 2.0, 1.5), "human.pedestrian.adult": (0.8, 0.8, 1.8)}


def write_log(folder: Path, name: str = "one", dataset: str = "town", tokens: bool = True) -> Path:
    """A log of FRAMES frames, half a second apart; the ego drives 1 m a frame along its heading."""
    turn = quaternion_from_yaw(EGO_YAW)
    direction = np.array([np.cos(EGO_YAW), np.sin(EGO_YAW)])
    with LogWriter(folder, name, dataset=dataset, source_version="test", licence="made by a test") as log:
        for frame in range(FRAMES):
            stamp = int(1e9 * (1000 + frame * PERIOD_S))
            log.add_frame(
                stamp, rows={}, pose_translation=[500 + frame * direction[0], 80 + frame * direction[1], 0.0],
                pose_rotation=turn, source_timestamp=stamp // 1000,
                source_token=f"{name}-{frame}" if tokens else str(frame),
            )  # fmt: skip
            boxes = np.zeros((len(OBJECTS), 9))
            for row, (category, place, velocity, acceleration) in enumerate(OBJECTS):
                t = frame * PERIOD_S
                start = np.array([500.0, 80.0]) + rotated(np.array(place), EGO_YAW)
                where = start + np.array(velocity) * t + np.array(acceleration) * t * t / 2
                ego = rotated(where - np.array([500.0, 80.0]) - frame * direction, -EGO_YAW)
                moving = rotated(np.array(velocity) + np.array(acceleration) * t, -EGO_YAW)
                boxes[row] = [*ego, 1.0, *SIZES[category], 0.3, *moving]
            log.add_boxes(
                frame, boxes, [o[0] for o in OBJECTS], [f"object{i}" for i in range(len(OBJECTS))],
                velocity_valid=np.ones(len(OBJECTS), bool), source_translation=boxes[:, :3],
                source_rotation=quaternion_from_yaw(boxes[:, 6]), source_size=boxes[:, 3:6],
            )  # fmt: skip
    return folder / name


def rotated(xy: np.ndarray, yaw: float) -> np.ndarray:
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.array([cos * xy[0] - sin * xy[1], sin * xy[0] + cos * xy[1]])


def perfect_tracks(paths: list[Path], classes: ClassMap = CLASSES, step: int = 1) -> TrackSet:
    """The labels themselves as tracks, with their velocities, on every ``step``-th frame; score 0.9."""
    sets = []
    for path in paths:
        log = Log.open(path)
        indices = list(range(0, log.num_frames, step))
        frames = []
        for index in indices:
            frame, content = log.frame(index), log.boxes(index)
            label = classes.labels(content.category)
            rows = np.flatnonzero(label >= 0)
            n = len(rows)
            frames.append(
                TrackedFrame(
                    frame.timestamp_ns, content.track[rows].astype(np.int64) + 7,
                    transform_boxes(frame.global_from_ego, content.boxes[rows]), np.full(n, 0.9), label[rows],
                    content.velocity_valid[rows], np.zeros((n, 2)), np.zeros(n, bool), np.zeros((n, 4)),
                    np.zeros(n, bool), np.arange(n), np.ones(n, bool),
                )
            )  # fmt: skip
        ids = [log.frame(index).token or f"{log.name}/{index}" for index in indices]
        sets.append(TrackSet.join(classes.names, ids, [log.name] * len(indices), indices, frames))
    return join_sets(sets)


def only(tracks: TrackSet, rows: np.ndarray) -> TrackSet:
    """The set with some of its rows, all frames kept."""
    frame = np.repeat(np.arange(len(tracks.frame_ids)), np.diff(tracks.offsets))[rows]
    columns = {
        name: value[rows]
        for name, value in vars(tracks).items()
        if isinstance(value, np.ndarray) and name not in ("offsets", "timestamps_ns")
    }
    return replace(tracks, offsets=np.searchsorted(frame, np.arange(len(tracks.frame_ids) + 1)), **columns)
