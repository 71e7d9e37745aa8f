"""nuScenes detection submissions (JSON, global frame): written from detections, read with every fault named.

Format: nuscenes-devkit 1.2 eval/detection/data_classes.py ``DetectionBox`` and docs of the detection challenge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drive.errors import UserError
from drive.geometry.box import VX, VY, YAW, transform_boxes
from drive.geometry.rigid import quaternion_from_yaw
from drive.logs.json_layout import NotFlatError
from drive.scores.eval_boxes import ATTRIBUTES, NO_ATTRIBUTE, UNKNOWN_POINTS, EvalBoxes
from drive.scores.submission_file import (
    MAX_BOXES_PER_FRAME,
    META_FIELDS,
    check_numbers,
    collector_paused,
    load_results,
    read_columns,
    scan_results,
    write_results,
)
from drive.scores.submission_scan import codes

__all__ = [
    "MAX_BOXES_PER_FRAME",
    "META_FIELDS",
    "Submission",
    "attributes_of",
    "global_boxes",
    "read_submission",
    "write_submission",
]

MOVING_MPS = 0.2  # above it an object counts as moving: the rule that CenterPoint and its followers submit with

_AT_REST = {
    "car": "vehicle.parked",
    "truck": "vehicle.parked",
    "trailer": "vehicle.parked",
    "construction_vehicle": "vehicle.parked",
    "bus": "vehicle.stopped",
    "pedestrian": "pedestrian.standing",
    "motorcycle": "cycle.without_rider",
    "bicycle": "cycle.without_rider",
}
_MOVING = {
    "car": "vehicle.moving",
    "truck": "vehicle.moving",
    "trailer": "vehicle.moving",
    "construction_vehicle": "vehicle.moving",
    "bus": "vehicle.moving",
    "pedestrian": "pedestrian.moving",
    "motorcycle": "cycle.with_rider",
    "bicycle": "cycle.with_rider",
}


@dataclass(frozen=True)
class Submission:
    """A submission that was read: its meta block, its boxes, and how many of its frames the score does not cover."""

    meta: dict[str, bool]
    boxes: EvalBoxes
    extra_frames: int


def attributes_of(class_names: Sequence[str], labels: np.ndarray, speed_mps: np.ndarray) -> np.ndarray:
    """Attribute code int64 [N] of each prediction by its class and speed; NO_ATTRIBUTE for barriers, cones, others."""
    code = {name: i for i, name in enumerate(ATTRIBUTES)}
    moving = np.array([code.get(_MOVING.get(name, ""), NO_ATTRIBUTE) for name in class_names], dtype=np.int64)
    at_rest = np.array([code.get(_AT_REST.get(name, ""), NO_ATTRIBUTE) for name in class_names], dtype=np.int64)
    if len(labels) == 0:
        return np.zeros(0, dtype=np.int64)
    return np.where(speed_mps > MOVING_MPS, moving[labels], at_rest[labels])


def global_boxes(
    frame: int,
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    global_from_ego: np.ndarray,
) -> EvalBoxes:
    """Detections of one frame (boxes [N, 9] ego frame, scores [N], labels [N] into ``class_names``), made global."""
    placed = transform_boxes(global_from_ego, np.asarray(boxes, dtype=np.float64).reshape(-1, 9))
    n = len(placed)
    labels = np.asarray(labels, dtype=np.int64)
    return EvalBoxes(
        frame=np.full(n, frame, dtype=np.int64),
        boxes=placed,
        velocity_valid=np.ones(n, dtype=bool),
        label=labels,
        score=np.asarray(scores, dtype=np.float64),
        attribute=attributes_of(class_names, labels, np.hypot(placed[:, VX], placed[:, VY])),
        num_points=np.full(n, UNKNOWN_POINTS, dtype=np.int64),
    )


def write_submission(
    path: Path, boxes: EvalBoxes, frame_ids: Sequence[str], class_names: Sequence[str], meta: Mapping[str, bool]
) -> None:
    """Write ``path`` at once (temporary file, rename). Every frame of ``frame_ids`` is a key, with or without boxes.

    meta: values of META_FIELDS. Raises UserError for over 500 boxes in a frame and for numbers that are not finite.
    """
    check_numbers(boxes, frame_ids, str(path))
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in frame_ids}
    rotation = quaternion_from_yaw(boxes.boxes[:, YAW]).tolist()
    columns, scores = boxes.boxes.tolist(), boxes.score.tolist()
    for i, (frame, label, attribute) in enumerate(
        zip(boxes.frame.tolist(), boxes.label.tolist(), boxes.attribute.tolist(), strict=True)
    ):
        x, y, z, length, width, height, _, vx, vy = columns[i]
        results[frame_ids[frame]].append(
            {
                "sample_token": frame_ids[frame],
                "translation": [x, y, z],
                "size": [width, length, height],
                "rotation": rotation[i],
                "velocity": [vx, vy],
                "detection_name": class_names[label],
                "detection_score": scores[i],
                "attribute_name": "" if attribute == NO_ATTRIBUTE else ATTRIBUTES[attribute],
            }
        )
    write_results(path, results, meta)


def read_submission(path: Path, frame_ids: Sequence[str], class_names: Sequence[str]) -> Submission:
    """Read and check a submission; boxes come in the order of ``frame_ids``, as the devkit orders a custom split.

    Raises UserError: not JSON, no ``meta`` or ``results``, a frame that is missing, more than 500 boxes, a class or an
    attribute that does not exist, a field that is absent or of the wrong length, NaN (a velocity may be NaN: unknown).
    """
    names = (*ATTRIBUTES, "")
    try:
        meta, found, frame, rows, extra, scanned = scan_results(
            path, frame_ids, class_names, "detection", {"attribute_name": "text"}
        )
        attribute = codes(scanned, "attribute_name", names)[rows]
        attribute[attribute == len(ATTRIBUTES)] = NO_ATTRIBUTE
    except (NotFlatError, OSError):  # the objects tell what is wrong, or are of another shape
        with collector_paused():
            meta, records, frame, extra = load_results(path, frame_ids)
            found = read_columns(records, frame, path, frame_ids, class_names, "detection")
            attribute = _attributes(records, frame, path, frame_ids)
    unknown = np.full(len(frame), UNKNOWN_POINTS, dtype=np.int64)
    boxes = EvalBoxes(frame, found.boxes, found.velocity_valid, found.label, found.score, attribute, unknown)
    check_numbers(boxes, frame_ids, str(path))
    return Submission(meta, boxes, extra)


def _attributes(records: list[dict[str, Any]], frame: np.ndarray, path: Path, frame_ids: Sequence[str]) -> np.ndarray:
    """Attribute codes int64 [N]; UserError for one that does not exist."""
    code = {name: i for i, name in enumerate(ATTRIBUTES)} | {"": NO_ATTRIBUTE}
    try:
        return np.fromiter((code[r["attribute_name"]] for r in records), np.int64, len(records))
    except (KeyError, TypeError):
        for i, record in enumerate(records):
            name = record.get("attribute_name")
            if not isinstance(name, str) or name not in code:
                place = f"{path}:{frame_ids[frame[i]]}"
                raise UserError(
                    place, f"unknown attribute {name!r}", f'use "" or one of {", ".join(ATTRIBUTES)}'
                ) from None
        raise
