"""The town's writer of Waymo records: what it says of time and place agrees with itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from data_tools.tfrecord import TFRecordFile
from data_tools.town import TownConfig, build, is_town
from data_tools.town.waymo_sensors import lidars, pixel_poses, to_picture
from data_tools.waymo_perception.range_image import read_matrix, to_points
from data_tools.waymo_perception.records import read_frame, read_frames
from drive.geometry.rigid import from_translation_rotation, quaternion_from_yaw
from drive.render.lidar import SweepReturn, column_poses


def test_the_shape_of_a_segment(waymo_town: Path) -> None:
    assert is_town(waymo_town)
    (path,) = waymo_town.rglob("*.tfrecord")
    assert path.relative_to(waymo_town).as_posix() == "training/segment-scene-9001_with_camera_labels.tfrecord"
    frames = [frame for _, frame in read_frames(path)]
    stamps = [frame["timestamp_micros"] for frame in frames]
    assert np.diff(stamps).tolist() == [100_000] * 4
    assert [bool(frame["map_features"]) for frame in frames] == [True, False, False, False, False]
    for frame in frames:
        assert [laser["name"] for laser in frame["lasers"]] == [1, 2, 3, 4, 5]
        shapes = [read_matrix(laser["return1"]["range_image"], "").shape for laser in frame["lasers"]]
        assert shapes == [(64, 96, 4)] + [(40, 24, 4)] * 4
        assert ["pose" in laser["return1"] for laser in frame["lasers"]] == [True] + [False] * 4
        for label in frame["laser_labels"]:
            assert ("detection_difficulty" in label) == (label["num_lidar_points"] <= 5)
            assert 0 < label["num_lidar_points"] >= label["num_top_lidar_points"]


def test_same_arguments_same_bytes(waymo_town: Path, tmp_path: Path) -> None:
    config = TownConfig(
        tmp_path / "again", format="waymo", scenes=1, val_scenes=0, seconds=0.5, image_width=96, columns=96, workers=1
    )
    build(config, Console(quiet=True))
    (one,), (two,) = (list(root.rglob("*.tfrecord")) for root in (waymo_town, config.out))
    assert one.read_bytes() == two.read_bytes()


def test_pixel_poses_follow_the_vehicle(waymo_town: Path) -> None:
    """The middle column was measured from where the frame's pose is; the last column of a frame from where the first
    one of the next is (a column later)."""
    (path,) = waymo_town.rglob("*.tfrecord")
    with TFRecordFile(path) as file:
        first, second = (read_frame(file, i) for i in (0, 1))
    poses = [read_matrix(frame["lasers"][0]["return1"]["pose"], "") for frame in (first, second)]
    middle = poses[0][0, 47:49].mean(axis=0)
    np.testing.assert_allclose(middle[3:5], first["pose"]["transform"].reshape(4, 4)[:2, 3], atol=0.01)
    step = np.linalg.norm(poses[0][0, 1, 3:5] - poses[0][0, 0, 3:5])
    assert np.linalg.norm(poses[1][0, 0, 3:5] - poses[0][0, -1, 3:5]) == pytest.approx(step, abs=1e-3)
    assert step > 0.002  # it drives
    assert np.ptp(poses[0], axis=0).max() == 0  # one pose a column


def test_a_pixel_stands_where_its_beam_hit() -> None:
    """One return of a moving, turning car put on the grid and read back: the same point, in the vehicle's frame."""
    lidar = lidars(400)[0]
    mount = lidar.laser.ego_from_sensor
    before = from_translation_rotation([100.0, 50.0, 0.0], quaternion_from_yaw(0.3))
    after = from_translation_rotation([101.2, 50.4, 0.0], quaternion_from_yaw(0.34))
    poses = column_poses(lidar.model, before @ mount, after @ mount)
    row, column, reach = 20, 130, 31.0
    slope = np.tan(lidar.model.beam_elevations_rad[row])
    direction = poses.along[column] + slope * poses.up[column]
    hit = poses.origin[column] + reach * direction / np.linalg.norm(direction)
    end = after @ mount
    local = (hit - end[:3, 3]) @ end[:3, :3]
    returns = SweepReturn(
        local[None].astype(np.float32), np.array([51.0], np.float32), np.array([row], np.int32),
        poses.time_s[[column]].astype(np.float32), np.array([-1], np.int32),
    )  # fmt: skip
    picture = to_picture(lidar, returns, poses, end)
    assert np.argwhere(picture.range_m > 0).tolist() == [[row, column]]
    assert picture.range_m[row, column] == pytest.approx(reach, abs=1e-4)
    image = np.full((*lidar.size, 4), -1, np.float32)
    image[row, column, :2] = picture.range_m[row, column], picture.intensity[row, column]
    found = to_points([image], lidar.laser, np.ascontiguousarray(pixel_poses(lidar, poses)), np.linalg.inv(after), "x")
    wanted = (hit - after[:3, 3]) @ after[:3, :3]
    np.testing.assert_allclose(found.points[0, :3], wanted, atol=1e-4)
    assert found.points[0, 3] == pytest.approx(0.2)
