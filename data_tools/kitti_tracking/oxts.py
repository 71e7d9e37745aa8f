"""KITTI's GPS and inertial lines (oxts) as poses. Rules: the raw-data development kit's ``convertOxtsToPose``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from data_tools.kitti.read import parse_numbers, read_text
from drive.errors import UserError

OXTS_COLUMNS = (
    "lat", "lon", "alt", "roll", "pitch", "yaw", "vn", "ve", "vf", "vl", "vu", "ax", "ay", "az", "af", "al", "au",
    "wx", "wy", "wz", "wf", "wl", "wu", "pos_accuracy", "vel_accuracy", "navstat", "numsats", "posmode", "velmode",
    "orimode",
)  # fmt: skip
EARTH_RADIUS_M = 6_378_137.0


def read_oxts(path: Path) -> np.ndarray:
    """Lines of a sequence as float64 [T, 30], columns OXTS_COLUMNS (degrees, metres, radians, m/s, m/s2, rad/s)."""
    lines = read_text(path, "oxts file").splitlines()
    rows = [parse_numbers(f"{path}:{i}", "oxts", line.split(), 30) for i, line in enumerate(lines, start=1) if line]
    values = np.array(rows, dtype=np.float64).reshape(-1, 30)
    bad = np.flatnonzero((np.abs(values[:, 0]) > 85.0) | (np.abs(values[:, 1]) > 180.0))
    if len(bad):
        raise UserError(f"{path}:{bad[0] + 1}", "latitude or longitude is out of range", "copy the file again")
    return values


def poses_of_oxts(values: np.ndarray) -> np.ndarray:
    """Poses ``global_from_imu`` [T, 4, 4] of oxts lines [T, 30].

    Global frame: x east, y north, z up, Mercator scaled to true metres at the first latitude, moved so that
    the first position is the origin. The unit's axes are forward, left, up; R = Rz(yaw) Ry(pitch) Rx(roll).
    """
    poses = np.tile(np.eye(4), (len(values), 1, 1))
    if not len(values):
        return poses
    latitude, longitude = np.deg2rad(values[:, 0]), np.deg2rad(values[:, 1])
    scale = np.cos(latitude[0]) * EARTH_RADIUS_M
    place = np.stack([scale * longitude, scale * np.log(np.tan(np.pi / 4 + latitude / 2)), values[:, 2]], axis=1)
    cos, sin = np.cos(values[:, 3:6]).T, np.sin(values[:, 3:6]).T
    zero, one = np.zeros(len(values)), np.ones(len(values))

    def stack(rows: list[list[np.ndarray]]) -> np.ndarray:
        return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)

    about_x = stack([[one, zero, zero], [zero, cos[0], -sin[0]], [zero, sin[0], cos[0]]])
    about_y = stack([[cos[1], zero, sin[1]], [zero, one, zero], [-sin[1], zero, cos[1]]])
    about_z = stack([[cos[2], -sin[2], zero], [sin[2], cos[2], zero], [zero, zero, one]])
    poses[:, :3, :3] = about_z @ about_y @ about_x
    poses[:, :3, 3] = place - place[0]
    return poses


def oxts_table(values: np.ndarray, timestamps_ns: np.ndarray) -> pa.Table:
    """All 30 columns as recorded, and the time of the frame."""
    columns = {name: np.ascontiguousarray(values[:, i]) for i, name in enumerate(OXTS_COLUMNS)}
    return pa.table({"timestamp_ns": np.asarray(timestamps_ns, np.int64)} | columns)


def ego_table(values: np.ndarray, timestamps_ns: np.ndarray) -> pa.Table:
    """Standard table ``ego``: forward and left velocity and acceleration, turning rate about up; no steering angle."""
    names = {"vx_mps": "vf", "vy_mps": "vl", "ax_mps2": "af", "ay_mps2": "al", "yaw_rate_rps": "wu"}
    motion = {name: np.ascontiguousarray(values[:, OXTS_COLUMNS.index(source)]) for name, source in names.items()}
    stamps = {"timestamp_ns": np.asarray(timestamps_ns, np.int64)}
    return pa.table(stamps | motion | {"steering_rad": pa.nulls(len(values), pa.float64())})
