"""Merged sweeps against the devkit's own code, and by hand."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand_made_log import SENSOR_TRANSLATION, SENSOR_YAW, SWEEP_NS, pose

from drive.geometry.rigid import invert, quaternion_from_yaw
from drive.logs.store import Log
from drive.samples.classes import NUSCENES_CLASSES
from drive.samples.frame_dataset import FrameDataset
from drive.samples.sweeps import RawSweep, crop_points, merge_sweeps


def test_intensities_without_a_bound_go_through_tanh() -> None:
    points = np.array([[5.0, 0, 0, 0.5], [6, 0, 0, 30]], np.float32)
    bounded = RawSweep(points, 3, -1, 255.0, np.eye(4), 0.0)
    unbounded = RawSweep(points, 3, -1, np.inf, np.eye(4), 0.1)
    merged = merge_sweeps([bounded, unbounded])
    np.testing.assert_allclose(merged[:, 3], [0.5 / 255, 30 / 255, np.tanh(0.5), 1.0], rtol=1e-6)


class Tables:
    """The three tables that `from_file_multisweep` asks for, made from a log."""

    def __init__(self, log: Log, root: Path) -> None:
        self.dataroot = str(root)
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        calibration = {"translation": SENSOR_TRANSLATION, "rotation": quaternion_from_yaw(SENSOR_YAW)}
        self.rows["calibrated_sensor", "c"] = calibration
        for step in range(log.num_sweeps("LIDAR_TOP")):
            log.sweep("LIDAR_TOP", step).points.tofile(root / f"{step}.pcd.bin")
            translation, rotation = pose(step)
            self.rows["ego_pose", f"p{step}"] = {"translation": translation, "rotation": rotation}
            self.rows["sample_data", f"d{step}"] = {
                "ego_pose_token": f"p{step}", "calibrated_sensor_token": "c", "filename": f"{step}.pcd.bin",
                "timestamp": step * SWEEP_NS // 1000, "prev": f"d{step - 1}" if step else "",
            }  # fmt: skip

    def get(self, table: str, token: str) -> dict[str, Any]:
        return self.rows[table, token]


@pytest.mark.parametrize(("frame", "sweeps"), [(0, 1), (1, 3), (2, 10), (0, 10)])
def test_merged_sweeps_equal_the_devkit(log_path: Path, tmp_path: Path, frame: int, sweeps: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the devkit's own imports
        classes = pytest.importorskip("nuscenes.utils.data_classes")
    log = Log.open(log_path)
    tables = Tables(log, tmp_path)
    sample = {"data": {"LIDAR_TOP": f"d{5 * frame + 4}"}}
    cloud, lag = classes.LidarPointCloud.from_file_multisweep(tables, sample, "LIDAR_TOP", "LIDAR_TOP", nsweeps=sweeps)
    ours, _ = FrameDataset([log_path], NUSCENES_CLASSES, sweeps=sweeps).recorded(frame)
    # The devkit goes on into the reference sensor.
    sensor_from_ego = invert(log.sensors["LIDAR_TOP"].ego_from_sensor)
    at_sensor = ours.points[:, :3] @ sensor_from_ego[:3, :3].T + sensor_from_ego[:3, 3]
    assert ours.points.shape[0] == cloud.points.shape[1]
    np.testing.assert_allclose(at_sensor, cloud.points[:3].T, atol=2e-5)
    np.testing.assert_allclose(ours.points[:, 3], cloud.points[3] / 255, atol=1e-7)
    np.testing.assert_allclose(ours.points[:, 5], lag[0], atol=1e-6)


def test_returns_from_the_ego_are_dropped() -> None:
    points = np.array([[0.5, 0.5, 0], [0.5, -1.5, 0], [1.0, 0, 0], [-0.99, 0.99, 5]], np.float32)
    merged = merge_sweeps([RawSweep(points, -1, -1, 1.0, np.eye(4), 0.0)])
    np.testing.assert_array_equal(merged[:, :3], points[1:3])
    assert (merged[:, 3:] == 0).all()
    assert len(merge_sweeps([RawSweep(points, -1, -1, 1.0, np.eye(4), 0.0)], ego_radius_m=0.0)) == 4


def test_columns_and_motion_by_hand() -> None:
    shift = np.eye(4)
    shift[:3, 3] = [10, 0, -1]
    now = RawSweep(np.array([[2, 0, 0, 0.3, 100]], np.float32), 4, 3, 200.0, np.eye(4), 0.0)
    past = RawSweep(np.array([[5, 5, 5, 50]], np.float32), 3, -1, 100.0, shift, 0.1)
    expected = np.array([[2, 0, 0, 0.5, 0.3, 0], [15, 5, 4, 0.5, 0, 0.1]], np.float32)
    np.testing.assert_allclose(merge_sweeps([now, past]), expected, atol=1e-7)


def test_nothing_to_merge() -> None:
    assert merge_sweeps([]).shape == (0, 6)
    nothing = RawSweep(np.zeros((0, 4), np.float32), 3, -1, 1.0, np.eye(4), 0.0)
    assert merge_sweeps([nothing, nothing]).shape == (0, 6)
    assert crop_points(np.zeros((0, 6), np.float32), (0, 0, 0, 1, 1, 1)).shape == (0, 6)


def test_crop_is_half_open_and_keeps_the_order() -> None:
    points = np.zeros((4, 6), np.float32)
    points[:, 0] = [0.0, 1.0, 0.5, -0.1]
    points[:, 5] = range(4)
    assert crop_points(points, (0, -1, -1, 1, 1, 1))[:, 5].tolist() == [0, 2]


def test_recorded_points_are_not_touched(log_path: Path) -> None:
    log = Log.open(log_path)
    before = log.sweep("LIDAR_TOP", 4).points.copy()
    FrameDataset([log_path], NUSCENES_CLASSES, sweeps=3)[0]
    np.testing.assert_array_equal(log.sweep("LIDAR_TOP", 4).points, before)
