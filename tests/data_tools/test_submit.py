"""Waymo's submission files: bytes that one can check by hand, and back again."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_tools.submit import (
    CYCLIST,
    DETECTION_3D,
    TRACKING_3D,
    VEHICLE,
    Method,
    MotionPrediction,
    SubmittedBoxes,
    read_waymo_boxes,
    read_waymo_motion,
    write_waymo_boxes,
    write_waymo_motion,
)
from data_tools.submit_messages import MOTION, SUBMISSION
from data_tools.wire import decode
from drive.errors import UserError
from tests.data_tools.fuzzing import check_reader

METHOD = Method("me@example.org", "ours", ("A", "B"), "somewhere", "words", "https://example.org")


def some_boxes(tracked: bool = False) -> SubmittedBoxes:
    rng = np.random.default_rng(0)
    return SubmittedBoxes(
        context=["seg-a", "seg-a", "seg-b"],
        timestamp_us=np.array([1_500_000_000_000_000, 1_500_000_000_000_000, 7]),
        boxes=rng.uniform(0.5, 30.0, (3, 7)),
        label=np.array([VEHICLE, CYCLIST, VEHICLE]),
        score=np.array([0.5, 0.25, 1.0]),  # exact in float32
        track=["t0", "t1", "t0"] if tracked else None,
        velocity=rng.normal(0, 3, (3, 2)) if tracked else None,
        overlaps_nlz=np.array([False, True, False]),
    )


def motion() -> list[MotionPrediction]:
    rng = np.random.default_rng(1)
    return [
        MotionPrediction(name, number, rng.normal(0, 50, (modes, 16, 2)).astype(np.float32), np.full(modes, 0.25))
        for name, number, modes in (("aa", 3, 6), ("aa", 9, 1), ("bb", 3, 2))
    ]


def test_the_bytes_of_one_object(tmp_path: Path) -> None:
    path = tmp_path / "objects.bin"
    one = SubmittedBoxes(["s"], np.array([5]), np.array([[1.0, 2, 3, 4, 5, 6, 0.5]]), np.array([2]), np.array([0.5]))
    write_waymo_boxes(path, one)
    values = (1.0, 2.0, 3.0, 5.0, 4.0, 6.0, 0.5)  # width before length
    box = b"".join(bytes([number << 3 | 1]) + struct.pack("<d", v) for number, v in enumerate(values, 1))
    label = b"\x0a" + bytes([len(box)]) + box + b"\x18\x02"
    content = b"\x0a" + bytes([len(label)]) + label + b"\x15" + struct.pack("<f", 0.5) + b"\x22\x01s" + b"\x28\x05"
    assert path.read_bytes() == b"\x0a" + bytes([len(content)]) + content


@pytest.mark.parametrize("task", [DETECTION_3D, TRACKING_3D])
def test_boxes_come_back(tmp_path: Path, task: int) -> None:
    path, written = tmp_path / "boxes.bin", some_boxes(task == TRACKING_3D)
    write_waymo_boxes(path, written, task, METHOD, past_frames=2, latency_s=0.125)
    write_waymo_boxes(tmp_path / "objects.bin", written, task)
    content = decode(path.read_bytes(), SUBMISSION)
    assert content["task"] == task
    assert content["authors"] == ["A", "B"]
    assert content["object_types"].tolist() == [1, 4]
    assert (content["sensor_type"], content["latency_second"]) == (1, 0.125)
    for found in (read_waymo_boxes(path), read_waymo_boxes(tmp_path / "objects.bin", as_submission=False)):
        assert found.context == written.context
        assert found.track == written.track
        for name in ("timestamp_us", "boxes", "label", "score", "overlaps_nlz"):
            np.testing.assert_array_equal(getattr(found, name), getattr(written, name))
        if task == TRACKING_3D:
            np.testing.assert_array_equal(found.velocity, written.velocity)
        else:
            assert found.velocity is None


def test_no_boxes(tmp_path: Path) -> None:
    path = tmp_path / "none.bin"
    none = SubmittedBoxes([], np.zeros(0, np.int64), np.zeros((0, 7)), np.zeros(0, np.int64), np.zeros(0))
    write_waymo_boxes(path, none, DETECTION_3D, METHOD)
    assert len(read_waymo_boxes(path)) == 0


def test_motion_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "motion.bin"
    write_waymo_motion(path, motion(), METHOD)
    content = decode(path.read_bytes(), MOTION)
    assert content["submission_type"] == 1
    assert [s["scenario_id"] for s in content["scenario_predictions"]] == ["aa", "bb"]
    for found, written in zip(read_waymo_motion(path), motion(), strict=True):
        assert (found.scenario_id, found.object_id) == (written.scenario_id, written.object_id)
        np.testing.assert_array_equal(found.trajectories, written.trajectories)
        np.testing.assert_array_equal(found.confidence, written.confidence)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"boxes": np.full((3, 7), np.nan)}, "3 boxes are not finite, the first in seg-a at 1500000000000000 us"),
        ({"boxes": np.zeros((3, 7))}, "size of 0 or less"),
        ({"score": np.array([0.5, 1.5, 0.5])}, "1 boxes have a score outside"),
        ({"label": np.array([1, 0, 1])}, "no type of Waymo's"),
        ({"track": None}, "boxes without tracks"),
        ({"track": ["a", "a", "a"], "label": np.array([1, 1, 1])}, "1 boxes repeat a track"),
    ],
)
def test_boxes_that_are_refused(tmp_path: Path, change: dict[str, object], line: str) -> None:
    boxes = replace(some_boxes(True), **change)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=line):
        write_waymo_boxes(tmp_path / "x.bin", boxes, TRACKING_3D)
    assert not list(tmp_path.iterdir())


def test_motion_that_is_refused(tmp_path: Path) -> None:
    path, good = tmp_path / "x.bin", motion()
    for bad, line in (
        (replace(good[0], trajectories=np.zeros((7, 16, 2))), r"shape \(7, 16, 2\)"),
        (replace(good[0], trajectories=np.zeros((6, 80, 2))), "16 points"),
        (replace(good[0], confidence=np.full(6, np.nan)), "not finite"),
        (replace(good[1], object_id=3), "predicted twice"),
    ):
        with pytest.raises(UserError, match=line):
            write_waymo_motion(path, [good[0], bad] if "twice" in line else [bad], METHOD)


def test_damaged_files(tmp_path: Path) -> None:
    boxes, predictions = tmp_path / "boxes.bin", tmp_path / "motion.bin"
    write_waymo_boxes(boxes, some_boxes(True), TRACKING_3D, METHOD)
    write_waymo_motion(predictions, motion(), METHOD)
    check_reader(read_waymo_boxes, boxes)
    check_reader(read_waymo_motion, predictions)
    boxes.write_bytes(b"")
    with pytest.raises(UserError, match="is no Submission"):
        read_waymo_boxes(boxes)
    with pytest.raises(UserError, match="No such file"):
        read_waymo_boxes(tmp_path / "nothing.bin")
