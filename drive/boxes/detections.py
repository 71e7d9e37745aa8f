"""Detections of a frame, and the file that holds those of many frames. Reading and writing need no torch."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from drive.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

_SCHEMA_VERSION = 1
_SCHEMA = pa.schema(
    [
        ("frame_id", pa.string()),
        ("log", pa.string()),
        ("frame_index", pa.int64()),
        ("boxes", pa.list_(pa.float32(), 9)),
        ("score", pa.float32()),
        ("label", pa.int64()),
        ("class_name", pa.string()),
    ]
)


@dataclass(frozen=True)
class Detections:
    """One frame: boxes float32 [N, 9] (BOX_COLUMNS, ego frame), scores float32 [N] falling, labels int64 [N]."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.scores)

    def numpy(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(boxes, scores, labels) as numpy arrays on the CPU."""
        return tuple(t.detach().cpu().numpy() for t in (self.boxes, self.scores, self.labels))  # type: ignore[return-value]


@dataclass(frozen=True)
class DetectionSet:
    """Detections of many frames, flat. A frame that was looked at and found empty is in frame_ids all the same.

    class_names: name of each label. frame_ids, logs, frame_indices: one entry a frame.
    offsets: int64 [F + 1]; frame f owns the rows offsets[f]:offsets[f + 1] of boxes float32 [D, 9],
        scores [D] and labels [D].
    """

    class_names: tuple[str, ...]
    frame_ids: list[str]
    logs: list[str]
    frame_indices: list[int]
    offsets: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    @staticmethod
    def join(
        class_names: tuple[str, ...],
        frame_ids: list[str],
        logs: list[str],
        frame_indices: list[int],
        detections: list[Detections],
    ) -> DetectionSet:
        """One set of one Detections a frame."""
        parts = [d.numpy() for d in detections]
        empty = (np.zeros((0, 9), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
        boxes, scores, labels = (np.concatenate([empty[i], *(p[i] for p in parts)]) for i in range(3))
        offsets = np.concatenate([[0], np.cumsum([len(p[1]) for p in parts])]).astype(np.int64)
        return DetectionSet(class_names, frame_ids, logs, frame_indices, offsets, boxes, scores, labels)


def write_detections(path: Path, detections: DetectionSet) -> None:
    """Write an Arrow IPC file, a row a detection; frames and class names are in the schema's metadata.

    The file appears whole or not at all. Raises UserError where it cannot be written.
    """
    frame = np.repeat(np.arange(len(detections.frame_ids)), np.diff(detections.offsets))
    columns = [
        pa.array([detections.frame_ids[f] for f in frame], pa.string()),
        pa.array([detections.logs[f] for f in frame], pa.string()),
        pa.array([detections.frame_indices[f] for f in frame], pa.int64()),
        pa.FixedSizeListArray.from_arrays(pa.array(detections.boxes.ravel(), pa.float32()), 9),
        pa.array(detections.scores, pa.float32()),
        pa.array(detections.labels, pa.int64()),
        pa.array([detections.class_names[label] for label in detections.labels], pa.string()),
    ]
    frames = list(zip(detections.frame_ids, detections.logs, detections.frame_indices, strict=True))
    head = {"schema_version": _SCHEMA_VERSION, "class_names": detections.class_names, "frames": frames}
    schema = _SCHEMA.with_metadata({"detections": json.dumps(head)})
    part = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with part.open("wb") as file:
            with pa.ipc.new_file(file, schema) as writer:
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        what = f"cannot be written ({error.strerror or error})"
        raise UserError(path, what, "check the folder and its free space") from error


def read_detections(path: Path) -> DetectionSet:
    """Read what ``write_detections`` wrote. Raises UserError for a missing, foreign or broken file."""
    mend = "give the detections.arrow that `drive detect` or `drive train` wrote"
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        head = json.loads(table.schema.metadata[b"detections"])
        version, frames, names = head["schema_version"], head["frames"], tuple(head["class_names"])
    except FileNotFoundError as error:
        raise UserError(path, "no such file", mend) from error
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise UserError(path, f"not a detections file ({error})", mend) from error
    if version != _SCHEMA_VERSION or table.schema.remove_metadata() != _SCHEMA:
        raise UserError(path, f"detections of schema version {version}, this program reads {_SCHEMA_VERSION}", mend)
    frame_ids = [f[0] for f in frames]
    row = {frame_id: i for i, frame_id in enumerate(frame_ids)}
    frame_of = np.array([row[f] for f in table["frame_id"].to_pylist()], dtype=np.int64)
    offsets = np.searchsorted(frame_of, np.arange(len(frames) + 1)).astype(np.int64)
    return DetectionSet(
        names,
        frame_ids,
        [f[1] for f in frames],
        [int(f[2]) for f in frames],
        offsets,
        table["boxes"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, 9),
        table["score"].to_numpy(),
        table["label"].to_numpy(),
    )
