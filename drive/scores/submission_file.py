"""What nuScenes' detection and tracking submissions share: the JSON around the boxes, their columns, faults named."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drive.errors import UserError
from drive.geometry.box import VX
from drive.geometry.rigid import yaw_of_quaternion
from drive.logs.json_layout import NotFlatError
from drive.scores.eval_boxes import EvalBoxes
from drive.scores.submission_scan import Scanned, codes, scan_submission

META_FIELDS = ("use_camera", "use_lidar", "use_radar", "use_map", "use_external")
MAX_BOXES_PER_FRAME = 500
SMALL_BYTES = 2 << 20  # below it the objects are made sooner than the compiled pass is loaded


def write_results(path: Path, results: Mapping[str, list[dict[str, Any]]], meta: Mapping[str, bool]) -> None:
    """Write a submission at once (temporary file, rename). meta: values of META_FIELDS."""
    if sorted(meta) != sorted(META_FIELDS):
        raise ValueError(f"meta must have exactly the fields {META_FIELDS}")
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    with partial.open("w") as file:
        json.dump({"meta": {name: bool(meta[name]) for name in META_FIELDS}, "results": results}, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def check_numbers(boxes: EvalBoxes, frame_ids: Sequence[str], place: str) -> None:
    """UserError for boxes that are not finite or have no size, and for more than 500 in a frame."""
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
def collector_paused() -> Iterator[None]:
    """JSON has no cycles, and the collector's search for some doubles the time to read a million boxes."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def load_results(path: Path, frame_ids: Sequence[str]) -> tuple[dict[str, bool], list[dict[str, Any]], np.ndarray, int]:
    """(meta, records in the order of ``frame_ids``, frame int64 [N] of each, frames beyond those) of a file."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(path, "no such file", "give the path of a submission") from None
    except ValueError as error:
        raise UserError(path, f"not JSON ({error})", "write the submission again") from None
    if not isinstance(content, dict) or not isinstance(content.get("results"), dict):
        raise UserError(path, "no object `results`", 'the format is {"meta": {...}, "results": {sample_token: [...]}}')
    results = content["results"]
    meta = _check_head(path, content.get("meta"), results, frame_ids)
    records: list[dict[str, Any]] = []
    counts = np.zeros(len(frame_ids), dtype=np.int64)
    for i, name in enumerate(frame_ids):
        if not isinstance(results[name], list):
            raise UserError(f"{path}:{name}", "not a list", "each frame holds a list of boxes")
        counts[i] = len(results[name])
        records.extend(results[name])
    frame = np.repeat(np.arange(len(frame_ids)), counts)
    return meta, records, frame, len(results) - len(frame_ids)


def _check_head(path: Path, meta: Any, results: Collection[str], frame_ids: Sequence[str]) -> dict[str, bool]:
    """The meta block; UserError where it lacks a field, or the results lack a frame."""
    if not isinstance(meta, dict) or any(not isinstance(meta.get(name), bool) for name in META_FIELDS):
        raise UserError(path, "`meta` lacks one of its true/false fields", f"it needs {', '.join(META_FIELDS)}")
    there = set(results)
    missing = [name for name in frame_ids if name not in there]
    if missing:
        raise UserError(
            path,
            f"{len(missing)} of {len(frame_ids)} frames are missing, the first is {missing[0]}",
            "list every frame, with an empty list where nothing was found",
        )
    return {name: meta[name] for name in META_FIELDS}


def scan_results(
    path: Path, frame_ids: Sequence[str], class_names: Sequence[str], task: str, more: Mapping[str, str]
) -> tuple[dict[str, bool], Columns, np.ndarray, np.ndarray, int, Scanned]:
    """The same as load_results and read_columns without an object a box, by submission_scan.

    Returns (meta, columns, frame int64 [N], rows int64 [N] of the scanned columns in the order of ``frame_ids``, frames
    beyond those, what was scanned); `more`: fields beside those of Columns. NotFlatError where only objects tell.
    """
    if path.stat().st_size < SMALL_BYTES:
        raise NotFlatError
    kinds = {"translation": "real3", "size": "real3", "rotation": "real4", "velocity": "real2", f"{task}_score": "real"}
    scanned = scan_submission(path, {**kinds, f"{task}_name": "text", **more})
    meta = _check_head(path, scanned.meta, scanned.keys, frame_ids)
    place = {name: i for i, name in enumerate(scanned.keys)}
    wanted = np.array([place[name] for name in frame_ids], np.int64)
    begins, counts = np.cumsum(scanned.counts) - scanned.counts, scanned.counts[wanted]
    frame = np.repeat(np.arange(len(frame_ids)), counts)
    within = np.arange(len(frame)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = begins[wanted][frame] + within
    found = {name: scanned.columns[name][rows] for name in kinds}
    length = np.linalg.norm(found["rotation"], axis=1)
    if not (np.isfinite(length) & (length > 0)).all():
        raise NotFlatError
    label = codes(scanned, f"{task}_name", class_names)[rows]
    return meta, _columns(found, label, task), frame, rows, len(scanned.keys) - len(frame_ids), scanned


def _columns(found: Mapping[str, np.ndarray], label: np.ndarray, task: str) -> Columns:
    known = ~np.isnan(found["velocity"]).any(axis=1)
    boxes = np.empty((len(label), 9))
    boxes[:, :3], boxes[:, 3:6] = found["translation"], found["size"][:, [1, 0, 2]]
    boxes[:, 6] = yaw_of_quaternion(found["rotation"])
    boxes[:, 7:] = np.where(known[:, None], found["velocity"], 0.0)
    return Columns(boxes, known, label, found[f"{task}_score"].reshape(-1))


@dataclass(frozen=True)
class Columns:
    """Of N boxes: boxes f64 [N, 9] (global), velocity_valid bool [N], label int64 [N], score f64 [N]."""

    boxes: np.ndarray
    velocity_valid: np.ndarray
    label: np.ndarray
    score: np.ndarray


def read_columns(
    records: list[dict[str, Any]],
    frame: np.ndarray,
    path: Path,
    frame_ids: Sequence[str],
    class_names: Sequence[str],
    task: str,
) -> Columns:
    """Columns of the records of a task, "detection" or "tracking"; UserError names the first record that does not fit.

    The quick way first, and the slow look for the culprit only where that fails.
    """
    label_of = {name: i for i, name in enumerate(class_names)}
    widths = {"translation": 3, "size": 3, "rotation": 4, "velocity": 2, f"{task}_score": 1}
    try:
        columns = {name: _column(records, name, width) for name, width in widths.items()}
        label = np.fromiter((label_of[r[f"{task}_name"]] for r in records), np.int64, len(records))
    except (KeyError, TypeError, ValueError):
        _name_culprit(records, frame, path, frame_ids, label_of, task)
        raise
    length = np.linalg.norm(columns["rotation"], axis=1)
    if not (np.isfinite(length) & (length > 0)).all():
        _name_culprit(records, frame, path, frame_ids, label_of, task)
    return _columns(columns, label, task)


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
    task: str,
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
        if not _is_number(record.get(f"{task}_score")):
            raise UserError(place, f"`{task}_score` is not a number", "write the score as a JSON number")
        if record.get(f"{task}_name") not in label_of:
            raise UserError(
                place, f"unknown class {record.get(f'{task}_name')!r}", f"the classes are {', '.join(label_of)}"
            )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
