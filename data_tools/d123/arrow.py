"""Arrow IPC files of 123D, checked as they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_tools.d123.msgpack import MsgpackError, unpack
from drive.errors import UserError
from drive.geometry.rigid import from_translation_rotation

_MEND = "convert the log with py123d again"


@dataclass(frozen=True)
class Modality:
    """One file: its key (file name without ending), metadata and table. Column names lose the key in front."""

    path: Path
    key: str
    metadata: dict[Any, Any]
    table: pa.Table

    def column(self, name: str) -> pa.ChunkedArray:
        """A column, by its name without the key."""
        full = f"{self.key}.{name}"
        if full not in self.table.column_names:
            raise UserError(self.path, f"has no column {full}", _MEND)
        return self.table[full]

    def stamps_us(self) -> np.ndarray:
        """Times int64 [T], never going back."""
        column = self.column("timestamp_us")
        if column.null_count or not pa.types.is_integer(column.type):
            raise UserError(self.path, "times are missing or not whole numbers", _MEND)
        stamps = column.to_numpy().astype(np.int64)
        if len(stamps) and (stamps.min() < 0 or stamps.max() > 1 << 53 or (np.diff(stamps) < 0).any()):
            raise UserError(self.path, "times go back or are out of range", _MEND)
        return stamps

    def vectors(self, name: str, width: int) -> tuple[np.ndarray, np.ndarray]:
        """A column of number lists as float64 [T, width] (0 where null) and which are there, bool [T]."""
        values, valid = np.zeros((self.table.num_rows, width)), np.zeros(self.table.num_rows, bool)
        for row, cell in enumerate(self.column(name).to_pylist()):
            if cell is not None:
                values[row], valid[row] = numbers(cell, width, f"{self.path}: row {row}: {name}"), True
        return values, valid


def numbers(cell: Any, width: int, place: str) -> np.ndarray:
    """``width`` finite numbers of a cell."""
    try:
        array = np.array(cell, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.shape != (width,) or not np.isfinite(array).all() or np.abs(array).max(initial=0.0) > 1e12:
        raise UserError(place, f"is not {width} finite numbers", _MEND)
    return array


def poses(values: np.ndarray, place: str) -> np.ndarray:
    """4x4 matrices [N, 4, 4] of poses [N, 7] (x y z qw qx qy qz)."""
    length = np.linalg.norm(values[:, 3:7], axis=1)
    bad = np.flatnonzero(~((length > 0.9) & (length < 1.1)))
    if len(bad):
        raise UserError(place, f"pose {bad[0]}: the quaternion is not of length 1", _MEND)
    return from_translation_rotation(values[:, :3], values[:, 3:7])


def pose_of(metadata: dict[Any, Any], name: str, place: str) -> np.ndarray:
    """4x4 matrix of a pose in a file's metadata."""
    return np.asarray(poses(numbers(metadata.get(name), 7, f"{place}: {name}")[None], f"{place}: {name}")[0])


def read_modality(path: Path) -> Modality:
    """A file, mapped into memory and validated in full (offsets, lengths, text)."""
    table = read_table(path)
    metadata = (table.schema.metadata or {}).get(b"metadata")
    try:
        said = unpack(metadata) if metadata is not None else {}
    except MsgpackError as error:
        raise UserError(path, f"metadata is damaged ({error})", _MEND) from None
    if not isinstance(said, dict):
        raise UserError(path, "metadata is not a map", _MEND)
    return Modality(path, path.stem, said, table)


def read_table(path: Path) -> pa.Table:
    """An Arrow IPC file."""
    try:
        with pa.memory_map(str(path), "r") as source:
            table = pa.ipc.open_file(source).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(path, f"not a readable Arrow file ({str(error).splitlines()[0]})", _MEND) from None
    return table


def read_cloud(data: bytes, place: str) -> dict[str, np.ndarray] | None:
    """Columns of a point cloud in an Arrow IPC stream; None for another codec (LAZ, Draco)."""
    if not data.startswith(b"\xff\xff\xff\xff"):
        return None
    try:
        with pa.ipc.open_stream(pa.BufferReader(data)) as stream:
            batch = stream.read_next_batch()
        batch.validate(full=True)
        columns = {name: batch.column(i).to_numpy(zero_copy_only=False) for i, name in enumerate(batch.schema.names)}
    except (pa.ArrowException, OSError, StopIteration, UnicodeDecodeError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(place, f"point cloud is damaged ({text})", _MEND) from None
    if not {"x", "y", "z"} <= set(columns) or any(v.dtype.kind not in "iuf" for v in columns.values()):
        raise UserError(place, "point cloud has no x, y, z or a column that is no number", _MEND)
    return columns
