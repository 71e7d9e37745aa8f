"""Readers of Argoverse 2 files: feather tables, map JSON. Bad input ends in a ``UserError``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather

from drive.errors import UserError
from drive.geometry.rigid import from_translation_rotation, interpolate_poses

ROTATION = ("qw", "qx", "qy", "qz")
TRANSLATION = ("tx_m", "ty_m", "tz_m")
SIZE = ("length_m", "width_m", "height_m")
_AGAIN = "copy the file from the data set again"


def read_feather(path: Path, columns: tuple[str, ...]) -> pa.Table:
    """A feather table that must hold ``columns``."""
    if not path.is_file():
        raise UserError(path, "the file is missing", _AGAIN)
    try:
        table = pyarrow.feather.read_table(path, memory_map=False)
        # Lengths, offsets and text too: what is wrong there would be read from beyond a buffer's end.
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(path, f"not a readable feather file ({str(error).splitlines()[0]})", _AGAIN) from None
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise UserError(path, f"columns {', '.join(missing)} are missing", _AGAIN)
    return table


def finite_columns(table: pa.Table, names: tuple[str, ...], path: Path) -> np.ndarray:
    """Columns as float64 [N, C]; a null or non-finite number is a ``UserError`` with its row (from 0)."""
    values = np.empty((table.num_rows, len(names)))
    for i, name in enumerate(names):
        kind = table[name].type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            raise UserError(path, f"column {name} is {kind}, not a number", _AGAIN)
        column = table[name]
        # With nulls: they become NaN here, so that one check finds both. Without: numpy converts faster.
        values[:, i] = (column.cast(pa.float64()) if column.null_count else column).to_numpy()
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise UserError(f"{path}: row {row}", f"{names[column]} is not a finite number", "mend or remove the row")
    return values


def int64_column(table: pa.Table, name: str, path: Path) -> np.ndarray:
    """An integer column [N] without nulls."""
    column = table[name]
    if column.null_count or not pa.types.is_integer(column.type):
        raise UserError(path, f"column {name} is {column.type} with {column.null_count} nulls, not int64", _AGAIN)
    return column.to_numpy().astype(np.int64)


def read_sweep(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Points float32 [P, 4] (x y z intensity, ego frame) and the exact integer columns laser_number, offset_ns [P]."""
    table = read_feather(path, ("x", "y", "z", "intensity", "laser_number", "offset_ns"))
    # float16 and uint8 pass through float64 to float32 without a change.
    points = finite_columns(table, ("x", "y", "z", "intensity"), path).astype(np.float32)
    extra = {"laser_number": np.uint8, "offset_ns": np.int32}
    return points, {name: int64_column(table, name, path).astype(kind) for name, kind in extra.items()}


@dataclass(frozen=True)
class Poses:
    """city_SE3_egovehicle: stamps int64 [T] increasing, translations [T, 3], quaternions [T, 4] (w x y z)."""

    stamps_ns: np.ndarray
    translations: np.ndarray
    quaternions: np.ndarray
    path: Path

    def at(self, stamp_ns: int, what: str) -> tuple[np.ndarray, np.ndarray, bool]:
        """Pose at a stamp: translation, quaternion and whether it is recorded (else interpolated)."""
        row = int(np.searchsorted(self.stamps_ns, stamp_ns))
        if row < len(self.stamps_ns) and self.stamps_ns[row] == stamp_ns:
            return self.translations[row], self.quaternions[row], True
        if row in (0, len(self.stamps_ns)):
            first, last = self.stamps_ns[[0, -1]]
            raise UserError(
                self.path, f"no pose for {what} {stamp_ns} (poses last from {first} to {last})",
                "copy the pose file again, or remove that file from the log",
            )  # fmt: skip
        translation, quaternion = interpolate_poses(
            self.stamps_ns, np.array([stamp_ns], dtype=np.int64), self.translations, self.quaternions
        )
        return translation[0], quaternion[0], False

    def matrices(self, stamps_ns: np.ndarray, what: str) -> np.ndarray:
        """city_from_ego [Q, 4, 4] at stamps [Q]."""
        poses = [self.at(int(stamp), what)[:2] for stamp in stamps_ns]
        if not poses:
            return np.zeros((0, 4, 4))
        return from_translation_rotation(np.array([p[0] for p in poses]), np.array([p[1] for p in poses]))


def read_poses(path: Path) -> Poses:
    """Poses of a log."""
    table = read_feather(path, ("timestamp_ns", *ROTATION, *TRANSLATION))
    stamps = int64_column(table, "timestamp_ns", path)
    if not len(stamps):
        raise UserError(path, "holds no pose", _AGAIN)
    back = np.flatnonzero(np.diff(stamps) <= 0)
    if len(back):
        raise UserError(f"{path}: row {back[0] + 1}", "timestamps do not increase", _AGAIN)
    return Poses(stamps, finite_columns(table, TRANSLATION, path), read_quaternions(table, path), path)


def read_quaternions(table: pa.Table, path: Path) -> np.ndarray:
    """Columns qw qx qy qz as float64 [N, 4]; a norm that is not 1 within 1e-3 is a ``UserError``."""
    quaternions = finite_columns(table, ROTATION, path)
    bad = np.flatnonzero(np.abs(np.linalg.norm(quaternions, axis=1) - 1) > 1e-3)
    if len(bad):
        raise UserError(f"{path}: row {bad[0]}", "quaternion has not length 1", _AGAIN)
    return quaternions


@dataclass(frozen=True)
class Annotations:
    """Label rows in file order. Boxes in the ego frame of their stamp; ``num_points`` None where not recorded."""

    stamps_ns: np.ndarray
    track: list[str]
    category: list[str]
    size: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    num_points: np.ndarray | None

    @property
    def num_boxes(self) -> int:
        """Rows in the file."""
        return len(self.stamps_ns)


def read_annotations(path: Path) -> Annotations:
    """The label table of a log."""
    table = read_feather(path, ("timestamp_ns", "track_uuid", "category", *SIZE, *ROTATION, *TRANSLATION))
    size = finite_columns(table, SIZE, path)
    bad = np.flatnonzero((size <= 0).any(axis=1))
    if len(bad):
        raise UserError(f"{path}: row {bad[0]}", "box has a side that is not positive", "mend or remove the row")
    counted = "num_interior_pts" in table.column_names
    return Annotations(
        int64_column(table, "timestamp_ns", path),
        _strings(table, "track_uuid", path), _strings(table, "category", path),
        size, read_quaternions(table, path), finite_columns(table, TRANSLATION, path),
        int64_column(table, "num_interior_pts", path) if counted else None,
    )  # fmt: skip


def _strings(table: pa.Table, name: str, path: Path) -> list[str]:
    if table[name].null_count:
        raise UserError(path, f"column {name} holds nulls", _AGAIN)
    return table[name].to_pylist()


def read_map(path: Path) -> dict[str, Any]:
    """The vector map of a log, as its JSON says."""
    try:
        data = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}", f"broken JSON ({error.msg})", _AGAIN) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(path, f"map cannot be read ({error})", _AGAIN) from None
    if not isinstance(data, dict) or "lane_segments" not in data:
        raise UserError(path, "no lane_segments in the map", _AGAIN)
    return data
