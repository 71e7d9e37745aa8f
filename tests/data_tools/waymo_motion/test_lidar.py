"""WOMD-LiDAR: the delta code by hand and by property, points of a small frame by hand."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.tfrecord import frame_record
from data_tools.verify import verify_log
from data_tools.waymo_motion import MotionLog, Options, convert_log, list_logs
from data_tools.waymo_motion.lidar import decode_delta, encode_delta
from data_tools.waymo_motion.messages import DELTA_ENCODED
from data_tools.wire import encode
from drive.errors import UserError
from drive.geometry.rigid import invert, transform_points
from drive.logs.store import Log
from tests.conftest import REPO
from tests.data_tools.waymo_motion import records
from tests.data_tools.waymo_motion.records import EAST, HEIGHT, WIDTH


def packed(message: dict[str, Any]) -> bytes:
    return zlib.compress(encode(message, DELTA_ENCODED))


def test_the_code_by_hand() -> None:
    message = {
        # Ones first: 0 ones, 1 zero, 3 ones, 2 zeros, 2 ones, over [channel, row, column].
        "mask": [0, 1, 3, 2, 2],
        "residual": [5, -2, 4, -10, 1],
        "metadata": {"shape": [1, 4, 2], "quant_precision": [0.5, 2.0]},
    }
    image = decode_delta(packed(message), "here")
    np.testing.assert_allclose(image[..., 0], [[0, 2.5, 1.5, 3.5]])
    np.testing.assert_allclose(image[..., 1], [[0, 0, -6, -4]])


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 7), st.integers(1, 4))
def test_an_image_comes_back_rounded(seed: int, height: int, width: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 30, (height, width, channels)) * (rng.random((height, width, channels)) < 0.6)
    precision = rng.choice([0.5, 0.125, 1.0], channels)  # exact as floats
    image[np.abs(image) < precision] = 0
    back = decode_delta(packed(encode_delta(image, precision)), "here")
    assert (np.abs(back - image) <= precision / 2 + 1e-9).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": [0, 1, 3, 2, 3]}, "runs of 9 values"),
        ({"residual": [1]}, "1 residuals"),
        ({"mask": [2**31, 2**31]}, "runs of"),
        ({"metadata": {"shape": [1, 4], "quant_precision": [1.0]}}, "shape"),
        ({"metadata": {"shape": [60000, 60000, 60000], "quant_precision": [1.0]}}, "shape"),
        ({"metadata": {"shape": [0, 4, 2], "quant_precision": [1.0, 1.0]}}, "shape"),
        ({"metadata": {"shape": [1, 4, 2], "quant_precision": [1.0]}}, "1 precisions"),
        ({"metadata": {"shape": [1, 4, 2], "quant_precision": [1.0, np.nan]}}, "not positive"),
        ({"metadata": None}, "shape"),
    ],
)
def test_images_that_cannot_be(change: dict[str, Any], message: str) -> None:
    good = {
        "mask": [0, 1, 3, 2, 2],
        "residual": [5, -2, 4, -10, 1],
        "metadata": {"shape": [1, 4, 2], "quant_precision": [0.5, 2.0]},
    }
    with pytest.raises(UserError, match=message):
        decode_delta(packed(good | change), "here")


def expected(inclinations: np.ndarray, distance: float) -> np.ndarray:
    """Points of the two middle rows in the ego frame: a sensor 2 m above the vehicle's origin."""
    azimuth = ((WIDTH - 0.5 - np.arange(WIDTH)) / WIDTH * 2 - 1) * np.pi
    up = inclinations[::-1][1:3, None]
    x, y = np.cos(up) * np.cos(azimuth) * distance, np.cos(up) * np.sin(azimuth) * distance
    z = np.broadcast_to(np.sin(up) * distance, x.shape)
    # The box's centre is 1.5 m ahead of the vehicle's origin and 1 m above it.
    return np.stack([x - 1.5, y, z + 2.0 - 1.0], axis=-1).reshape(-1, 3)


def check_points(log: Log) -> None:
    assert list(log.sensors) == ["LIDAR_TOP", "LIDAR_REAR"]
    listed, uniform = np.array([-0.3, -0.1, 0.1, 0.3]), -0.2 + (np.arange(HEIGHT) + 0.5) / HEIGHT * 0.4
    for step in range(2):
        rows = log.frame(step).rows
        top, rear = (log.sweep(name, rows[name]) for name in ("LIDAR_TOP", "LIDAR_REAR"))
        np.testing.assert_allclose(top.points[:16, :3], expected(listed, 10), atol=2e-4)
        np.testing.assert_allclose(top.points[16:, :3], expected(listed, 20), atol=2e-4)
        np.testing.assert_allclose(rear.points[:, :3], expected(uniform, 10), atol=2e-4)
        np.testing.assert_allclose(top.points[:, 3:], np.tile([0.5, 0.25], (32, 1)), atol=1e-6)
        assert top.extra["return"].tolist() == [1] * 16 + [2] * 16
        np.testing.assert_allclose(top.global_from_ego[:3, 3], [EAST + step, -50, 2])
    assert log.frame(2).rows == {}
    assert log.table("lidar_calibration")["sensor"].to_pylist() == ["LIDAR_TOP", "LIDAR_REAR"]
    assert log.table("vehicle_pose").num_rows == 2


def test_points_by_hand(tmp_path: Path) -> None:
    lidar = [records.laser_frame(step) for step in range(2)]
    path = records.write(tmp_path / "raw" / "a.tfrecord", records.scenario() | {"laser_data": lidar})
    convert_log(path.parent, MotionLog(path, 0), tmp_path / "out", Options())
    assert verify_log(tmp_path / "out" / "a.tfrecord_00000").problems == []
    check_points(Log.open(tmp_path / "out" / "a.tfrecord_00000"))


def test_lidar_in_a_folder_of_its_own(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    path = records.write(
        raw / "scenario" / "a.tfrecord", records.scenario(), {**records.scenario(), "scenario_id": "x"}
    )
    lidar = [records.laser_frame(step) for step in range(2)]
    records.write(raw / "lidar" / "abc123.tfrecord", {"scenario_id": "abc123", "laser_data": lidar})
    options = Options(lidar="lidar")
    assert [log.path for log in list_logs(raw, options)] == [path, path]
    for source in list_logs(raw, options):
        convert_log(raw, source, tmp_path / "out", options)
    check_points(Log.open(tmp_path / "out" / "a.tfrecord_00000"))
    assert Log.open(tmp_path / "out" / "a.tfrecord_00001").sensors == {}
    with pytest.raises(UserError, match="no such folder"):
        list_logs(raw, Options(lidar="elsewhere"))
    for source in list_logs(raw, Options(files="abc123*")):
        with pytest.raises(UserError, match="no timestamps; a file of WOMD-LiDAR"):
            convert_log(raw, source, tmp_path / "out", Options())


IMAGE = records.laser_frame(0)["lasers"][0]["return1"]["range_image"]


def test_points_equal_the_official_ones(tmp_path: Path) -> None:
    """Golden points of the official package: tests/official/compare_womd.py --golden (float64 after the polar step)."""
    golden = np.load(REPO / "tests" / "golden" / "womd_lidar.npz")
    path = tmp_path / "a.tfrecord"
    path.write_bytes(frame_record(golden["record"].tobytes()))
    convert_log(tmp_path, MotionLog(path, 0), tmp_path / "out", Options())
    log = Log.open(tmp_path / "out" / "a.tfrecord_00000")
    frame, names = log.frame(0), {"1": "LIDAR_TOP", "2": "LIDAR_FRONT"}
    vehicle = np.array(log.table("vehicle_pose")["transform"][0].as_py()).reshape(4, 4)
    keys = [key for key in golden.files if key != "record"]
    assert len(keys) == 4
    for key in keys:
        _, laser, number = key.split("/")
        sweep = log.sweep(names[laser], frame.rows[names[laser]])
        mine = sweep.extra["return"] == int(number)
        xyz = transform_points(invert(vehicle) @ frame.global_from_ego, sweep.points[mine, :3].astype(np.float64))
        np.testing.assert_allclose(xyz, golden[key][:, 3:], rtol=0, atol=1e-5)
        copied = np.column_stack([sweep.extra["range"][mine], sweep.points[mine, 3:]])
        np.testing.assert_array_equal(copied, golden[key][:, :3].astype(np.float32))


def _lidar(**changes: Any) -> dict[str, Any]:
    return records.laser_frame(0) | changes


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([_lidar()] * 4, "lidar at 4 steps of 3"),
        ([_lidar(pose=None)], "no pose"),
        ([_lidar(pose={"transform": np.zeros(16)})], "not a rigid motion"),
        ([_lidar(calibrations=[])], "no calibration"),
        ([_lidar(lasers=[{"name": 9}])], "laser 9"),
        ([_lidar(), _lidar(calibrations=[])], "calibrations are not those of the first"),
        ([_lidar(lasers=records.laser_frame(0)["lasers"][:1] * 2)], "there twice"),
        ([_lidar(lasers=[{"name": 1, "return1": {"range_image": IMAGE}}])], "no pixel poses"),
        ([_lidar(lasers=[{"name": 5, "return1": {"range_image": b"abc"}}])], "lidar of step 0: LIDAR_REAR: return1"),
        ([_lidar(lasers=[{"name": 1, "return1": {"pose": IMAGE}}])], "4 channels, not 6"),
    ],
)  # fmt: skip
def test_lidar_that_cannot_be(tmp_path: Path, frames: list[dict[str, Any]], message: str) -> None:
    path = records.write(tmp_path / "raw" / "a.tfrecord", records.scenario() | {"laser_data": frames})
    with pytest.raises(UserError, match=message):
        convert_log(path.parent, MotionLog(path, 0), tmp_path / "out", Options())
