"""nuScenes tracking submissions (JSON, global frame): written from tracks, read with every fault named.

Format: nuscenes-devkit 1.2 eval/tracking/data_classes.py ``TrackingBox``. The identifier is text; numbers, which the
devkit lets through and published results use, are read as well. Files hold the same ``meta`` as a detection submission.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from drive.errors import UserError
from drive.geometry.box import YAW
from drive.geometry.rigid import quaternion_from_yaw
from drive.logs.json_layout import NotFlatError
from drive.scores.eval_boxes import NO_ATTRIBUTE, UNKNOWN_POINTS, EvalBoxes
from drive.scores.nuscenes_tracking_boxes import TrackedBoxes
from drive.scores.submission_file import (
    Columns,
    check_numbers,
    collector_paused,
    load_results,
    read_columns,
    scan_results,
    write_results,
)
from drive.scores.submission_scan import texts


def write_tracking_submission(
    path: Path,
    tracked: TrackedBoxes,
    frame_ids: Sequence[str],
    class_names: Sequence[str],
    meta: Mapping[str, bool],
    track_ids: Sequence[str] | None = None,
) -> None:
    """Write ``path`` at once. Every frame of ``frame_ids`` is a key; a track is named by ``track_ids`` or its number.

    Raises UserError for over 500 boxes in a frame, numbers that are not finite, two boxes of a track in one frame.
    """
    boxes = tracked.boxes
    check_numbers(boxes, frame_ids, str(path))
    names = [str(track) if track_ids is None else track_ids[track] for track in tracked.track.tolist()]
    _check_unique(boxes.frame, tracked.track, names, frame_ids, path)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in frame_ids}
    rotation, columns = quaternion_from_yaw(boxes.boxes[:, YAW]).tolist(), boxes.boxes.tolist()
    rows = zip(boxes.frame.tolist(), boxes.label.tolist(), boxes.score.tolist(), columns, rotation, names, strict=True)
    for frame, label, score, (x, y, z, length, width, height, _, vx, vy), turn, name in rows:
        results[frame_ids[frame]].append(
            {
                "sample_token": frame_ids[frame],
                "translation": [x, y, z],
                "size": [width, length, height],
                "rotation": turn,
                "velocity": [vx, vy],
                "tracking_id": name,
                "tracking_name": class_names[label],
                "tracking_score": score,
            }
        )
    write_results(path, results, meta)


def read_tracking_submission(
    path: Path, frame_ids: Sequence[str], log_of_frame: np.ndarray, class_names: Sequence[str]
) -> tuple[TrackedBoxes, list[str]]:
    """Boxes in the order of ``frame_ids``, tracks numbered over all logs; and the identifier of every track.

    log_of_frame: int64 [F]; the same identifier in two logs is two tracks. Raises UserError as ``read_submission``, and
    for an identifier that is neither text nor a whole number or that two boxes of a frame bear.
    """
    try:
        _, found, frame, rows, _, scanned = scan_results(
            path, frame_ids, class_names, "tracking", {"tracking_id": "a|b"}
        )
        column = scanned.columns["tracking_id"]
        ids = [str(value) for value in column.tolist()] if column.ndim == 1 else texts(scanned, "tracking_id")
        ids = [ids[row] for row in rows.tolist()]
        if "" in ids:
            raise NotFlatError
    except (NotFlatError, OSError):  # the objects tell what is wrong, or are of another shape
        with collector_paused():
            _, records, frame, _ = load_results(path, frame_ids)
            found = read_columns(records, frame, path, frame_ids, class_names, "tracking")
            ids = _identifiers(records, frame, path, frame_ids)
    different, text_of = np.unique(ids, return_inverse=True) if ids else (np.zeros(0, str), np.zeros(0, np.int64))
    log = np.asarray(log_of_frame, dtype=np.int64)[frame]
    pairs, track = np.unique(np.stack([log, text_of.reshape(-1)]), axis=1, return_inverse=True)
    track = track.reshape(-1).astype(np.int64)
    names = [str(different[text]) for text in pairs[1].tolist()]
    boxes = _eval_boxes(found, frame)
    check_numbers(boxes, frame_ids, str(path))
    _check_unique(frame, track, ids, frame_ids, path)
    return TrackedBoxes(boxes, track), names


def _identifiers(records: list[dict[str, Any]], frame: np.ndarray, path: Path, frame_ids: Sequence[str]) -> list[str]:
    values = [record.get("tracking_id") for record in records]
    if set(map(type, values)) - {str, int} or "" in values:
        i = next(i for i, v in enumerate(values) if type(v) not in (str, int) or v == "")
        what = f"`tracking_id` is {values[i]!r}"
        raise UserError(f"{path}:{frame_ids[frame[i]]}", what, "name the track by text or a whole number")
    return [str(value) for value in values]


def _eval_boxes(found: Columns, frame: np.ndarray) -> EvalBoxes:
    none = np.full(len(frame), NO_ATTRIBUTE, dtype=np.int64)
    unknown = np.full(len(frame), UNKNOWN_POINTS, dtype=np.int64)
    return EvalBoxes(frame, found.boxes, found.velocity_valid, found.label, found.score, none, unknown)


def _check_unique(
    frame: np.ndarray, track: np.ndarray, names: Sequence[str], frame_ids: Sequence[str], path: Path
) -> None:
    order = np.lexsort((track, frame))
    twice = np.flatnonzero((np.diff(frame[order]) == 0) & (np.diff(track[order]) == 0))
    if len(twice):
        i = order[twice[0]]
        what = f"two boxes of track {names[i]!r}"
        raise UserError(f"{path}:{frame_ids[frame[i]]}", what, "a track has one box a frame")
