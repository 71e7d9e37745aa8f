"""nuScenes detection submissions (JSON, global frame): written from detections, read with every fault named.

Format: nuscenes-devkit 1.2 eval/detection/data_classes.py ``DetectionBox`` and docs of the detection challenge.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drive.errors import UserError
from drive.geometry.box import VX, VY, YAW, transform_boxes
from drive.geometry.rigid import quaternion_from_yaw, yaw_of_quaternion
from drive.scores.eval_boxes import ATTRIBUTES, NO_ATTRIBUTE, UNKNOWN_POINTS, EvalBoxes

META_FIELDS = ("use_camera", "use_lidar", "use_radar", "use_map", "use_external")
MAX_BOXES_PER_FRAME = 500
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
    if sorted(meta) != sorted(META_FIELDS):
        raise ValueError(f"meta must have exactly the fields {META_FIELDS}")
    _check_numbers(boxes, frame_ids, str(path))
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
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    with partial.open("w") as file:
        json.dump({"meta": {name: bool(meta[name]) for name in META_FIELDS}, "results": results}, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _check_numbers(boxes: EvalBoxes, frame_ids: Sequence[str], place: str) -> None:
    used = np.where(boxes.velocity_valid[:, None] | (np.arange(9) < VX), boxes.boxes, 0.0)
    broken = np.flatnonzero(~(np.isfinite(used).all(axis=1) & np.isfinite(boxes.score)))
    if len(broken):
        frame = frame_ids[boxes.frame[broken[0]]]
        raise UserError(
            place, f"{len(broken)} boxes are not finite, the first in frame {frame}", "look for a diverged model"
        )
    flat = np.flatnonzero((boxes.boxes[:, 3:6] <= 0).any(axis=1))
    if len(flat):
        frame = frame_ids[boxes.frame[flat[0]]]
        raise UserError(place, f"{len(flat)} boxes have a size of 0 or less, the first in frame {frame}", "remove them")
    count = np.bincount(boxes.frame, minlength=len(frame_ids))
    if count.max(initial=0) > MAX_BOXES_PER_FRAME:
        frame = frame_ids[int(count.argmax())]
        raise UserError(
            place,
            f"{count.max()} boxes in frame {frame}; nuScenes allows {MAX_BOXES_PER_FRAME}",
            "keep the best ones of each frame",
        )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """JSON has no cycles, and the collector's search for some doubles the time to read a million boxes."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def read_submission(path: Path, frame_ids: Sequence[str], class_names: Sequence[str]) -> Submission:
    """Read and check a submission; boxes come in the order of ``frame_ids``, as the devkit orders a custom split.

    Raises UserError: not JSON, no ``meta`` or ``results``, a frame that is missing, more than 500 boxes, a class or an
    attribute that does not exist, a field that is absent or of the wrong length, NaN (a velocity may be NaN: unknown).
    """
    with _collector_paused():
        return _read(path, frame_ids, class_names)


def _read(path: Path, frame_ids: Sequence[str], class_names: Sequence[str]) -> Submission:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(path, "no such file", "give the path of a submission") from None
    except ValueError as error:
        raise UserError(path, f"not JSON ({error})", "write the submission again") from None
    if not isinstance(content, dict) or not isinstance(content.get("results"), dict):
        raise UserError(path, "no object `results`", 'the format is {"meta": {...}, "results": {sample_token: [...]}}')
    meta = content.get("meta")
    if not isinstance(meta, dict) or any(not isinstance(meta.get(name), bool) for name in META_FIELDS):
        raise UserError(path, "`meta` lacks one of its true/false fields", f"it needs {', '.join(META_FIELDS)}")
    results = content["results"]
    missing = [name for name in frame_ids if name not in results]
    if missing:
        raise UserError(
            path,
            f"{len(missing)} of {len(frame_ids)} frames are missing, the first is {missing[0]}",
            "list every frame, with an empty list where nothing was found",
        )
    records: list[dict[str, Any]] = []
    counts = np.zeros(len(frame_ids), dtype=np.int64)
    for i, name in enumerate(frame_ids):
        if not isinstance(results[name], list):
            raise UserError(f"{path}:{name}", "not a list", "each frame holds a list of boxes")
        counts[i] = len(results[name])
        records.extend(results[name])
    frame = np.repeat(np.arange(len(frame_ids)), counts)
    boxes = _boxes_of(records, frame, path, frame_ids, class_names)
    _check_numbers(boxes, frame_ids, str(path))
    return Submission({name: meta[name] for name in META_FIELDS}, boxes, len(results) - len(frame_ids))


def _boxes_of(
    records: list[dict[str, Any]], frame: np.ndarray, path: Path, frame_ids: Sequence[str], class_names: Sequence[str]
) -> EvalBoxes:
    """Columns of the records; the quick way first, and the slow look for the culprit only where that fails."""
    label_of, attribute_of = (
        {name: i for i, name in enumerate(class_names)},
        {name: i for i, name in enumerate(ATTRIBUTES)},
    )
    attribute_of[""] = NO_ATTRIBUTE
    try:
        columns = {
            name: _column(records, name, width)
            for name, width in (
                ("translation", 3),
                ("size", 3),
                ("rotation", 4),
                ("velocity", 2),
                ("detection_score", 1),
            )
        }
        label = np.fromiter((label_of[r["detection_name"]] for r in records), np.int64, len(records))
        attribute = np.fromiter((attribute_of[r["attribute_name"]] for r in records), np.int64, len(records))
    except (KeyError, TypeError, ValueError):
        _name_culprit(records, frame, path, frame_ids, label_of, attribute_of)
        raise
    size = columns["size"]
    known = ~np.isnan(columns["velocity"]).any(axis=1)
    score = columns["detection_score"][:, 0]
    rotation = columns["rotation"]
    length = np.linalg.norm(rotation, axis=1)
    if not (np.isfinite(length) & (length > 0)).all():
        _name_culprit(records, frame, path, frame_ids, label_of, attribute_of)
    yaw = yaw_of_quaternion(rotation)
    boxes = np.column_stack(
        [columns["translation"], size[:, [1, 0, 2]], yaw, np.where(known[:, None], columns["velocity"], 0.0)]
    )
    unknown = np.full(len(records), UNKNOWN_POINTS, dtype=np.int64)
    return EvalBoxes(frame, boxes, known, label, score, attribute, unknown)


def _column(records: list[dict[str, Any]], name: str, width: int) -> np.ndarray:
    """f64 [N, width]; KeyError, TypeError or ValueError where a record does not fit."""
    if not records:
        return np.zeros((0, width))
    values = np.array([record[name] for record in records])  # no dtype: text and null must not become numbers
    if values.dtype.kind not in "if" or values.shape != ((len(records), width) if width > 1 else (len(records),)):
        raise ValueError(name)
    return values.astype(np.float64).reshape(len(records), width)


def _name_culprit(
    records: list[dict[str, Any]],
    frame: np.ndarray,
    path: Path,
    frame_ids: Sequence[str],
    label_of: Mapping[str, int],
    attribute_of: Mapping[str, int],
) -> None:
    """Raise UserError for the first record that is not a box."""
    for i, record in enumerate(records):
        place = f"{path}:{frame_ids[frame[i]]}"
        if not isinstance(record, dict):
            raise UserError(place, "a box is not an object", "each box is an object with the fields of a submission")
        for name, width in (("translation", 3), ("size", 3), ("rotation", 4), ("velocity", 2)):
            value = record.get(name)
            if not isinstance(value, list) or len(value) != width or not all(_is_number(v) for v in value):
                raise UserError(
                    place, f"`{name}` is not a list of {width} numbers", "write the field as the format says"
                )
        if not 0 < np.linalg.norm(record["rotation"]) < np.inf:
            raise UserError(place, "`rotation` is not a quaternion", "write w x y z, not all zero")
        if not _is_number(record.get("detection_score")):
            raise UserError(place, "`detection_score` is not a number", "write the score as a JSON number")
        if record.get("detection_name") not in label_of:
            raise UserError(
                place, f"unknown class {record.get('detection_name')!r}", f"the classes are {', '.join(label_of)}"
            )
        if record.get("attribute_name") not in attribute_of:
            raise UserError(
                place,
                f"unknown attribute {record.get('attribute_name')!r}",
                f'use "" or one of {", ".join(ATTRIBUTES)}',
            )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
