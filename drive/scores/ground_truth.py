"""Ground truth of logs in the global frame, with what the nuScenes metric asks of it.

nuScenes logs give back the annotations exactly as the devkit reads them (source translation, size, rotation; velocity
by ``NuScenes.box_velocity``'s rule), so that a score is equal to the devkit's to the last bits. Other data sets go
through the box columns and the frame's pose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drive.errors import UserError
from drive.geometry.box import transform_boxes
from drive.geometry.rigid import quaternion_to_matrix, yaw_of_quaternion
from drive.logs.store import FrameBoxes, Log
from drive.samples.classes import ClassMap
from drive.scores.eval_boxes import ATTRIBUTES, NO_ATTRIBUTE, UNKNOWN_POINTS, EvalBoxes, EvalFrames

NUSCENES = "nuscenes"  # Log.dataset of what was converted from nuScenes tables
BICYCLE_RACK = "static_object.bicycle_rack"
_MAX_GAP_S = 1.5  # a velocity over a longer gap is unknown (twice that between both neighbours)


@dataclass(frozen=True)
class GroundTruth:
    """The labelled frames of some logs. frame_of: {(log name, frame index): row in frames}.

    global_from_ego: f64 [F, 4, 4].
    """

    frames: EvalFrames
    boxes: EvalBoxes
    class_names: tuple[str, ...]
    frame_of: dict[tuple[str, int], int]
    global_from_ego: np.ndarray


def load_ground_truth(log_paths: Sequence[Path], class_map: ClassMap) -> GroundTruth:
    """Labelled (not interpolated) frames of ``log_paths`` in this order; categories outside the map are left out,
    and so is the recording vehicle, which scenario data sets label like any other.

    Raises UserError: no frame at all, an annotation with two attributes, a frame id that occurs twice.
    """
    parts: list[EvalBoxes] = []
    ids: list[str] = []
    names: list[str] = []
    poses: list[np.ndarray] = []
    frame_of: dict[tuple[str, int], int] = {}
    racks: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []
    for path in log_paths:
        log = Log.open(path)
        labelled = np.flatnonzero(~np.asarray(log.frame_interpolated, dtype=bool)).tolist()
        contents = [log.boxes(index) for index in labelled]
        ego = ego_tokens(log)
        exact = log.dataset == NUSCENES
        times = [1e-6 * log.frame(index).source_timestamp for index in labelled]
        velocities = track_velocities(contents, times) if exact else [None] * len(contents)
        for index, content, velocity in zip(labelled, contents, velocities, strict=True):
            frame, row = log.frame(index), len(ids)
            # A mere number (ScenarioNet's tokens) names a frame of its log, not of all logs.
            ids.append(f"{log.name}/{index}" if frame.token.isdecimal() or not frame.token else frame.token)
            names.append(log.name)
            poses.append(frame.global_from_ego)
            frame_of[log.name, index] = row
            label = counted_labels(content, class_map, ego)
            parts.append(_frame_boxes(row, log, index, content, label, frame.global_from_ego, velocity))
            for i in [i for i, category in enumerate(content.category) if category == BICYCLE_RACK and exact]:
                rotation = quaternion_to_matrix(content.source_rotation[i])
                racks.append((row, content.source_translation[i], content.source_size[i][[1, 0, 2]], rotation))
    if not ids:
        raise UserError(
            log_paths[0] if log_paths else "logs", "no labelled frame to score against", "give logs that carry labels"
        )
    if len(set(ids)) != len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise UserError(names[ids.index(twice)], f"frame {twice} occurs twice", "give every log once")
    global_from_ego = np.stack(poses)
    frames = EvalFrames(
        ids=tuple(ids),
        log_names=tuple(names),
        ego_xy=global_from_ego[:, :2, 3].copy(),
        rack_frame=np.array([rack[0] for rack in racks], dtype=np.int64),
        rack_centre=np.array([rack[1] for rack in racks], dtype=np.float64).reshape(-1, 3),
        rack_size=np.array([rack[2] for rack in racks], dtype=np.float64).reshape(-1, 3),
        rack_rotation=np.array([rack[3] for rack in racks], dtype=np.float64).reshape(-1, 3, 3),
    )
    return GroundTruth(frames, EvalBoxes.concatenate(parts), class_map.names, frame_of, global_from_ego)


def ego_tokens(log: Log) -> frozenset[str]:
    """Source tokens of the tracks that are the recording vehicle itself."""
    if not log.has_table("track_roles"):
        return frozenset()
    return frozenset(row["track"] for row in log.table("track_roles").to_pylist() if row["role"] == "ego")


def counted_labels(content: FrameBoxes, class_map: ClassMap, ego: frozenset[str]) -> np.ndarray:
    """Class of each box of a frame, int64 [N]; -1 where it does not count: another category, or the ego's own box."""
    label = class_map.labels(content.category)
    if ego:
        label[[token in ego for token in content.track_token]] = -1
    return label


def track_velocities(contents: Sequence[FrameBoxes], times_s: Sequence[float]) -> list[np.ndarray]:
    """Velocity f64 [N, 2] (global, m/s; NaN = unknown) of the boxes of each frame of a log.

    Difference of the positions before and after in the same track, one-sided at its ends; unknown over gaps beyond
    1.5 s (3 s between both neighbours). Seconds come as floats of microseconds: that is the devkit's rounding.
    """
    count = [len(content.category) for content in contents]
    if not sum(count):
        return [np.zeros((n, 2)) for n in count]
    track = np.concatenate([content.track for content in contents])
    position = np.concatenate([content.source_translation for content in contents])[:, :2]
    time = np.repeat(np.asarray(times_s, dtype=np.float64), count)
    order = np.argsort(track, kind="stable")  # rows are in frame order already
    rank = np.arange(len(order))
    same = track[order][1:] == track[order][:-1]
    has_prev, has_next = np.concatenate([[False], same]), np.concatenate([same, [False]])
    first, last = order[rank - has_prev], order[rank + has_next]
    gap = time[last] - time[first]
    limit = np.where(has_prev & has_next, 2 * _MAX_GAP_S, _MAX_GAP_S)
    known = (has_prev | has_next) & (gap <= limit) & (gap > 0)
    velocity = np.full((len(order), 2), np.nan)
    velocity[order[known]] = (position[last] - position[first])[known] / gap[known, None]
    return np.split(velocity, np.cumsum(count)[:-1])


def _frame_boxes(
    row: int,
    log: Log,
    index: int,
    content: FrameBoxes,
    label: np.ndarray,
    global_from_ego: np.ndarray,
    velocity: np.ndarray | None,
) -> EvalBoxes:
    if velocity is None:
        placed, known = transform_boxes(global_from_ego, content.boxes), content.velocity_valid
    else:
        known = ~np.isnan(velocity).any(axis=1)
        yaw = yaw_of_quaternion(content.source_rotation)
        size = content.source_size[:, [1, 0, 2]]
        placed = np.column_stack([content.source_translation, size, yaw, np.where(known[:, None], velocity, 0.0)])
    n = len(label)
    points = np.where(
        content.num_lidar_points_valid,
        content.num_lidar_points + np.where(content.num_radar_points_valid, content.num_radar_points, 0),
        UNKNOWN_POINTS,
    )
    attribute = _attribute_codes(log, index, content, label) if velocity is not None else np.full(n, NO_ATTRIBUTE)
    every = EvalBoxes(np.full(n, row, np.int64), placed, known, label, np.zeros(n), attribute, points)
    return every.take(label >= 0)


def _attribute_codes(log: Log, index: int, content: FrameBoxes, label: np.ndarray) -> np.ndarray:
    codes = np.full(len(label), NO_ATTRIBUTE, dtype=np.int64)
    for i in np.flatnonzero(label >= 0):
        text = content.attributes[i]
        if text == "":
            continue
        if text not in ATTRIBUTES:
            raise UserError(
                f"{log.path}: frame {index}",
                f"annotation {content.source_token[i]} has the attribute {text!r}",
                f"the metric wants one of {', '.join(ATTRIBUTES)}, or none",
            )
        codes[i] = ATTRIBUTES.index(text)
    return codes
