from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waymo_frames import compressed, empty_image

from data_tools.waymo_perception.messages import FRAME
from data_tools.waymo_perception.range_image import MAX_INFLATED, Laser, inflate, read_matrix, shaped, to_points
from data_tools.waymo_perception.scans import read_scan
from data_tools.wire import decode
from drive.errors import UserError
from drive.geometry.rigid import invert, transform_points

GOLDEN = Path(__file__).parents[2] / "golden" / "waymo_range_images.npz"
ABOVE = np.eye(4)
ABOVE[:3, 3] = 1.0, 2.0, 3.0
FLAT = Laser("TOP", ABOVE, np.array([-np.pi / 6, 0.0]), 0.0, 0.0)


def test_hand_made_image() -> None:
    """Two beams, four columns: azimuths 135, 45, -45, -135 degrees; row 0 is the highest beam."""
    image = empty_image(2, 4)
    image[0, 1] = 10.0, 0.5, 0.25, -1.0
    image[1, 2] = 2.0, 4.0, 0.0, 1.0
    found = to_points([image], FLAT, None, np.eye(4), "here")
    diagonal, down = 10 / np.sqrt(2), 2 * np.cos(np.pi / 6) / np.sqrt(2)
    wanted = [[1 + diagonal, 2 + diagonal, 3, 0.5, 0.25], [1 + down, 2 - down, 2, 4.0, 0.0]]
    np.testing.assert_allclose(found.points, wanted, rtol=0, atol=1e-6)
    assert found.range_m.tolist() == [10.0, 2.0]
    assert (found.row.tolist(), found.column.tolist()) == ([0, 1], [1, 2])
    assert found.nlz.tolist() == [-1.0, 1.0]


def test_azimuth_correction_turns_column_zero_backwards() -> None:
    turned = np.eye(4)
    turned[:2, :2] = [[0, -1], [1, 0]]  # mounted turned to the left
    image = empty_image(2, 4)
    image[0, 0, 0] = 8.0
    found = to_points([image], Laser("TOP", turned, np.array([-0.1, 0.0]), 0, 0), None, np.eye(4), "here")
    np.testing.assert_allclose(found.points[0, :3], [-8 / np.sqrt(2), 8 / np.sqrt(2), 0], atol=1e-5)


def test_bounds_are_the_edges_of_the_rows() -> None:
    rows = Laser("FRONT", np.eye(4), np.zeros(0), -1.0, 1.0).rows(4, "here")
    assert rows.tolist() == [0.75, 0.25, -0.25, -0.75]
    assert rows.dtype == np.float32


def test_pixel_pose_moves_the_point() -> None:
    """Measured from global (100, 200) looking along global y, told from a frame at (101, 200) looking along x."""
    image = empty_image(1, 1)
    image[0, 0, 0] = 7.0
    pose = np.zeros((1, 1, 6), np.float32)
    pose[0, 0, 2:5] = np.pi / 2, 100.0, 200.0
    frame = np.eye(4)
    frame[:3, 3] = 101.0, 200.0, 0.0
    laser = Laser("TOP", np.eye(4), np.array([0.0]), 0, 0)
    found = to_points([image], laser, pose, invert(frame), "here")
    np.testing.assert_allclose(found.points[0, :3], [-1.0, 7.0, 0.0], atol=1e-5)


@settings(deadline=None)  # the first call compiles
@given(st.integers(0, 2**32), st.sampled_from([0.02, 3.0]))
def test_pixel_poses_against_matrices(seed: int, spread: float) -> None:
    """Roll, pitch and yaw near each other (the series) or anywhere (sine and cosine themselves)."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(1, 70, (2, 3, 4)).astype(np.float32)
    pose = rng.uniform(-1, 1, 6) + rng.uniform(-spread, spread, (2, 3, 6))
    pose[..., 3:] += [40_000, -20_000, 30]
    pose = pose.astype(np.float32)
    frame = np.eye(4)
    frame[:3, 3] = 40_000.25, -20_000.5, 30.0
    found = to_points([image], FLAT, pose, invert(frame), "here")
    still = to_points([image], FLAT, None, np.eye(4), "here").points[:, :3].astype(np.float64)
    for k, (roll, pitch, yaw, *place) in enumerate(pose.reshape(-1, 6).astype(np.float64)):
        a, b, c, d, e, f = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
        turn = np.array([[a, -b, 0], [b, a, 0], [0, 0, 1]]) @ np.array([[c, 0, d], [0, 1, 0], [-d, 0, c]])
        world = turn @ np.array([[1, 0, 0], [0, e, -f], [0, f, e]]) @ still[k] + place
        np.testing.assert_allclose(found.points[k, :3], world - frame[:3, 3], rtol=0, atol=2e-5)


def test_golden_frame_of_the_official_package() -> None:
    """tests/official/compare_range_images.py --golden: one small frame and what the official functions make of it.

    In float64 (``.../float64``) ours are equal bit for bit. As the official code is, in float32, its top laser's points
    pass through global coordinates, where a float32 is 3e-5 m wide: 4 of those.
    """
    with np.load(GOLDEN) as file:
        golden = dict(file)
    frame = decode(golden["record"].tobytes(), FRAME)
    pose = frame["pose"]["transform"].reshape(4, 4)
    calibrations = {c["name"]: c for c in frame["context"]["laser_calibrations"]}
    compared = 0
    for message in frame["lasers"]:
        c = calibrations[message["name"]]
        laser = Laser(
            str(message["name"]), c["extrinsic"]["transform"].reshape(4, 4), c["beam_inclinations"],
            c["beam_inclination_min"], c["beam_inclination_max"],
        )  # fmt: skip
        scan = read_scan(message, laser, invert(pose), "golden", needs_pose=message["name"] == 1)
        assert scan is not None
        for number in (1, 2):
            mine = scan.points[scan.extra["return"] == number, :3]
            np.testing.assert_array_equal(mine, golden[f"{message['name']}/{number}/float64"])
            bound = 4 * np.spacing(np.float32(np.abs(pose[:3, 3]).max() + 75)) if message["name"] == 1 else 1e-5
            np.testing.assert_allclose(mine, golden[f"{message['name']}/{number}"], rtol=0, atol=bound)
            compared += len(mine)
    assert compared > 1500


def test_empty_image_has_no_points() -> None:
    found = to_points([empty_image(2, 4)], FLAT, None, np.eye(4), "here")
    assert found.points.shape == (0, 5)


def test_shapes_and_numbers_that_do_not_fit() -> None:
    pose = np.zeros((2, 3, 6), np.float32)
    image = empty_image(2, 4)
    with pytest.raises(UserError, match=r"here: pixel poses of shape \[2, 3, 6\]"):
        to_points([image], FLAT, pose, np.eye(4), "here")
    with pytest.raises(UserError, match="2 beams for 3 rows"):
        to_points([empty_image(3, 4)], FLAT, None, np.eye(4), "here")
    with pytest.raises(UserError, match=r"not \[H, W, 4\]"):
        to_points([image[..., :3]], FLAT, None, np.eye(4), "here")
    for channel in (0, 1, 2):
        image[1, 3] = 1.0
        image[1, 3, channel] = np.inf
        with pytest.raises(UserError, match="row 1 column 3 of return 1 gives a point that is not finite"):
            to_points([image], FLAT, None, np.eye(4), "here")
    for dims in ((2, 4), (2, 4, 3), (0, 4, 4), (-2, -4, 4), (1 << 20, 1, 1)):
        with pytest.raises(UserError, match="cannot have the shape"):
            shaped(np.zeros(32, np.float32), dims, "here")


def test_broken_streams() -> None:
    good = compressed(empty_image(2, 4))
    assert read_matrix(good, "here").shape == (2, 4, 4)
    with pytest.raises(UserError, match="here: broken zlib stream"):
        inflate(b"\x00" + good, "here")
    with pytest.raises(UserError, match="is cut off"):
        inflate(good[:-3], "here")
    with pytest.raises(UserError, match="larger than any range image"):
        inflate(zlib.compress(bytes(MAX_INFLATED + 1)), "here")
    with pytest.raises(UserError, match="reaches beyond the end"):
        read_matrix(zlib.compress(b"\x0a\x20\x00"), "here")


def test_extrinsic_applies_before_the_pose() -> None:
    """A level turn of the vehicle turns the mounted sensor's point about the vehicle's origin, not the sensor's."""
    image = empty_image(2, 4)
    image[0, 1, 0] = 10.0
    pose = np.zeros((2, 4, 6), np.float32)
    pose[..., 2] = np.pi / 2
    still = to_points([image], FLAT, None, np.eye(4), "here").points[0, :3]
    turned = to_points([image], FLAT, pose, np.eye(4), "here").points[:, :3]
    quarter = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(turned, transform_points(quarter, still[None].astype(np.float64)), atol=1e-5)
