"""The real key frame of scene-0061 (its tables were rebuilt, its files are original)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data_tools.convert import convert
from drive.geometry.box import points_in_box_mask
from drive.geometry.rigid import transform_points, yaw_of_quaternion
from drive.logs.store import Log


@pytest.fixture(scope="module")
def log(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Log:
    out = tmp_path_factory.mktemp("real") / "out"
    assert convert("nuscenes", real_data / "nuscenes", out).converted == ("scene-0061",)
    return Log.open(out / "scene-0061")


def test_counts_are_those_of_the_readme(log: Log, real_data: Path) -> None:
    sweep = log.sweep("LIDAR_TOP", 0)
    assert sweep.points.shape == (34688, 5)
    assert sweep.points.tobytes() == (real_data / "nuscenes" / sweep.source_name).read_bytes()
    assert len(log.boxes(0).boxes) == 69
    cameras = [name for name, sensor in log.sensors.items() if sensor.modality == "camera"]
    assert len(cameras) == 6
    for name in cameras:
        image = log.image(name, log.frame(0).rows[name])
        assert (image.width, image.height) == (1600, 900)
        assert image.data == (real_data / "nuscenes" / image.source_name).read_bytes()
    raster = log.table("map_raster").to_pylist()[0]
    assert (raster["width"], raster["height"]) == (15856, 20250)
    assert (log.split, log.location) == ("mini_train", "singapore-onenorth")


def test_every_annotation_comes_back(log: Log, real_data: Path) -> None:
    tables = real_data / "nuscenes" / "v1.0-mini"
    annotations = json.loads((tables / "sample_annotation.json").read_text())
    boxes = log.boxes(0)
    assert boxes.source_token == [a["token"] for a in annotations]
    for column, key in (("translation", "translation"), ("size", "size"), ("rotation", "rotation")):
        expected = np.array([a[key] for a in annotations])
        assert getattr(boxes, f"source_{column}").tobytes() == expected.tobytes()
    assert boxes.num_lidar_points.tolist() == [a["num_lidar_pts"] for a in annotations]
    assert not boxes.velocity_valid.any()  # one key frame: nothing to difference
    poses = {p["token"]: p for p in json.loads((tables / "ego_pose.json").read_text())}
    for name in log.sensors:
        entry = log.sweep(name, 0) if name == "LIDAR_TOP" else log.image(name, 0)
        assert entry.pose_rotation.tolist() == poses[entry.source_pose_token]["rotation"]
        assert entry.pose_translation.tolist() == poses[entry.source_pose_token]["translation"]


def test_points_lie_in_the_boxes(log: Log) -> None:
    """The whole chain of frames at once: the points in the boxes are those that the data set counted."""
    boxes = log.boxes(0)
    sweep = log.sweep("LIDAR_TOP", 0)
    points = transform_points(log.sensors["LIDAR_TOP"].ego_from_sensor, sweep.points.astype(np.float64))
    # In the global frame, where the labels are upright: exactly.
    upright = np.concatenate([boxes.source_translation, boxes.source_size[:, [1, 0, 2]]], axis=1)
    upright = np.concatenate([upright, yaw_of_quaternion(boxes.source_rotation)[:, None]], axis=1)
    found = points_in_box_mask(transform_points(sweep.global_from_ego, points), upright).sum(axis=1)
    assert found.sum() == boxes.num_lidar_points.sum() == 1009
    np.testing.assert_array_equal(found, boxes.num_lidar_points)
    # In the ego frame, which leans by 1.4 degrees here, upright boxes lose a few points at their edges.
    found = points_in_box_mask(points, boxes.boxes).sum(axis=1)
    assert (np.abs(found - boxes.num_lidar_points) <= np.maximum(2, 0.05 * boxes.num_lidar_points)).all()
