"""The rolling shutter that a log tells of, and logs that tell of none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from camera_log import write_camera_log

from drive.geometry.rigid import from_translation_rotation, quaternion_from_yaw
from drive.logs.store import Log
from drive.samples.shutter import rolling_shutter
from drive.view.camera_points import project_to_camera


class WaymoLike(Log):
    """A log with the tables of a Waymo log."""

    tables: dict[str, pa.Table]

    def has_table(self, name: str) -> bool:
        return name in self.tables

    def table(self, name: str) -> pa.Table:
        return self.tables[name]


def waymo_like(folder: Path, direction: str = "RIGHT_TO_LEFT", **changed: object) -> WaymoLike:
    plain = Log.open(write_camera_log(folder))
    log = WaymoLike(plain.path, plain.manifest)
    row = {
        "sensor": "FRONT", "row": 0, "pose_timestamp": 100.06, "shutter": 0.002, "camera_trigger_time": 100.03,
        "camera_readout_done_time": 100.08, "velocity": [3.0, -4.0, 0.5, 0.01, 0.02, 0.3],
    }  # fmt: skip
    mounted = {"sensor": "FRONT", "rolling_shutter_direction": direction}
    log.tables = {
        "images": pa.Table.from_pylist([row | changed]), "camera_calibration": pa.Table.from_pylist([mounted])
    }  # fmt: skip
    return log


def test_times_and_motion(tmp_path: Path) -> None:
    log = waymo_like(tmp_path)
    shutter = rolling_shutter(log, "FRONT", 0)
    assert shutter is not None
    assert shutter.direction == "RIGHT_TO_LEFT"
    assert shutter.first_s == pytest.approx(0.031 - 0.06)
    assert shutter.readout_s == pytest.approx(0.048)
    assert np.allclose(shutter.rate_radps, [0.01, 0.02, 0.3])
    yaw = 0.3 + 0.5 * 0.06  # of the ego at the exposure
    turn = from_translation_rotation(np.zeros(3), quaternion_from_yaw(yaw))[:3, :3]
    assert np.allclose(turn @ shutter.velocity_mps, [3.0, -4.0, 0.5])


def test_points_are_seen_line_by_line(tmp_path: Path) -> None:
    rolling = waymo_like(tmp_path)
    place = np.array([[12.0, -7.0, 1.0]])  # near the right edge, which is read first
    moved, _ = project_to_camera(rolling, 0, "FRONT", place)
    still, _ = project_to_camera(rolling, 0, "FRONT", place, roll=False)
    assert 0.5 < np.abs(moved - still).max() < 10


@pytest.mark.parametrize(
    "log",
    [
        lambda folder: Log.open(write_camera_log(folder)),
        lambda folder: waymo_like(folder, direction="GLOBAL_SHUTTER"),
        lambda folder: waymo_like(folder, sensor="REAR"),
        lambda folder: waymo_like(folder, row=1),
        lambda folder: waymo_like(folder, velocity=None),
        lambda folder: waymo_like(folder, shutter=None),
    ],
)
def test_none_where_the_log_does_not_say(tmp_path: Path, log: object) -> None:
    assert rolling_shutter(log(tmp_path), "FRONT", 0) is None  # type: ignore[operator]
