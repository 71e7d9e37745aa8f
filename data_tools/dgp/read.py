"""Readers of DGP scenes: scene, calibration, ontology, annotations, point clouds."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from drive.errors import UserError
from drive.geometry.rigid import from_translation_rotation

_MEND = "copy the file from the data set again"
_MAX_POINTS_BYTES = 1 << 30
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)  # later times are ten times too large
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object."""
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", _MEND) from None
    except (ValueError, RecursionError) as error:
        raise UserError(path, f"not JSON ({str(error).splitlines()[0]})", _MEND) from None
    if not isinstance(value, dict):
        raise UserError(path, "is not a JSON object", _MEND)
    return value


def number(value: Any, place: str) -> float:
    """A finite number of sane size."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e12:
        return float(value)
    raise UserError(place, f"{str(value)[:40]!r} is not a number", _MEND)


def text(value: Any, place: str) -> str:
    """Text that is not empty."""
    if isinstance(value, str) and value:
        return value
    raise UserError(place, f"{str(value)[:40]!r} is not a name", _MEND)


def part(record: Any, name: str, kind: type, place: str) -> Any:
    """A member of an object, of the given JSON kind (dict or list)."""
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, kind):
        raise UserError(place, f"has no {name}", _MEND)
    return value


def read_pose(record: Any, place: str) -> tuple[np.ndarray, np.ndarray]:
    """Translation [3] and quaternion [4] (w x y z) of a pose object."""
    move, turn = part(record, "translation", dict, place), part(record, "rotation", dict, place)
    translation = np.array([number(move.get(axis), f"{place}: translation {axis}") for axis in "xyz"])
    rotation = np.array([number(turn.get(f"q{axis}"), f"{place}: rotation q{axis}") for axis in "wxyz"])
    if not 0.9 < np.linalg.norm(rotation) < 1.1:
        raise UserError(place, "the quaternion is not of length 1", _MEND)
    return translation, rotation


def read_stamp_us(record: Any, place: str) -> int:
    """Microseconds since 1970 of the member ``timestamp`` of an id."""
    value = text(part(record, "id", dict, place).get("timestamp"), f"{place}: timestamp")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise UserError(place, f"{value[:40]!r} is not a time", _MEND) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if not moment >= _EPOCH:
        raise UserError(place, f"{value[:40]!r} lies before 1970", _MEND)
    microseconds = (moment - _EPOCH) // timedelta(microseconds=1)
    return microseconds // 10 if moment > _LATEST else microseconds


@dataclass(frozen=True)
class Mount:
    """A sensor: pose in the vehicle frame; a camera's matrix [3, 3] and plumb-bob distortion (None = none)."""

    translation: np.ndarray
    rotation: np.ndarray
    intrinsics: np.ndarray
    distortion: list[float] | None

    @property
    def ego_from_sensor(self) -> np.ndarray:
        """4x4."""
        return from_translation_rotation(self.translation, self.rotation)


def read_calibration(path: Path) -> dict[str, Mount]:
    """Sensors by name."""
    record = read_json(path)
    names, poses, lenses = (part(record, name, list, str(path)) for name in ("names", "extrinsics", "intrinsics"))
    if not len(names) == len(poses) == len(lenses):
        raise UserError(path, f"{len(names)} names, {len(poses)} extrinsics, {len(lenses)} intrinsics", _MEND)
    mounts = {}
    for name, pose, lens in zip(names, poses, lenses, strict=True):
        place = f"{path}: {str(name)[:40]}"
        if not isinstance(lens, dict):
            raise UserError(place, "has no intrinsics", _MEND)
        values = {key: number(value, f"{place}: {key}") for key, value in lens.items() if not isinstance(value, list)}
        fx, fy, cx, cy, skew = (values.get(key, 0.0) for key in ("fx", "fy", "cx", "cy", "skew"))
        model = [values.get(key, 0.0) for key in ("k1", "k2", "p1", "p2", "k3")]
        other = [key for key in ("k4", "k5", "k6", "fov", "alpha", "beta", "xi") if values.get(key, 0.0) != 0.0]
        if other:
            raise UserError(place, f"a lens with {other[0]} is not a pinhole we know", "leave images out")
        mounts[text(name, place)] = Mount(
            *read_pose(pose, place), np.array([[fx, skew, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]),
            model if any(model) else None,
        )  # fmt: skip
    return mounts


def read_ontology(path: Path) -> dict[int, str]:
    """Class names by id."""
    names = {}
    for item in part(read_json(path), "items", list, str(path)):
        if not isinstance(item, dict) or not isinstance(item.get("id"), int):
            raise UserError(path, "an item has no id", _MEND)
        names[item["id"]] = text(item.get("name"), f"{path}: item {item['id']}")
    return names


def read_annotations(path: Path) -> list[dict[str, Any]]:
    """The records of an annotation file."""
    records = part(read_json(path), "annotations", list, str(path))
    for i, record in enumerate(records):
        if not isinstance(record, dict) or not isinstance(record.get("box"), dict):
            raise UserError(f"{path}: annotation {i}", "has no box", _MEND)
    return records


def read_points(path: Path, columns: list[str]) -> np.ndarray:
    """Points float32 [P, C] of a compressed numpy file's array ``data``."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo("data.npy").file_size
            if size > _MAX_POINTS_BYTES:
                raise UserError(path, f"array of {size} bytes, at most {_MAX_POINTS_BYTES} are read", _MEND)
            data = archive.read("data.npy")
        stream = io.BytesIO(data)
        major, _ = np.lib.format.read_magic(stream)
        reader = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(stream)
    except (
        OSError,
        KeyError,
        ValueError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(path, f"not a readable npz point cloud ({reason})", _MEND) from None
    rest = len(data) - stream.tell()
    if fortran or dtype.kind != "f" or len(shape) != 2 or shape[1] != len(columns):
        raise UserError(path, f"array {dtype} {shape}, expected floats of the columns {columns}", _MEND)
    if shape[0] * shape[1] * dtype.itemsize != rest:
        raise UserError(path, f"array of shape {shape} in {rest} bytes", _MEND)
    with np.errstate(over="ignore", invalid="ignore"):
        points = np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape).astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise UserError(f"{path}: point {bad[0]}", f"{len(bad)} points are not finite", _MEND)
    return points
