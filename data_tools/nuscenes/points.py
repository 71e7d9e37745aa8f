"""The two point file formats of nuScenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from drive.errors import UserError

LIDAR_COLUMNS = ("x", "y", "z", "intensity", "ring")
_AGAIN = "the file was cut or damaged: get it again"
_TYPES = {"F": "f", "I": "i", "U": "u"}


def read_file(path: Path) -> bytes:
    """A whole file; UserError where it is missing."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(path, "the file is missing", "get it, or leave it out by --sensors or --key-frames-only") from (
            error
        )


def read_lidar(path: Path) -> np.ndarray:
    """Points float32 [P, 5] (x right, y forward, z up, metres; intensity 0..255; ring) of a ``.pcd.bin`` file."""
    data = read_file(path)
    if len(data) % 20:
        raise UserError(path, f"{len(data)} bytes are not whole points of 5 float32", _AGAIN)
    points = np.frombuffer(data, "<f4").reshape(-1, 5)
    ring = points[:, 4]
    with np.errstate(invalid="ignore"):  # signalling NaN
        odd = ring != np.trunc(ring)  # NaN as well
    if odd.any():
        row = int(np.flatnonzero(odd)[0])
        raise UserError(path, f"point {row} has ring {ring[row]:g}, not a whole number (other columns?)", _AGAIN)
    return points


def read_radar(path: Path) -> np.ndarray:
    """Structured array [P] of a binary ``.pcd`` file, one field a column with the header's own types."""
    data = read_file(path)
    header: dict[str, list[str]] = {}
    offset = 0
    while "DATA" not in header:
        end = data.find(b"\n", offset)
        if end < 0 or len(header) > 32:
            raise UserError(path, "the header of the point cloud does not end", _AGAIN)
        words = data[offset:end].decode("ascii", "replace").split()
        offset = end + 1
        if words and not words[0].startswith("#"):
            header[words[0]] = words[1:]
    try:
        if header["DATA"] != ["binary"]:
            raise UserError(path, f"DATA {' '.join(header['DATA'])} is not supported", "convert it to DATA binary")
        if set(header.get("COUNT", ["1"])) != {"1"}:
            raise UserError(path, "a field has several values", "only COUNT 1 is known")
        names, kinds, sizes = header["FIELDS"], header["TYPE"], header["SIZE"]
        dtype = np.dtype([(n, f"<{_TYPES[k]}{s}") for n, k, s in zip(names, kinds, sizes, strict=True)])
        count = int(header["WIDTH"][0]) * int(header["HEIGHT"][0])
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise UserError(path, f"unusable header ({type(error).__name__}: {error})", _AGAIN) from error
    body = data[offset:]
    if len(body) < count * dtype.itemsize:
        whole = len(body) // dtype.itemsize
        raise UserError(path, f"the header promises {count} points, the file holds {whole}", _AGAIN)
    if dtype.names is None or dtype.names[:3] != ("x", "y", "z") or any(dtype[n] != "<f4" for n in "xyz"):
        raise UserError(path, "the first fields are not x y z as float32", "only radar files of nuScenes are known")
    return np.frombuffer(body, dtype, count)


def split_radar(cloud: np.ndarray) -> tuple[tuple[str, ...], np.ndarray, dict[str, np.ndarray]]:
    """(float32 columns' names, their values [P, C], the other columns {name: [P]} in their own types)."""
    names = cloud.dtype.names or ()
    floats = tuple(n for n in names if cloud.dtype[n] == np.float32)
    points = np.stack([cloud[n] for n in floats], axis=1) if floats else np.zeros((len(cloud), 0), np.float32)
    return floats, points, {n: np.ascontiguousarray(cloud[n]) for n in names if n not in floats}
