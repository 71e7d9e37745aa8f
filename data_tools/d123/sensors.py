"""Cameras and lidars of a 123D log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_tools.d123.arrow import Modality, numbers, pose_of, poses, read_cloud
from data_tools.nuplan.sensors import sensor_file
from drive.errors import UserError
from drive.geometry.cameras import PLUMB_BOB
from drive.geometry.rigid import from_translation_rotation, invert, matrix_to_quaternion, transform_points
from drive.logs.schema import NAME_PATTERN
from drive.logs.writer import LogWriter

_MEND = "convert the log with py123d again"
PosesAt = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class References:
    """What a log names but does not hold, or what we do not read: rows of the table ``d123_references``."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, int | None, int | None, str]] = []

    def add(self, modality: str, row: int | None, stamp_us: int | None, path: str) -> None:
        """A row of a modality, or (row None) a whole modality."""
        self._rows.append((modality, row, None if stamp_us is None else stamp_us * 1000, path))

    def table(self) -> pa.Table:
        """modality, file_row, time_ns, path as the log gives it."""
        return pa.table(
            {
                "modality": pa.array([row[0] for row in self._rows], pa.string()),
                "file_row": pa.array([row[1] for row in self._rows], pa.int64()),
                "time_ns": pa.array([row[2] for row in self._rows], pa.int64()),
                "path": pa.array([row[3] or None for row in self._rows], pa.string()),
            }
        )


def _name(modality: Modality, field: str) -> str:
    """The sensor's own name where it can be a file's, else the key's."""
    own = modality.metadata.get(field)
    if isinstance(own, str) and NAME_PATTERN.fullmatch(own):
        return own
    return modality.key.replace(".", "_")


def add_camera(
    log: LogWriter, modality: Modality, poses_at: PosesAt, references: References, root: Path | None = None
) -> tuple[str, dict[int, int]]:
    """Declare a pinhole camera and add its images; returns its name and {row of the file: payload row}.

    Args:
        root: the folder that images stored by path lie in; None = such images are listed in `references`.
    """
    place, said = str(modality.path), modality.metadata
    name = _name(modality, "camera_name")
    if said.get("camera_model") != "pinhole":
        references.add(modality.key, None, None, "")
        return name, {}
    width, height = said.get("width"), said.get("height")
    if not (isinstance(width, int) and isinstance(height, int) and 0 < width < 100_000 and 0 < height < 100_000):
        raise UserError(place, f"size {width} x {height} is no image's", _MEND)
    intrinsics = None
    if said.get("intrinsics") is not None:
        fx, fy, cx, cy, skew = numbers(said["intrinsics"], 5, f"{place}: intrinsics")
        intrinsics = np.array([[fx, skew, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    lens = None
    if said.get("distortion") is not None and not said.get("is_undistorted"):
        lens = (PLUMB_BOB, numbers(said["distortion"], 5, f"{place}: distortion").tolist())
    ego_from_camera = pose_of(said, "camera_to_imu_se3", place)
    log.add_sensor(
        name, "camera", ego_from_camera[:3, 3], matrix_to_quaternion(ego_from_camera[:3, :3]), intrinsics=intrinsics,
        distortion=lens, width=width, height=height,
    )  # fmt: skip
    stamps = modality.stamps_us()
    values, known = modality.vectors("camera_to_global_se3", 7)
    translations, quaternions = poses_at(stamps)
    if known.any():
        matrices = poses(values[known], place) @ invert(ego_from_camera)
        translations[known], quaternions[known] = matrices[:, :3, 3], matrix_to_quaternion(matrices[:, :3, :3])
    rows: dict[int, int] = {}
    for row, cell in enumerate(modality.column("data")):
        data = cell.as_py()
        source, file = f"{modality.key}:{row}", None
        if isinstance(data, str) and root is not None:
            source, file = data, sensor_file(root, data, f"{place}: row {row}")
            data = file.read_bytes() if file.is_file() else data
        if not isinstance(data, bytes):
            if data is not None:
                references.add(modality.key, row, int(stamps[row]), str(data))
            continue
        if not data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
            raise UserError(file or f"{place}: row {row}", "is neither a JPEG nor a PNG image", _MEND)
        rows[row] = log.add_image(
            name, int(stamps[row]) * 1000, data, width, height, translations[row], quaternions[row],
            is_key_frame=True, source_timestamp=int(stamps[row]), source_name=source, file=file,
        )  # fmt: skip
    return name, rows


def add_lidar(
    log: LogWriter, modality: Modality, poses_at: PosesAt, references: References
) -> tuple[str, dict[int, int]]:
    """Declare a lidar (or the merged cloud of several) and add its clouds; returns as :func:`add_camera`."""
    place = str(modality.path)
    name = _name(modality, "lidar_name")
    merged = "lidar_name" not in modality.metadata
    ego_from_lidar = np.eye(4) if merged else pose_of(modality.metadata, "lidar_to_imu_se3", place)
    stamps = modality.stamps_us()
    translations, quaternions = poses_at(stamps)
    rows: dict[int, int] = {}
    layout: dict[str, Any] = {}
    for row, cell in enumerate(modality.column("data")):
        data = cell.as_py()
        cloud = read_cloud(data, f"{place}: row {row}") if isinstance(data, bytes) else None
        if cloud is None:
            if data is not None:
                references.add(modality.key, row, int(stamps[row]), data if isinstance(data, str) else "")
            continue
        columns = ("x", "y", "z", *(("intensity",) if "intensity" in cloud else ()))
        xyz = np.stack([cloud[c] for c in ("x", "y", "z")], axis=1).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            points = np.empty((len(xyz), len(columns)), np.float32)
            points[:, :3] = transform_points(invert(ego_from_lidar), xyz)
            if "intensity" in cloud:
                points[:, 3] = cloud["intensity"]
        if not np.isfinite(points).all():
            raise UserError(f"{place}: row {row}", "points are not finite", _MEND)
        extra = {("ring" if c == "channel" else c): v for c, v in cloud.items() if c not in columns}
        found = {"columns": columns, "extra": {c: v.dtype for c, v in extra.items()}}
        if not layout:
            layout = found
            _declare_lidar(log, name, ego_from_lidar, columns)
        elif found != layout:
            raise UserError(f"{place}: row {row}", "has other columns than the rows before", _MEND)
        rows[row] = log.add_sweep(
            name, int(stamps[row]) * 1000, points, translations[row], quaternions[row], extra=extra,
            is_key_frame=True, source_timestamp=int(stamps[row]), source_name=f"{modality.key}:{row}",
        )  # fmt: skip
    return name, rows


def _declare_lidar(log: LogWriter, name: str, ego_from_lidar: np.ndarray, columns: tuple[str, ...]) -> None:
    rotation = matrix_to_quaternion(ego_from_lidar[:3, :3])
    # The pose is given as a quaternion: the same matrix comes out of it, so that both ways agree to the last digit.
    pose = from_translation_rotation(ego_from_lidar[:3, 3], rotation)
    log.add_sensor(
        name, "lidar", ego_from_lidar[:3, 3], rotation, columns=columns,
        intensity_max=255.0 if "intensity" in columns else None, ego_from_sensor=pose,
    )  # fmt: skip
