"""What was written comes back, bit for bit, lazily and without copies; bad folders give one clear line."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from drive.errors import UserError
from drive.logs.files import OpenFiles
from drive.logs.store import Log, list_logs


def test_head_and_counts(small_log: Log) -> None:
    assert (small_log.name, small_log.dataset, small_log.split, small_log.location) == ("small", "toy", "val", "here")
    assert small_log.manifest["counts"] == {
        "frames": 4,
        "boxes": 4,
        "tracks": 3,
        "map_features": 2,
        "rows": {"LIDAR": 4, "CAM": 1, "RADAR": 0},
        "points": {"LIDAR": 60, "RADAR": 0},
    }
    small_log.verify_checksums()


def test_sensors(small_log: Log) -> None:
    lidar, camera, radar = small_log.sensors.values()
    assert (lidar.modality, lidar.columns, lidar.intensity_max) == ("lidar", ("x", "y", "z", "intensity"), 255.0)
    assert lidar.intrinsics is None
    np.testing.assert_array_equal(lidar.ego_from_sensor[:3, 3], [1.0, 0.0, 1.8])
    np.testing.assert_array_equal(camera.source_rotation, [0.5, -0.5, 0.5, -0.5])
    # A camera that looks along ego x: its z axis is ego x, its x axis ego -y.
    np.testing.assert_allclose(camera.ego_from_sensor[:3, 2], [1, 0, 0], atol=1e-15)
    np.testing.assert_allclose(camera.ego_from_sensor[:3, 0], [0, -1, 0], atol=1e-15)
    np.testing.assert_array_equal(camera.intrinsics, np.diag([900.0, 800, 1]))
    assert small_log.num_sweeps("RADAR") == 0
    assert len(small_log.sweep_timestamps_ns("RADAR")) == 0
    assert radar.intensity_max is None


def test_sweeps_are_views_and_exact(small_log: Log) -> None:
    rng = np.random.default_rng(7)
    for i in range(4):
        sweep = small_log.sweep("LIDAR", i)
        np.testing.assert_array_equal(sweep.points, rng.normal(size=(10 * i, 4)).astype(np.float32))
        assert sweep.points.dtype == np.float32
        assert not sweep.points.flags.writeable
        assert not sweep.points.flags.owndata
        assert (sweep.extra["laser"].dtype, sweep.extra["offset_ns"].dtype) == (np.uint8, np.int32)
        np.testing.assert_array_equal(sweep.extra["offset_ns"], np.arange(10 * i) - 5)
        assert (sweep.timestamp_ns, sweep.source_timestamp, sweep.is_key_frame) == (1000 * i, i, i % 2 == 0)
        assert (sweep.source_name, sweep.source_token, sweep.source_pose_token) == (
            f"sweeps/{i}.bin",
            f"sweep{i}",
            f"p{i}",
        )
        assert sweep.source_pose_timestamp == (i + 1 if i else None)
        np.testing.assert_array_equal(sweep.global_from_ego[:3, 3], [i, 0.1 * i, 0])
    np.testing.assert_array_equal(small_log.sweep_timestamps_ns("LIDAR"), [0, 1000, 2000, 3000])
    np.testing.assert_array_equal(small_log.sweep_poses("LIDAR")[3], small_log.sweep("LIDAR", 3).global_from_ego)


def test_image_bytes(small_log: Log) -> None:
    image = small_log.image("CAM", 0)
    assert (image.data, image.width, image.height, image.timestamp_ns) == (b"\x89jpeg\x00bytes", 1600, 900, 2003)


def test_frames_and_boxes(small_log: Log) -> None:
    assert small_log.num_frames == 4
    assert small_log.frame(2).rows == {"LIDAR": 2, "CAM": 0}
    assert small_log.frame(3).rows == {"LIDAR": 3}
    assert small_log.frame_tokens == ["frame0", "frame1", "frame2", "frame3"]
    assert not small_log.frame_interpolated.any()
    assert small_log.boxes(0).boxes.shape == (0, 9)
    found = small_log.boxes(2)
    np.testing.assert_array_equal(found.boxes[0], [5, 1, 0.5, 4, 2, 1.5, 0.3, 7, 8])
    np.testing.assert_array_equal(found.boxes[1, 7:], 0)  # velocity unknown: masked, not a made-up number
    np.testing.assert_array_equal(found.velocity_valid, [True, False])
    assert found.category == ["car", "pedestrian"]
    assert found.track_token == ["a", "c"]
    np.testing.assert_array_equal(found.track, [0, 2])
    np.testing.assert_array_equal(found.num_lidar_points, [3, 0])
    assert found.num_lidar_points_valid.all()
    assert not found.num_radar_points_valid.any()
    assert found.attributes == ["moving;fast", ""]
    assert found.extra == {"truncated": [0.25, 0.5]}
    tracks = small_log.tracks.to_pylist()
    assert tracks[0] == {"source_token": "a", "category": "car", "num_boxes": 2, "first_frame": 1, "last_frame": 2}


def test_map_and_extras(small_log: Log) -> None:
    lane, divider = small_log.map_features()
    assert (lane.feature_id, lane.kind, lane.is_polygon, lane.attributes) == ("l1", "lane", True, {"speed_mps": 13.9})
    assert lane.successors == ("l2",)
    assert lane.holes[0].shape == (3, 3)
    assert not divider.is_polygon
    assert [f.feature_id for f in small_log.map_features({"lane"})] == ["l1"]
    assert small_log.has_table("can_pose")
    assert small_log.table("can_pose")["speed"].to_pylist() == [0.5, 0.25]
    assert small_log.file_path("scene.bin").read_bytes() == bytes(range(256))
    assert small_log.file_names == ["scene.bin"]
    with pytest.raises(UserError, match="no such file"):
        small_log.table("nothing")
    with pytest.raises(UserError, match="no such file"):
        small_log.file_path("nothing")


def test_pickles_as_its_path(small_log: Log) -> None:
    small_log.sweep("LIDAR", 3)
    data = pickle.dumps(small_log)
    assert len(data) < 1000
    np.testing.assert_array_equal(pickle.loads(data).sweep("LIDAR", 3).points, small_log.sweep("LIDAR", 3).points)


def test_rows_outside(small_log: Log) -> None:
    for call in (lambda: small_log.sweep("LIDAR", 4), lambda: small_log.frame(-1), lambda: small_log.boxes(4)):
        with pytest.raises(IndexError):
            call()


def test_views_outlive_eviction(small_log: Log) -> None:
    files = OpenFiles(limit=1)
    first = files.reader(small_log.path / "lidar_LIDAR.arrow").get_batch(3).column(0).values.to_numpy()
    copy = first.copy()
    files.reader(small_log.path / "frames.arrow")
    assert len(files._readers) == 1
    np.testing.assert_array_equal(first, copy)


@pytest.fixture
def damaged(small_log: Log, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_log.path, tmp_path / "small"))


def test_unknown_version(damaged: Path) -> None:
    manifest = json.loads((damaged / "log.json").read_text())
    (damaged / "log.json").write_text(json.dumps({**manifest, "schema_version": 99}))
    with pytest.raises(
        UserError, match=r"log\.json: log format version 99, this program reads 1; drive convert --migr"
    ):
        Log.open(damaged)


def test_missing_and_truncated_files(damaged: Path) -> None:
    file = damaged / "lidar_LIDAR.arrow"
    data = file.read_bytes()
    file.write_bytes(data[:-100])
    with pytest.raises(UserError, match=rf"lidar_LIDAR\.arrow: has {len(data) - 100} bytes, the manifest says"):
        Log.open(damaged)
    file.unlink()
    with pytest.raises(UserError, match=r"lidar_LIDAR\.arrow: the file is missing"):
        Log.open(damaged)


def test_changed_bytes(damaged: Path) -> None:
    file = damaged / "lidar_LIDAR.arrow"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    log = Log.open(damaged)
    with pytest.raises(UserError, match=r"lidar_LIDAR\.arrow: its SHA-256"):
        log.verify_checksums()


def test_garbage_of_the_right_size(damaged: Path) -> None:
    file = damaged / "boxes.arrow"
    file.write_bytes(b"\0" * file.stat().st_size)
    with pytest.raises(UserError, match=r"boxes\.arrow: not a readable Arrow file"):
        Log.open(damaged).boxes(0)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema_version": 1}'])
def test_broken_manifest(damaged: Path, text: str) -> None:
    (damaged / "log.json").write_text(text)
    with pytest.raises(UserError, match=r"log\.json"):
        Log.open(damaged)


def test_not_a_log(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not a log folder"):
        Log.open(tmp_path)
    with pytest.raises(UserError, match=r"no such folder"):
        list_logs(tmp_path / "nowhere")
    assert list_logs(tmp_path) == []
