"""Detections of a frame, and the file that holds those of many frames. Reading and writing need no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from drive.boxes.missing_images import MissingImages
from drive.boxes.table_file import matrix_of, rows_of, write_table
from drive.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

_SCHEMA_VERSION = 2
_READABLE = (1, 2)  # 1 knew neither velocity_valid nor features


@dataclass(frozen=True)
class Detections:
    """One frame: boxes float32 [N, 9] (BOX_COLUMNS, ego frame), scores float32 [N] falling, labels int64 [N].

    features: float32 [N, C], the detector's features at each box, or None where they were not asked for.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    features: Tensor | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def numpy(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(boxes, scores, labels) as numpy arrays on the CPU."""
        return tuple(t.detach().cpu().numpy() for t in (self.boxes, self.scores, self.labels))  # type: ignore[return-value]


@dataclass(frozen=True)
class DetectionSet:
    """Detections of many frames, flat. A frame that was looked at and found empty is in frame_ids all the same.

    class_names: name of each label. frame_ids, logs, frame_indices: one entry a frame.
    offsets: int64 [F + 1]; frame f owns the rows offsets[f]:offsets[f + 1] of boxes float32 or float64 [D, 9]
        (BOX_COLUMNS, the frame's ego frame), scores [D] of the same type and labels int64 [D].
    velocity_valid: bool [D]; False where the detector does not measure vx and vy. All True unless given.
    features: float32 [D, C], the detector's features at each box; C = 0 unless given.
    missing_images: what the cameras did not give in these frames; empty for a detector that reads none.
    """

    class_names: tuple[str, ...]
    frame_ids: list[str]
    logs: list[str]
    frame_indices: list[int]
    offsets: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    velocity_valid: np.ndarray = field(default=None)  # type: ignore[arg-type]
    features: np.ndarray = field(default=None)  # type: ignore[arg-type]
    missing_images: tuple[MissingImages, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.velocity_valid is None:
            object.__setattr__(self, "velocity_valid", np.ones(n, dtype=bool))
        if self.features is None:
            object.__setattr__(self, "features", np.zeros((n, 0), np.float32))
        if self.boxes.shape != (n, 9) or self.features.ndim != 2:
            raise ValueError(f"{n} scores, but boxes {self.boxes.shape} and features {self.features.shape}")
        for name in ("labels", "velocity_valid", "features"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{n} scores, but {len(getattr(self, name))} {name}")

    @staticmethod
    def join(
        class_names: tuple[str, ...],
        frame_ids: list[str],
        logs: list[str],
        frame_indices: list[int],
        detections: list[Detections],
        velocity: bool = True,
    ) -> DetectionSet:
        """One set of one Detections a frame; ``velocity``: the detector measures it."""
        parts = [d.numpy() for d in detections]
        empty = (np.zeros((0, 9), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
        boxes, scores, labels = (np.concatenate([empty[i], *(p[i] for p in parts)]) for i in range(3))
        offsets = np.concatenate([[0], np.cumsum([len(p[1]) for p in parts])]).astype(np.int64)
        seen = [d.features.detach().cpu().numpy() for d in detections if d.features is not None]
        features = np.concatenate(seen).astype(np.float32) if seen else np.zeros((len(scores), 0), np.float32)
        valid = np.full(len(scores), velocity)
        return DetectionSet(
            class_names, frame_ids, logs, frame_indices, offsets, boxes, scores, labels, valid, features
        )  # fmt: skip


def write_detections(path: Path, detections: DetectionSet) -> None:
    """Write an Arrow IPC file, a row a detection; frames and class names are in the schema's metadata.

    The file appears whole or not at all. Raises UserError where it cannot be written.
    """
    frame = np.repeat(np.arange(len(detections.frame_ids)), np.diff(detections.offsets))
    number = pa.float64() if detections.boxes.dtype == np.float64 else pa.float32()
    columns = {
        "frame_id": pa.array([detections.frame_ids[f] for f in frame], pa.string()),
        "log": pa.array([detections.logs[f] for f in frame], pa.string()),
        "frame_index": pa.array([detections.frame_indices[f] for f in frame], pa.int64()),
        "boxes": rows_of(detections.boxes, number),
        "score": pa.array(detections.scores, number),
        "label": pa.array(detections.labels, pa.int64()),
        "class_name": pa.array([detections.class_names[label] for label in detections.labels], pa.string()),
        "velocity_valid": pa.array(detections.velocity_valid, pa.bool_()),
    }
    width = detections.features.shape[1]
    if width:
        columns["features"] = rows_of(detections.features, pa.float32())
    frames = list(zip(detections.frame_ids, detections.logs, detections.frame_indices, strict=True))
    head = {
        "schema_version": _SCHEMA_VERSION,
        "class_names": detections.class_names,
        "features": width,
        "frames": frames,
        "missing_images": [missing.to_dict() for missing in detections.missing_images],
    }
    write_table(path, pa.table(columns).replace_schema_metadata({"detections": json.dumps(head)}))


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
    if version not in _READABLE:
        what = f"detections of schema version {version}, this program reads {_READABLE[0]} to {_READABLE[-1]}"
        raise UserError(path, what, mend)
    frame_ids = [f[0] for f in frames]
    row = {frame_id: i for i, frame_id in enumerate(frame_ids)}
    try:
        frame_of = np.array([row[f] for f in table["frame_id"].to_pylist()], dtype=np.int64)
        width = int(head.get("features", 0))
        return DetectionSet(
            names,
            frame_ids,
            [f[1] for f in frames],
            [int(f[2]) for f in frames],
            np.searchsorted(frame_of, np.arange(len(frames) + 1)).astype(np.int64),
            matrix_of(table["boxes"], 9),
            table["score"].to_numpy(),
            table["label"].to_numpy(),
            table["velocity_valid"].to_numpy() if version > 1 else None,  # type: ignore[arg-type]
            matrix_of(table["features"], width) if width else None,  # type: ignore[arg-type]
            tuple(MissingImages.of_dict(entry) for entry in head.get("missing_images", ())),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(path, f"its columns are not those of detections ({error})", mend) from error
