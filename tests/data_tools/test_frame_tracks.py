"""Tracks against poses: mirrored frames and inverted poses are named, right logs are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools import av2
from data_tools.frame_doctor import diagnose_logs
from data_tools.frame_tracks import diagnose_tracks, spread, tracks_of_logs
from drive.geometry.rigid import from_translation_rotation, invert, quaternion_from_yaw, transform_points
from drive.logs.store import Log, list_logs
from drive.logs.writer import LogWriter


def drive_past(seed: int, turn: float = 0.15, start_yaw: float = 0.4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, poses and ego positions: 12 things that stand and 6 that move, seen from a vehicle that turns."""
    rng = np.random.default_rng(seed)
    start, speed = rng.uniform(-40, 40, (18, 3)), np.zeros((18, 3))
    speed[12:, :2] = rng.uniform(-8, 8, (6, 2))
    ids, poses, positions = [], [], []
    for step in range(10):
        pose = from_translation_rotation(
            [2000 + 3.0 * step, -700 + step, 5], quaternion_from_yaw(start_yaw + turn * step)
        )
        world = start + speed * step / 2 + [2010, -700, 0]
        ids.append(np.arange(18))
        poses.append(np.broadcast_to(pose, (18, 4, 4)))
        positions.append(transform_points(invert(pose), world))
    return np.concatenate(ids), np.concatenate(poses), np.concatenate(positions)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(-0.3, 0.3))
def test_right_tracks_are_silent(seed: int, turn: float) -> None:
    assert diagnose_tracks(*drive_past(seed, turn)) == []


@pytest.mark.parametrize("seed", range(3))
def test_names_each_fault(seed: int) -> None:
    ids, poses, positions = drive_past(seed)
    (mirrored,) = diagnose_tracks(ids, poses, positions * [1, -1, 1])
    assert mirrored.code == "left_handed_frames"
    assert "12 of 18 tracks" in mirrored.what
    (inverted,) = diagnose_tracks(ids, invert(poses), positions)
    assert inverted.code == "inverted_poses"


def test_nothing_to_say() -> None:
    ids, poses, positions = drive_past(0, turn=0.0, start_yaw=float(np.arctan2(1, 3)))
    assert diagnose_tracks(ids, poses, positions * [1, -1, 1]) == []  # straight on, a mirror image is as good
    assert diagnose_tracks(ids[:0], poses[:0], positions[:0]) == []
    assert diagnose_tracks(ids[:36], poses[:36], positions[:36] * [1, -1, 1]) == []  # two sightings prove nothing


def test_spread() -> None:
    places = np.array([[0, 0, 9], [3, 1, -9], [5, 5, 0], [0, -7, 0]])
    assert spread(np.array([0, 0, 1, 3]), places).tolist() == [3, 0, 0, 0]
    assert spread(np.zeros(0, np.int64), np.zeros((0, 3))).tolist() == []


def test_a_log(tmp_path: Path) -> None:
    ids, poses, positions = drive_past(1)
    with LogWriter(tmp_path, "log", dataset="made_up", source_version="1", licence="none") as log:
        for step in range(10):
            rows = slice(18 * step, 18 * step + 18)
            yaw = 0.4 + 0.15 * step
            frame = log.add_frame(
                step, rows={}, pose_translation=poses[rows][0][:3, 3], pose_rotation=quaternion_from_yaw(yaw),
                source_timestamp=step,
            )  # fmt: skip
            boxes = np.concatenate([positions[rows] * [1, -1, 1], np.ones((18, 3)), np.zeros((18, 3))], axis=1)
            log.add_boxes(
                frame, boxes, ["car"] * 18, [str(i) for i in ids[rows]], velocity_valid=np.zeros(18, bool),
                source_translation=boxes[:, :3], source_size=boxes[:, 3:6], source_rotation=np.ones((18, 4)) / 2,
            )  # fmt: skip
    assert [d.code for d in diagnose_logs([tmp_path / "log"])["made_up"]] == ["left_handed_frames"]


def test_real_tracks(real_data: Path, tmp_path: Path) -> None:
    for spec in av2.list_logs(real_data / "av2/sensor", av2.Options()):
        av2.convert_log(real_data, spec, tmp_path, av2.Options())
    ids, poses, positions = tracks_of_logs([Log.open(path) for path in list_logs(tmp_path)])
    assert len(np.unique(ids)) == 114
    assert diagnose_tracks(ids, poses, positions) == []
    assert [d.code for d in diagnose_tracks(ids, poses, positions * [1, -1, 1])] == ["left_handed_frames"]
    assert [d.code for d in diagnose_tracks(ids, invert(poses), positions)] == ["inverted_poses"]
