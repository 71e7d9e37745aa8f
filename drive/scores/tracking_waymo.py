"""Waymo's tracking metric of a tracks file against logs of any data set with Waymo types."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from drive.boxes.detections import DetectionSet
from drive.errors import UserError
from drive.geometry.box import transform_boxes
from drive.logs.store import Log
from drive.samples.classes import ClassMap
from drive.scores.waymo_boxes import WaymoBoxes
from drive.scores.waymo_config import LEVEL_1, LEVEL_2, VEHICLE, WaymoConfig
from drive.scores.waymo_report import NOT_SCORED, TYPE_OF_CLASS, load_waymo_truth, place_predictions, waymo_kinds
from drive.scores.waymo_tracking import WaymoTrackingMetrics, WaymoTracks, evaluate_tracks
from drive.tracks.sequence import TrackSet

CONFIG = WaymoConfig(breakdowns=(("OBJECT_TYPE", (LEVEL_1, LEVEL_2)), ("RANGE", (LEVEL_1, LEVEL_2))))


def score_waymo_tracks(
    tracks: TrackSet, log_paths: Sequence[Path], class_map: ClassMap, place: str = "tracks"
) -> WaymoTrackingMetrics:
    """MOTA and MOTP at the best cutoff of 0, 0.01, ... 1, by type and range.

    A label's level is its tracking difficulty, where the data set has one. As in the official tool no label is left
    out for its number of lidar points. UserError as ``load_waymo_truth`` and ``place_predictions``, and for scores
    outside 0..1: no cutoff would tell them apart.
    """
    if len(tracks.scores) and not (tracks.scores.min() >= 0 and tracks.scores.max() <= 1):
        raise UserError(place, "scores lie outside 0..1, where Waymo's cutoffs are", "make them probabilities")
    truth = load_waymo_truth(log_paths, class_map)
    sequence_of = np.zeros(len(truth.frame_ids), np.int64)
    parts: list[WaymoBoxes] = []
    numbers, first = [np.zeros(0, np.int64)], 0
    names = {}
    for number, path in enumerate(log_paths):
        log = Log.open(path)
        names[log.name] = number
        for index in np.flatnonzero(~np.asarray(log.frame_interpolated, dtype=bool)).tolist():
            row = truth.frame_of[log.name, index]
            sequence_of[row] = number
            content = log.boxes(index)
            kind = waymo_kinds(content.category, class_map)
            scored = kind > 0
            level = np.array([d or 0 for d in content.extra.get("tracking_difficulty", [0] * len(kind))], np.int64)
            level_labels = WaymoBoxes.labels(
                np.full(len(kind), row), content.boxes[:, :7], np.where(scored, kind, VEHICLE), level
            )
            parts.append(level_labels.take(scored))
            numbers.append(first + content.track[scored].astype(np.int64))
        first += len(log.track_tokens)
    fields = WaymoBoxes.__dataclass_fields__
    joined = WaymoBoxes(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))
    labels = WaymoTracks(joined, sequence_of[joined.frame], np.concatenate(numbers))

    rows = np.array([truth.frame_of.get(key, -1) for key in zip(tracks.logs, tracks.frame_indices, strict=True)])
    frame = np.repeat(rows.astype(np.int64), np.diff(tracks.offsets))
    ego = tracks.boxes.copy()
    for row in np.unique(frame[frame >= 0]):
        mine = frame == row
        ego[mine] = transform_boxes(np.linalg.inv(truth.global_from_ego[row]), tracks.boxes[mine])
    found = DetectionSet(
        tracks.class_names, tracks.frame_ids, tracks.logs, tracks.frame_indices, tracks.offsets, ego, tracks.scores,
        tracks.labels,
    )  # fmt: skip
    predictions, _ = place_predictions(found, truth, place)
    kind_of = np.array([TYPE_OF_CLASS[name] for name in tracks.class_names], dtype=np.int64)
    kept = (frame >= 0) & (kind_of[tracks.labels] != NOT_SCORED)
    own = WaymoTracks(predictions, sequence_of[predictions.frame], tracks.ids[kept])
    return evaluate_tracks(labels, own, CONFIG)
