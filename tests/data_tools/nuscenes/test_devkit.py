"""Agreement with the official devkit, which is installed by the extra `nuscenes`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_tools.convert import convert
from data_tools.nuscenes import Options
from drive.geometry.rigid import invert, quaternion_to_matrix, transform_points
from drive.logs.store import Log, list_logs

# Old libraries that the devkit imports warn about themselves; that is not about our code.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("nuscenes")
    from nuscenes.map_expansion import arcline_path_utils
    from nuscenes.nuscenes import NuScenes
    from nuscenes.utils.data_classes import LidarPointCloud, RadarPointCloud
    from nuscenes.utils.splits import mini_val, test, train, val
    from pyquaternion import Quaternion

from data_tools.nuscenes.maps import discretise
from data_tools.nuscenes.points import read_radar
from data_tools.nuscenes.splits import split_of


@pytest.fixture
def both(raw: Any, tmp_path: Path) -> tuple[Any, list[Log]]:
    """The devkit's view of the raw folder and our logs of it, with interpolated boxes."""
    convert("nuscenes", raw.root, tmp_path / "out", Options(interpolate_boxes=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        devkit = NuScenes(raw.version, str(raw.root), verbose=False)
    return devkit, [Log.open(path) for path in list_logs(tmp_path / "out")]


def test_velocity(both: tuple[Any, list[Log]]) -> None:
    devkit, logs = both
    known = 0
    for log in logs:
        for i in np.flatnonzero(~log.frame_interpolated):
            boxes, frame = log.boxes(i), log.frame(i)
            for row, token in enumerate(boxes.source_token):
                expected = devkit.box_velocity(token)
                assert boxes.velocity_valid[row] == bool(np.isfinite(expected).all())
                if boxes.velocity_valid[row]:
                    known += 1
                    assert boxes.extra["velocity_global_mps"][row] == expected.tolist()
                    ego = invert(frame.global_from_ego)[:3, :3] @ expected
                    np.testing.assert_allclose(boxes.boxes[row, 7:], ego[:2], atol=1e-12)
                else:
                    np.testing.assert_array_equal(boxes.boxes[row, 7:], 0)
    assert known >= 10


def test_boxes_in_ego(both: tuple[Any, list[Log]]) -> None:
    devkit, logs = both
    for log in logs:
        for i in np.flatnonzero(~log.frame_interpolated):
            token = devkit.get("sample", log.frame_tokens[i])["data"]["LIDAR_TOP"]
            record = devkit.get("sample_data", token)
            pose = devkit.get("ego_pose", record["ego_pose_token"])
            boxes = log.boxes(i)
            for row, box in enumerate(devkit.get_boxes(token)):
                box.translate(-np.array(pose["translation"]))
                box.rotate(Quaternion(pose["rotation"]).inverse)
                np.testing.assert_allclose(boxes.boxes[row, :3], box.center, atol=1e-9)
                assert boxes.source_token[row] == box.token
                forward = box.orientation.rotation_matrix @ [1, 0, 0]
                assert boxes.boxes[row, 6] == pytest.approx(np.arctan2(forward[1], forward[0]), abs=1e-12)


def test_interpolated_boxes(both: tuple[Any, list[Log]]) -> None:
    devkit, logs = both
    compared = 0
    for log in logs:
        for i in np.flatnonzero(log.frame_interpolated):
            sweep = log.sweep("LIDAR_TOP", log.frame(i).rows["LIDAR_TOP"])
            boxes = log.boxes(i)
            record = devkit.get("sample_data", sweep.source_token)
            sample = devkit.get("sample", record["sample_token"])
            expected = dict(zip(sample["anns"], devkit.get_boxes(sweep.source_token), strict=True))
            by_instance = {devkit.get("sample_annotation", t)["instance_token"]: b for t, b in expected.items()}
            for row, instance in enumerate(boxes.track_token):
                box = by_instance[instance]
                np.testing.assert_allclose(boxes.source_translation[row], box.center, atol=1e-9)
                rotation = quaternion_to_matrix(boxes.source_rotation[row])
                # Below 1.8 degrees pyquaternion's slerp goes along the chord instead of the arc.
                np.testing.assert_allclose(rotation, box.orientation.rotation_matrix, atol=2e-6)
                compared += 1
    assert compared > 10


def test_multisweep(both: tuple[Any, list[Log]]) -> None:
    """Ten sweeps in the frame of the last: the poses and times of a log give the devkit's points."""
    devkit, logs = both
    log = logs[0]
    frame = log.frame(int(np.flatnonzero(~log.frame_interpolated)[-1]))
    cloud, lags = LidarPointCloud.from_file_multisweep(
        devkit, devkit.get("sample", frame.token), "LIDAR_TOP", "LIDAR_TOP", nsweeps=10, min_distance=1.0
    )
    last = frame.rows["LIDAR_TOP"]
    sensor = log.sensors["LIDAR_TOP"].ego_from_sensor
    reference = log.sweep("LIDAR_TOP", last)
    to_reference = invert(reference.global_from_ego @ sensor)
    points, times = [], []
    for row in range(last, last - 10, -1):
        sweep = log.sweep("LIDAR_TOP", row)
        kept = sweep.points[~(np.abs(sweep.points[:, :2]) < 1.0).all(axis=1)].astype(np.float64)
        points.append(transform_points(to_reference @ sweep.global_from_ego @ sensor, kept))
        times.append(np.full(len(kept), (reference.timestamp_ns - sweep.timestamp_ns) / 1e9))
    np.testing.assert_allclose(np.concatenate(points), cloud.points[:3].T, atol=2e-5)  # the devkit rounds to float32
    np.testing.assert_allclose(np.concatenate(times), lags[0], atol=1e-6)


def test_radar(raw: Any) -> None:
    path = next(path for path in sorted((raw.root / "samples" / "RADAR_FRONT").iterdir()) if len(read_radar(path)) > 0)
    RadarPointCloud.disable_filters()
    expected = RadarPointCloud.from_file(str(path)).points
    RadarPointCloud.default_filters()
    found = read_radar(path)
    np.testing.assert_array_equal(np.stack([found[n].astype(np.float64) for n in found.dtype.names or ()]), expected)


@pytest.mark.parametrize("shape", ["LRL", "LSL", "LSR", "RLR", "RSR", "RSL"])
def test_arc_line_paths(shape: str) -> None:
    arc = {"start_pose": [3.0, -2.0, 0.4], "shape": shape, "radius": 12.5, "segment_length": [4.0, 9.5, 6.25]}
    line = discretise([arc], 0.5)
    length = np.concatenate([[0], np.cumsum([4.0 / 8] * 8 + [0.5] * 19 + [6.25 / 13] * 13)])
    expected = [arcline_path_utils.pose_at_length(arc, max(s, 1e-6))[:2] for s in length]
    np.testing.assert_allclose(line[:, :2], expected, atol=2e-6)
    assert (line[:, 2] == 0).all()


def test_official_splits() -> None:
    for name in train:
        assert split_of(name, "v1.0-trainval", {}) == "train"
    for name in val:
        assert split_of(name, "v1.0-trainval", {}) == "val"
    assert split_of(test[0], "v1.0-test", {}) == "test"
    for name in mini_val:
        assert split_of(name, "v1.0-mini", {}) == "mini_val"
    assert split_of("scene-0061", "v1.0-mini", {}) == "mini_train"
    assert split_of("scene-0061", "v1.0-mini", {"mine": ["scene-0061"]}) == "mine"
    assert split_of("town-1", "v1.0-town", {}) == ""
