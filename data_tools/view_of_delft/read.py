"""Readers of what View-of-Delft has beyond KITTI: radar scans, pose lines, the annotation JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.kitti.read import read_bytes, read_text
from drive.errors import UserError

RADAR_COLUMNS = ("x", "y", "z", "rcs", "v_r", "v_r_compensated", "time")
_COPY = "copy the file from the data set again"


def read_radar(path: Path) -> np.ndarray:
    """Radar points float32 [P, 7], RADAR_COLUMNS, the radar's own frame. A scan without points is an empty file."""
    data = read_bytes(path, "radar scan")
    if len(data) % 28:
        raise UserError(path, f"radar scan of {len(data)} bytes is truncated (28 bytes a point)", _COPY)
    points = np.frombuffer(data, dtype="<f4").reshape(-1, 7)
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise UserError(f"{path}: byte {bad[0] * 28}", f"{len(bad)} points are not finite", _COPY)
    return points


def read_pose(path: Path) -> np.ndarray:
    """4x4 map from camera (line ``mapToCamera``), rigid to 1e-3."""
    for number, line in enumerate(read_text(path, "pose").splitlines(), start=1):
        if '"mapToCamera"' not in line:
            continue
        record = _parse(line, f"{path}:{number}")
        values = record.get("mapToCamera") if isinstance(record, dict) else None
        if not isinstance(values, list) or len(values) != 16 or not all(_is_number(v) for v in values):
            raise UserError(f"{path}:{number}", "mapToCamera is not 16 numbers", _COPY)
        matrix = np.array(values, dtype=np.float64).reshape(4, 4)
        turn = matrix[:3, :3]
        if not (np.isfinite(matrix).all() and np.abs(turn @ turn.T - np.eye(3)).max() < 1e-3 and matrix[3, 3] == 1.0):
            raise UserError(f"{path}:{number}", "mapToCamera is not a rigid motion", _COPY)
        return matrix
    raise UserError(path, "no line mapToCamera", _COPY)


@dataclass(frozen=True)
class Annotation:
    """One object of the annotation JSON: its id over time and what is said of it, joined by ";"."""

    track: str
    attributes: str


def read_annotations(path: Path) -> dict[tuple[float, float, float], Annotation]:
    """Annotations by (height, width, length), which no two objects of a frame share."""
    records = _parse(read_text(path, "annotations"), str(path))
    if not isinstance(records, list):
        raise UserError(path, "annotations are not a list", _COPY)
    found = {}
    for number, record in enumerate(records):
        try:
            size = record["geometry"]["size"]
            key = (float(size["height"]), float(size["width"]), float(size["length"]))
            said = {str(name): value for name, value in record["attributes"].items()}
            track = str(record["objectId"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UserError(f"{path}: record {number}", "lacks its size, attributes or objectId", _COPY) from None
        found[key] = Annotation(track, ";".join(f"{name}={value}" for name, value in sorted(said.items())))
    return found


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(place, f"not JSON ({str(error).splitlines()[0]})", _COPY) from None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
