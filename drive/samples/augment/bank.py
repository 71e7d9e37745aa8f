"""The object bank: labelled objects with their points in the box's own frame, as one Arrow file.

Memory is bounded whatever the data set's size: of each class the `max_per_class` objects with the smallest hash of
(frame, box) are kept, which is an even draw over all logs, the same on every machine.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from drive.errors import UserError
from drive.samples.inside import points_in_boxes
from drive.samples.sample import POINT_COLUMNS, VELOCITY, FrameSample

BANK_VERSION = 1
_SCHEMA = pa.schema(
    [
        ("label", pa.int64()),
        ("box", pa.list_(pa.float32(), 9)),
        ("velocity_valid", pa.bool_()),
        ("points", pa.list_(pa.float32())),
        ("frame_id", pa.string()),
    ]
)


class ObjectBank:
    """Objects by class. Memory-mapped; pickles as its path.

    Attributes:
        names: Class of each label.
        columns: Of the objects' points: 6, or 10 with radars.
        boxes: float32 [M, 9], each in the ego frame of the key frame it comes from.
        labels: int64 [M].
        velocity_valid: bool [M].
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path), "r")).read_all().combine_chunks()
            head = json.loads((table.schema.metadata or {})[b"bank"])
        except (OSError, KeyError, ValueError, pa.ArrowInvalid) as error:
            raise UserError(path, f"is not a readable object bank ({error})", "delete it, it is built again") from error
        if head.get("version") != BANK_VERSION:
            raise UserError(path, f"object bank version {head.get('version')!r}", "delete it, it is built again")
        self.names: tuple[str, ...] = tuple(head["names"])
        self.key: str = head["key"]
        self.columns: int = head.get("columns", len(POINT_COLUMNS))  # banks of lidar points do not say
        self.boxes = np.asarray(table["box"].combine_chunks().flatten(), np.float32).reshape(-1, 9)
        self.labels = table["label"].to_numpy().astype(np.int64)
        self.velocity_valid = np.asarray(table["velocity_valid"].to_numpy(), np.bool_)
        points = table["points"].combine_chunks()
        self._values = np.asarray(points.values, np.float32)
        self._offsets = np.asarray(points.offsets, np.int64)
        self._rows_of = [np.flatnonzero(self.labels == k) for k in range(len(self.names))]

    def __reduce__(self) -> tuple[type[ObjectBank], tuple[Path]]:
        return ObjectBank, (self.path,)

    def __len__(self) -> int:
        return len(self.labels)

    def rows_of(self, name: str) -> npt.NDArray[np.int64]:
        """Rows of the objects of a class.

        Raises:
            UserError: A class that the bank does not know.
        """
        if name not in self.names:
            raise UserError("augment.paste.fill_up_to", f"there is no class {name!r}", f"use one of {self.names}")
        return self._rows_of[self.names.index(name)]

    def points(self, row: int) -> npt.NDArray[np.float32]:
        """float32 [P, C] of one object, C as its samples had: x y z in its box's frame (origin at the centre, x along
        the length), a radar's velocity along the box's axes."""
        return self._values[self._offsets[row] : self._offsets[row + 1]].reshape(-1, self.columns)

    @staticmethod
    def build(
        samples: Iterable[FrameSample],
        path: Path,
        names: tuple[str, ...],
        *,
        min_points: int,
        max_per_class: int,
        key: str = "",
    ) -> ObjectBank:
        """Collect objects from recorded samples and write them atomically.

        Args:
            samples: Frames without augmentation.
            path: File to write.
            names: Class of each label.
            min_points: Objects with fewer points are left out.
            max_per_class: Objects kept of each class.
            key: Whatever identifies the input; stored, so that a bank of other logs is noticed.
        """
        kept: list[list[tuple[int, int, dict[str, object]]]] = [[] for _ in names]
        counter, columns = 0, len(POINT_COLUMNS)
        for sample in samples:
            columns = sample.points.shape[1]
            if not len(sample.boxes):
                continue
            owner, counts = points_in_boxes(sample.points, sample.boxes)
            for row in np.flatnonzero(counts >= min_points):
                heap = kept[sample.labels[row]]
                rank = -_rank(sample.frame_id, int(row))  # the heap's root is the largest hash kept
                if len(heap) >= max_per_class and rank <= heap[0][0]:
                    continue
                counter += 1  # two equal hashes never compare the dictionaries
                item = (rank, counter, _object(sample, int(row), owner))
                (heapq.heappushpop if len(heap) >= max_per_class else heapq.heappush)(heap, item)
        rows = [item for heap in kept for _, _, item in sorted(heap, key=lambda entry: -entry[0])]
        more = {"columns": columns} if columns != len(POINT_COLUMNS) else {}
        head = json.dumps({"version": BANK_VERSION, "names": names, "key": key, **more}).encode()
        _write(path, pa.Table.from_pylist(rows, schema=_SCHEMA.with_metadata({b"bank": head})))
        return ObjectBank(path)


def _rank(frame_id: str, row: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{frame_id}#{row}".encode()).digest()[:8], "big")


def _object(sample: FrameSample, row: int, owner: np.ndarray) -> dict[str, object]:
    box = sample.boxes[row]
    points = sample.points[owner == row].copy()
    offset = points[:, :3].astype(np.float64) - box[:3]
    cos, sin = np.cos(float(box[6])), np.sin(float(box[6]))
    points[:, 0] = cos * offset[:, 0] + sin * offset[:, 1]
    points[:, 1] = cos * offset[:, 1] - sin * offset[:, 0]
    points[:, 2] = offset[:, 2]
    if points.shape[1] > VELOCITY.start:
        points[:, VELOCITY] = points[:, VELOCITY] @ np.array([[cos, -sin], [sin, cos]])
    return {
        "label": int(sample.labels[row]),
        "box": box,
        "velocity_valid": bool(sample.velocity_valid[row]),
        "points": points.reshape(-1),
        "frame_id": sample.frame_id,
    }


def _write(path: Path, table: pa.Table) -> None:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with open(partial, "wb") as file:
            with pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise UserError(path, what, "free some space and run again") from error
    finally:
        partial.unlink(missing_ok=True)
