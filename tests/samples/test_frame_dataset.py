"""Frames of a log as samples: contents, crops, classes, sweeps, views, bad values."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from drive.errors import UserError
from drive.logs.writer import LogWriter
from drive.samples.augment.config import AugmentConfig
from drive.samples.classes import NUSCENES_CLASSES, TOWN_CLASSES, ClassMap
from drive.samples.config import DataConfig
from drive.samples.frame_dataset import FrameDataset, find_logs
from drive.samples.sample import FrameSample, empty_sample

RANGE = (-30.0, -30.0, -2.0, 30.0, 30.0, 2.5)


def write_camera_log(root: Path) -> Path:
    """A camera at the ego's origin that looks along x, 90 degrees wide; points at 0, 30, 60, 180 degrees."""
    look = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    with LogWriter(root, "view", dataset="hand-made", source_version="1", licence="CC0-1.0") as log:
        log.add_sensor("velodyne", "lidar", [0, 0, 0], [1, 0, 0, 0], columns=("x", "y", "z", "reflectance"),
                       intensity_max=1.0)  # fmt: skip
        log.add_sensor("CAM", "camera", [0, 0, 0], [1, 0, 0, 0], intrinsics=np.array([[50.0, 0, 49.5], [0, 50, 49.5],
                       [0, 0, 1]]), width=100, height=100, ego_from_sensor=look)  # fmt: skip
        angles = np.deg2rad([0.0, 30.0, 60.0, 180.0])
        cloud = np.stack([10 * np.cos(angles), 10 * np.sin(angles), 0 * angles, 0 * angles + 0.5], axis=1)
        options = {"is_key_frame": True, "source_timestamp": 0, "source_name": "x"}
        row = log.add_sweep("velodyne", 0, cloud.astype(np.float32), [0, 0, 0], [1, 0, 0, 0], **options)
        image = log.add_image("CAM", 0, b"png", 100, 100, [0, 0, 0], [1, 0, 0, 0], **options)
        frame = log.add_frame(0, rows={"velodyne": row, "CAM": image}, pose_translation=[0, 0, 0],
                              pose_rotation=[1, 0, 0, 0], source_timestamp=0)  # fmt: skip
        boxes = np.zeros((4, 9))
        boxes[:, :3], boxes[:, 3:6] = cloud[:, :3], 1.0
        log.add_boxes(frame, boxes, ["Car"] * 4, list("abcd"), velocity_valid=np.zeros(4, bool), num_lidar_points=None,
                      source_translation=boxes[:, :3], source_rotation=np.tile([1.0, 0, 0, 0], (4, 1)),
                      source_size=boxes[:, 3:6])  # fmt: skip
    return root / "view"


def test_a_frame_by_hand(log_path: Path) -> None:
    dataset = FrameDataset([log_path], NUSCENES_CLASSES, range_m=RANGE)
    assert len(dataset) == 3
    sample = dataset[1]
    assert (sample.frame_id, sample.frame_index, sample.log_name) == ("log-a/t9", 1, "log-a")
    assert sample.labels.tolist() == [0, 5, 0, 0]  # the animal is no class
    assert sample.num_points.tolist() == [6, 6, 6, 6]
    assert sample.velocity_valid.tolist() == [True, True, False, True]
    np.testing.assert_allclose(sample.boxes[1], [-3, 4, 0.9, 4, 1.8, 1.6, 0.3, 1.5, -0.5], atol=1e-6)
    np.testing.assert_array_equal(sample.boxes[2, 7:], 0.0)  # not valid: 0
    assert sample.points[:, 2].max() < 2.5
    own = sample.points[np.abs(sample.points[:, 3] - 0.2) < 1e-6]  # 51 of 255
    assert len(own) == 30
    assert (sample.points[:, 4:] == 0).all()


def test_classes_not_wanted_are_left_out(log_path: Path) -> None:
    only = FrameDataset([log_path], TOWN_CLASSES.only(("pedestrian",)), range_m=RANGE)[0]
    assert (only.labels.tolist(), only.boxes[:, 0].tolist()) == ([0], [-3.0])
    with pytest.raises(ValueError, match="unicorn"):
        TOWN_CLASSES.only(("unicorn",))
    with pytest.raises(ValueError, match="not in names"):
        ClassMap(("car",), {"a": "bus"})
    with pytest.raises(ValueError, match="repeat"):
        ClassMap(("car", "car"), {})


def test_boxes_outside_the_range_or_without_points_are_dropped(log_path: Path) -> None:
    cut = FrameDataset([log_path], NUSCENES_CLASSES, range_m=(0, -30, -2, 30, 30, 2.5))[0]
    assert (cut.boxes[:, 0] >= 0).all()
    assert len(cut.boxes) == 2
    high = (-30, -30, 2, 30, 30, 3.5)  # only clutter is up there, and no box centre
    assert len(FrameDataset([log_path], NUSCENES_CLASSES, range_m=high)[0].boxes) == 0
    few = FrameDataset([log_path], NUSCENES_CLASSES, range_m=RANGE, min_points=7)[0]
    assert len(few.boxes) == 0


def test_strides_and_sweeps(log_path: Path) -> None:
    assert len(FrameDataset([log_path], NUSCENES_CLASSES, frame_stride=2)) == 2
    single = FrameDataset([log_path], NUSCENES_CLASSES)[0]
    all_of = FrameDataset([log_path], NUSCENES_CLASSES, sweeps=10)[0]  # the log begins 4 sweeps before
    assert sorted(set(np.round(all_of.points[:, 5], 4).tolist())) == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert 4.5 * len(single.points) < len(all_of.points) < 5.5 * len(single.points)
    np.testing.assert_array_equal(all_of.points[: len(single.points)], single.points)  # the key sweep comes first


def test_an_empty_frame(tmp_path: Path) -> None:
    from hand_made_log import write_log

    dataset = FrameDataset([write_log(tmp_path, "empty", empty=True)], NUSCENES_CLASSES, augment=AugmentConfig())
    assert (dataset[0].points.shape, dataset[0].boxes.shape) == ((0, 6), (0, 9))
    assert dataset.presence().tolist() == [[False] * 10] * 3


def test_only_what_the_camera_sees(tmp_path: Path) -> None:
    names = ClassMap(("car",), {"Car": "car"})
    path = write_camera_log(tmp_path)
    seen = FrameDataset([path], names, view="CAM")[0]
    assert seen.points[:, 3].tolist() == [0.5, 0.5]
    np.testing.assert_allclose(seen.boxes[:, 0], [10.0, 10 * np.cos(np.pi / 6)], atol=1e-5)
    assert seen.frame_id == "view/0"
    assert len(FrameDataset([path], names)[0].boxes) == 4
    with pytest.raises(UserError, match=r"no camera 'X'; use one of \['CAM'\]"):
        FrameDataset([path], names, view="X")[0]
    with pytest.raises(UserError, match="no lidar"):
        FrameDataset([path], names, lidars=("X",))


def test_a_box_half_in_view_is_kept(tmp_path: Path) -> None:
    from drive.logs.store import Log
    from drive.samples.view import CameraView

    log = Log.open(write_camera_log(tmp_path))
    view = CameraView(log, log.frame(0), "CAM")
    boxes = np.array([[10.0, y, 0, 4, 2, 2, 0] for y in (0, 10.9, 13.5)])
    assert view.sees_boxes(boxes).tolist() == [True, True, False]
    assert view.sees(np.zeros((0, 3))).tolist() == view.sees_boxes(np.zeros((0, 7))).tolist() == []


def test_frames_without_a_sweep_are_left_out(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "gaps", dataset="x", source_version="1", licence="x") as log:
        log.add_sensor("L", "lidar", [0, 0, 0], [1, 0, 0, 0], columns=("x", "y", "z"))
        options = {"is_key_frame": True, "source_timestamp": 0, "source_name": "x"}
        row = log.add_sweep("L", 0, np.ones((5, 3), np.float32), [0, 0, 0], [1, 0, 0, 0], **options)
        for rows in ({}, {"L": row}, {}):
            log.add_frame(0, rows=rows, pose_translation=[0, 0, 0], pose_rotation=[1, 0, 0, 0], source_timestamp=0)
    dataset = FrameDataset([tmp_path / "gaps"], NUSCENES_CLASSES, ego_radius_m=0.0)
    assert [sample.frame_index for sample in (dataset[i] for i in range(len(dataset)))] == [1]
    assert dataset[0].points[:, 3].tolist() == [0.0] * 5  # no intensity column


def test_a_point_that_is_not_a_number_is_named(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "bad", dataset="x", source_version="1", licence="x") as log:
        log.add_sensor("L", "lidar", [0, 0, 0], [1, 0, 0, 0], columns=("x", "y", "z", "intensity"), intensity_max=1.0)
        cloud = np.ones((5, 4), np.float32)
        cloud[3, 3] = np.inf
        options = {"is_key_frame": True, "source_timestamp": 0, "source_name": "x"}
        row = log.add_sweep("L", 0, cloud * 9, [0, 0, 0], [1, 0, 0, 0], **options)
        log.add_frame(0, rows={"L": row}, pose_translation=[0, 0, 0], pose_rotation=[1, 0, 0, 0], source_timestamp=0)
    with pytest.raises(UserError, match=r"frame bad/0: points row 3 is not finite"):
        FrameDataset([tmp_path / "bad"], NUSCENES_CLASSES, range_m=(-99, -99, -99, 99, 99, 99))[0]


def test_intensity_without_a_scale_is_refused(tmp_path: Path) -> None:
    with LogWriter(tmp_path, "bad", dataset="x", source_version="1", licence="x") as log:
        log.add_sensor("L", "lidar", [0, 0, 0], [1, 0, 0, 0], columns=("x", "y", "z", "intensity"))
        options = {"is_key_frame": True, "source_timestamp": 0, "source_name": "x"}
        row = log.add_sweep("L", 0, np.ones((5, 4), np.float32), [0, 0, 0], [1, 0, 0, 0], **options)
        log.add_frame(0, rows={"L": row}, pose_translation=[0, 0, 0], pose_rotation=[1, 0, 0, 0], source_timestamp=0)
    with pytest.raises(UserError, match="no intensity_max"):
        FrameDataset([tmp_path / "bad"], NUSCENES_CLASSES)[0]


def test_workers_get_the_same_frames(log_path: Path) -> None:
    dataset = FrameDataset([log_path], NUSCENES_CLASSES, augment=AugmentConfig(), seed=4)
    copy = pickle.loads(pickle.dumps(dataset))
    a, b, other = dataset.item(2, epoch=1), copy.item(2, epoch=1), dataset.item(2, epoch=2)
    np.testing.assert_array_equal(a.points, b.points)
    assert not np.array_equal(a.boxes, other.boxes)


def test_logs_by_split(log_path: Path, tmp_path: Path) -> None:
    assert find_logs([log_path]) == find_logs([log_path.parent]) == find_logs([log_path], "train") == [log_path]
    with pytest.raises(UserError, match="no log of split 'val'"):
        find_logs([log_path], "val")
    with pytest.raises(UserError, match="no finished log"):
        find_logs([tmp_path])
    with pytest.raises(UserError, match="no such folder"):
        find_logs([tmp_path / "absent"])
    config = DataConfig(sweeps=2, range_m=RANGE)
    assert len(FrameDataset.of(config, [log_path])[0].points) > len(
        FrameDataset.of(DataConfig(range_m=RANGE), [log_path])[0].points
    )


def test_validate_names_what_is_wrong() -> None:
    from dataclasses import replace

    good = empty_sample()
    assert good.validate() is good
    wrong: list[FrameSample] = [
        replace(good, points=np.zeros((3, 5), np.float32)),
        replace(good, labels=np.zeros(2, np.int64)),
        replace(good, boxes=np.zeros((0, 9), np.float64)),
    ]
    for sample in wrong:
        with pytest.raises(UserError, match="expected"):
            sample.validate()
    box = np.array([[0, 0, 0, 1, 0, 1, 0, 0, 0]], np.float32)
    one = {"labels": np.zeros(1, np.int64), "velocity_valid": np.ones(1, bool), "num_points": np.ones(1, np.int64)}
    with pytest.raises(UserError, match="not positive"):
        replace(good, boxes=box, **one).validate()
    with pytest.raises(UserError, match="boxes row 0 is not finite"):
        replace(good, boxes=box * np.float32("nan"), **one).validate()
