"""What the logs of KITTI-shaped data sets (object, tracking, View-of-Delft) share: sensors, label columns, matrices."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from data_tools.kitti.frames import velodyne_from_camera
from data_tools.kitti.read import LABEL_NUMBERS, Labels
from drive.errors import UserError
from drive.geometry.rigid import matrix_to_quaternion
from drive.logs.writer import LogWriter

LIDAR = "velodyne"
ORIGIN, NO_TURN = (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0)  # the pose of a log whose poses nobody knows


def add_lidar(log: LogWriter, intensity_max: float) -> None:
    """Declare the scanner, whose frame is the ego frame."""
    columns = ("x", "y", "z", "intensity")
    log.add_sensor(LIDAR, "lidar", ORIGIN, NO_TURN, columns=columns, intensity_max=intensity_max)


def add_camera(
    log: LogWriter, camera: str, calibration: dict[str, np.ndarray], projection: str, size: tuple[int, int], place: str
) -> None:
    """Declare a camera of ``size`` (width, height) that projects as the matrix ``projection`` (P2 ...) does.

    Args:
        place: the calibration file, for the message where it lacks the matrix.
    """
    if projection not in calibration:
        raise UserError(place, f"no {projection} for {camera}", "take the data set's own calib file")
    ego_from_camera = velodyne_from_camera(calibration, projection)
    log.add_sensor(
        camera, "camera", ego_from_camera[:3, 3], matrix_to_quaternion(ego_from_camera[:3, :3]),
        intrinsics=calibration[projection][:, :3], width=size[0], height=size[1], ego_from_sensor=ego_from_camera,
    )  # fmt: skip


def label_columns(labels: Labels) -> dict[str, np.ndarray]:
    """The 14 numbers of each line as they are, and the line's number in the file."""
    columns: dict[str, np.ndarray] = {
        name: np.ascontiguousarray(labels.numbers[:, i]) for i, name in enumerate(LABEL_NUMBERS)
    }
    columns["label_line"] = np.array(labels.lines, dtype=np.int32)
    return columns


def dont_care_table(labels: Labels, frames: np.ndarray) -> pa.Table:
    """Table ``dont_care``: image regions that hold unlabelled objects; ``frames`` [N] = frame of each line."""
    return pa.table({"frame": np.asarray(frames, np.int32)} | label_columns(labels))


def calibration_table(calibration: dict[str, np.ndarray]) -> pa.Table:
    """The matrices as recorded: name, rows, columns, row-major float64 values."""
    return pa.table(
        {
            "name": pa.array(list(calibration)),
            "rows": pa.array([m.shape[0] for m in calibration.values()], pa.int32()),
            "columns": pa.array([m.shape[1] for m in calibration.values()], pa.int32()),
            "values": pa.array([m.ravel().tolist() for m in calibration.values()], pa.list_(pa.float64())),
        }
    )


def matrices_of_table(table: pa.Table) -> dict[str, np.ndarray]:
    """Inverse of :func:`calibration_table`."""
    return {row["name"]: np.array(row["values"]).reshape(row["rows"], row["columns"]) for row in table.to_pylist()}
