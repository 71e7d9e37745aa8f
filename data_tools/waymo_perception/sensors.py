"""Calibrations of a Context: lidars and cameras of a log, and the tables that keep them as recorded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from data_tools.waymo_perception.checks import finite, named, pose_matrix, required
from data_tools.waymo_perception.messages import CAMERAS, LASERS, SHUTTERS
from data_tools.waymo_perception.range_image import Laser
from drive.errors import UserError
from drive.geometry.cameras import PLUMB_BOB
from drive.geometry.rigid import matrix_to_quaternion
from drive.logs.schema import MATRIX4
from drive.logs.tables import columns_table
from drive.logs.writer import LogWriter

COLUMNS = ("x", "y", "z", "intensity", "elongation")
# Waymo's camera axes (x forward, y left, z up) from the optical ones (x right, y down, z forward).
WAYMO_FROM_OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])

_LIDAR_TABLE = pa.schema(
    [
        ("sensor", pa.string()), ("extrinsic", MATRIX4), ("beam_inclinations", pa.list_(pa.float64())),
        ("beam_inclination_min", pa.float64()), ("beam_inclination_max", pa.float64()),
    ]
)  # fmt: skip
_CAMERA_TABLE = pa.schema(
    [
        ("sensor", pa.string()), ("extrinsic", MATRIX4), ("intrinsic", pa.list_(pa.float64())),
        ("width", pa.int32()), ("height", pa.int32()), ("rolling_shutter_direction", pa.string()),
    ]
)  # fmt: skip


def add_lidars(log: LogWriter, calibrations: list[dict[str, Any]], place: str) -> dict[int, Laser]:
    """Declare the lidars, in the order of their numbers, and the table lidar_calibration; {number: laser}.

    Points are given in the vehicle frame, so the log's extrinsics are the identity; the recorded ones are the
    source's.
    """
    lasers: dict[int, Laser] = {}
    rows = []
    for calibration in _sorted(calibrations, LASERS, "laser", place):
        number = calibration["name"]
        name = f"LIDAR_{LASERS[number]}"
        matrix = pose_matrix(calibration.get("extrinsic"), f"the extrinsic of {name}", place)
        beams = finite(calibration["beam_inclinations"], f"beam_inclinations of {name}", place)
        low, high = (calibration.get(f"beam_inclination_{end}") for end in ("min", "max"))
        if not len(beams) and (low is None or high is None):
            raise UserError(place, f"{name} has neither beam inclinations nor their bounds", "copy the file again")
        finite([low or 0.0, high or 0.0], f"the inclination bounds of {name}", place)
        lasers[number] = Laser(name, matrix, beams, float(low or 0.0), float(high or 0.0))
        log.add_sensor(
            name, "lidar", matrix[:3, 3], matrix_to_quaternion(matrix[:3, :3]), columns=COLUMNS, intensity_max=np.inf,
            ego_from_sensor=np.eye(4),
        )  # fmt: skip
        rows.append((name, matrix.reshape(16), beams, low, high))
    log.add_table("lidar_calibration", columns_table(_LIDAR_TABLE, _columns(rows, _LIDAR_TABLE)))
    return lasers


def add_cameras(log: LogWriter, calibrations: list[dict[str, Any]], place: str) -> dict[int, tuple[str, int, int]]:
    """Declare the cameras and the table camera_calibration; {number: (name, width, height)}."""
    cameras: dict[int, tuple[str, int, int]] = {}
    rows = []
    for calibration in _sorted(calibrations, CAMERAS, "camera", place):
        number = calibration["name"]
        name = f"CAM_{CAMERAS[number]}"
        matrix = pose_matrix(calibration.get("extrinsic"), f"the extrinsic of {name}", place)
        intrinsic = finite(calibration["intrinsic"], f"the intrinsic of {name}", place)
        if len(intrinsic) != 9:
            raise UserError(place, f"{name} has {len(intrinsic)} intrinsic numbers, not 9", "copy the file again")
        width, height = (required(calibration, side, name, place) for side in ("width", "height"))
        if not (0 < width < 1 << 16 and 0 < height < 1 << 16):
            raise UserError(place, f"{name} has {width} x {height} pixels", "copy the file again")
        fu, fv, cu, cv = intrinsic[:4]
        log.add_sensor(
            name, "camera", matrix[:3, 3], matrix_to_quaternion(matrix[:3, :3]), width=width, height=height,
            intrinsics=np.array([[fu, 0.0, cu], [0.0, fv, cv], [0.0, 0.0, 1.0]]),
            distortion=(PLUMB_BOB, intrinsic[4:].tolist()), ego_from_sensor=matrix @ WAYMO_FROM_OPTICAL,
        )  # fmt: skip
        cameras[number] = (name, width, height)
        shutter = named(SHUTTERS, calibration.get("rolling_shutter_direction", 0), f"shutter of {name}", place)
        rows.append((name, matrix.reshape(16), intrinsic, width, height, shutter))
    log.add_table("camera_calibration", columns_table(_CAMERA_TABLE, _columns(rows, _CAMERA_TABLE)))
    return cameras


def _sorted(calibrations: list[dict[str, Any]], names: dict[int, str], what: str, place: str) -> list[dict[str, Any]]:
    for calibration in calibrations:
        named(names, calibration.get("name", 0), what, place)
    numbers = [calibration["name"] for calibration in calibrations]
    if len(set(numbers)) != len(numbers):
        raise UserError(place, f"a {what} is calibrated twice ({sorted(numbers)})", "copy the file again")
    return sorted(calibrations, key=lambda calibration: int(calibration["name"]))


def _columns(rows: list[Any], schema: pa.Schema) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in schema]
