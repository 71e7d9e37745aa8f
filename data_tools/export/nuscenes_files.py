"""Payload of a log as nuScenes' files: lidar ``.pcd.bin``, radar ``.pcd``, images as they are, labels of points."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.town.radar import RECORD, to_pcd
from drive.errors import UserError
from drive.logs.records import Sensor, Sweep
from drive.logs.tables import disk_full

_RINGS = ("ring", "laser_number")
_INTENSITIES = ("intensity", "reflectance")


def write_file(root: Path, name: str, data: bytes) -> None:
    """``root/name`` at once (temporary file, rename); UserError for a full disk."""
    path = root / name
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        os.replace(partial, path)
    except OSError as error:
        mend = "give a folder that you may write to"
        raise disk_full(path, error) or UserError(path, f"cannot write ({error.strerror})", mend) from error
    finally:
        partial.unlink(missing_ok=True)


def lidar_bytes(sensor: Sensor, sweep: Sweep) -> bytes:
    """float32 [P, 5] x y z intensity (0..255) ring; a column that the sensor lacks is 0."""
    if sweep.columns == ("x", "y", "z", "intensity", "ring"):
        return np.ascontiguousarray(sweep.points, "<f4").tobytes()
    points = np.zeros((len(sweep.points), 5), "<f4")
    points[:, :3] = sweep.points[:, :3]
    for name in _INTENSITIES:
        if name in sweep.columns:
            points[:, 3] = sensor.intensity_to(255.0, sweep.points[:, sweep.columns.index(name)])
            break
    for name in _RINGS:
        if name in sweep.columns:
            points[:, 4] = sweep.points[:, sweep.columns.index(name)]
        elif name in sweep.extra:
            points[:, 4] = sweep.extra[name]
    return points.tobytes()


def radar_bytes(sweep: Sweep) -> bytes:
    """Binary ``.pcd`` with nuScenes' 18 fields; a field that the sensor lacks is 0, but every point passes as valid."""
    names = RECORD.names or ()
    cloud = np.zeros(len(sweep.points), RECORD)
    cloud["ambig_state"] = 3
    for name in names:
        if name in sweep.columns:
            cloud[name] = sweep.points[:, sweep.columns.index(name)]
        elif name in sweep.extra:
            cloud[name] = sweep.extra[name]
    return to_pcd(cloud)


def label_files(row: dict[str, Any], version: str, token: str) -> dict[str, tuple[str, np.ndarray]]:
    """{table: (file name, labels)} of one row of table point_labels."""
    found = {}
    semantic, panoptic = row["semantic"], row.get("panoptic")
    if semantic is not None and (panoptic is None or row.get("lidarseg_token") is not None):
        labels = np.asarray(semantic, np.uint16)
        if labels.max(initial=0) > 255:
            raise UserError(f"sweep {token}", f"has class {labels.max()}", "lidarseg has one byte a point")
        found["lidarseg"] = f"lidarseg/{version}/{token}_lidarseg.bin", labels.astype(np.uint8)
    if panoptic is not None:
        found["panoptic"] = f"panoptic/{version}/{token}_panoptic.npz", np.asarray(panoptic, np.uint16)
    return found
