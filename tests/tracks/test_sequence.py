"""Stored detections to a tracker's frames, and the tracks file: every number back, empty frames included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from drive.boxes.detections import DetectionSet
from drive.errors import UserError
from drive.geometry.rigid import quaternion_from_yaw
from drive.logs.store import Log
from drive.logs.writer import LogWriter
from drive.tracks.sequence import (
    TrackSet,
    join_sets,
    log_detections,
    read_tracks,
    run_tracker,
    track_log,
    write_tracks,
)
from drive.tracks.track import FrameDetections, TrackedFrame

CLASSES = ("car", "pedestrian")
PERIOD_NS = 100_000_000


def log_of(root: Path, name: str = "one", frames: int = 3) -> Log:
    """Frame k: the ego at (100 + k, 50), turned to the left by 90 degrees, at k * 0.1 s."""
    with LogWriter(root, name, dataset="hand-made", source_version="1", licence="CC0-1.0", split="train") as log:
        for k in range(frames):
            log.add_frame(
                k * PERIOD_NS,
                rows={},
                pose_translation=[100.0 + k, 50, 0],
                pose_rotation=quaternion_from_yaw(np.pi / 2),
                source_timestamp=k,
                source_token=f"t{k}",
            )
    return Log.open(root / name)


def found_of(name: str, counts: Sequence[int], indices: Sequence[int]) -> DetectionSet:
    """counts[f] detections on frame indices[f]: detection d stands d metres before the ego and drives 1 m/s forward."""
    n = sum(counts)
    boxes = np.tile(np.array([0.0, 0, 1, 4, 2, 1.5, 0, 1, 0]), (n, 1))
    boxes[:, 0] = np.arange(n)
    return DetectionSet(
        ("truck", "pedestrian", "car"),
        [f"{name}/t{i}" for i in indices],
        [name] * len(indices),
        list(indices),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes,
        np.linspace(0.9, 0.5, n),
        np.arange(n) % 3,
        np.arange(n) % 2 == 0,
        np.arange(2.0 * n).astype(np.float32).reshape(n, 2),
    )


@dataclass(frozen=True)
class Counter:
    """A tracker that calls every detection a new object."""

    class_names: tuple[str, ...] = CLASSES

    def start(self) -> int:
        return 0

    def step(self, state: int, detections: FrameDetections) -> tuple[int, TrackedFrame]:
        return state + len(detections), tracked(detections, state)


def tracked(detections: FrameDetections, first: int) -> TrackedFrame:
    n = len(detections)
    return TrackedFrame(
        timestamp_ns=detections.timestamp_ns,
        ids=np.arange(first, first + n),
        boxes=detections.boxes,
        scores=detections.scores,
        labels=detections.labels,
        velocity_valid=detections.velocity_valid,
        acceleration=np.full((n, 2), 0.5),
        acceleration_valid=np.ones(n, dtype=bool),
        sigma=np.full((n, 4), 0.25),
        sigma_valid=np.ones(n, dtype=bool),
        detection=np.arange(n),
        matched=np.ones(n, dtype=bool),
    )


def test_boxes_come_in_the_fixed_frame(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    first, last = log_detections(log, found_of("one", [3, 3], [0, 2]), CLASSES)
    assert (first.timestamp_ns, last.timestamp_ns) == (0, 2 * PERIOD_NS)
    # The truck (detection 0) is no class of the tracker. Forward is +y; detection 1 has no velocity.
    assert first.labels.tolist() == [1, 0]
    np.testing.assert_allclose(first.boxes[:, :3], [[100, 51, 1], [100, 52, 1]], atol=1e-9)
    np.testing.assert_allclose(first.boxes[:, 6], np.pi / 2)
    np.testing.assert_allclose(first.boxes[:, 7:], [[0, 0], [0, 1]], atol=1e-12)
    assert first.velocity_valid.tolist() == [False, True]
    assert first.features.tolist() == [[2, 3], [4, 5]]
    np.testing.assert_allclose(last.ego, [102, 50, 0, np.pi / 2])
    np.testing.assert_allclose(last.boxes[:, :2], [[102, 54], [102, 55]], atol=1e-9)


def test_the_case_of_a_class_name_does_not_matter(tmp_path: Path) -> None:
    (frame,) = log_detections(log_of(tmp_path), found_of("one", [3], [0]), ("Car", "Truck"))
    assert frame.labels.tolist() == [1, 0]


def test_empty_frames_are_frames_and_scores_cut(tmp_path: Path) -> None:
    log, found = log_of(tmp_path), found_of("one", [2, 0, 3], [0, 1, 2])
    assert [len(f) for f in log_detections(log, found, CLASSES)] == [1, 0, 2]
    assert [len(f) for f in log_detections(log, found, CLASSES, min_score=0.65)] == [1, 0, 1]
    nothing = found_of("one", [0, 0, 0], [0, 1, 2])
    assert [len(f) for f in log_detections(log, nothing, CLASSES)] == [0, 0, 0]


def test_frames_come_in_the_order_of_the_log(tmp_path: Path) -> None:
    frames = list(log_detections(log_of(tmp_path), found_of("one", [1, 2, 3], [2, 0, 1]), ("truck", *CLASSES)))
    assert [f.timestamp_ns for f in frames] == [0, PERIOD_NS, 2 * PERIOD_NS]
    assert [len(f) for f in frames] == [2, 3, 1]


@pytest.mark.parametrize(
    ("found", "classes", "message"),
    [
        (found_of("two", [1], [0]), CLASSES, "the detections hold no frame of this log"),
        (found_of("one", [1], [3]), CLASSES, "name frame 3, the log has 3"),
        (found_of("one", [1], [-1]), CLASSES, "name frame -1"),
        (found_of("one", [1, 1], [1, 1]), CLASSES, "hold frame 1 twice"),
        (found_of("one", [1], [0]), ("Cyclist",), "detections of truck, pedestrian, car; the tracker knows Cyclist"),
    ],
)
def test_detections_of_something_else(
    found: DetectionSet, classes: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    log = log_of(tmp_path)
    with pytest.raises(UserError, match=message):
        log_detections(log, found, classes)


def tracks(tmp_path: Path, name: str = "one") -> TrackSet:
    return track_log(Counter(), log_of(tmp_path, name), found_of(name, [2, 0, 3], [0, 1, 2]))


def test_every_number_comes_back(tmp_path: Path) -> None:
    given = tracks(tmp_path)
    write_tracks(tmp_path / "tracks.arrow", given)
    back = read_tracks(tmp_path / "tracks.arrow")
    assert given.offsets.tolist() == [0, 1, 1, 3]
    assert given.frame_ids == ["one/t0", "one/t1", "one/t2"]
    assert given.ids.tolist() == [0, 1, 2]
    for field in fields(TrackSet):
        a, b = getattr(given, field.name), getattr(back, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        else:
            assert a == b
    one = back.frame(2)
    assert {f.name for f in fields(TrackedFrame)} <= {f.name for f in fields(TrackSet)} | {"timestamp_ns"}
    assert (one.timestamp_ns, one.ids.tolist(), one.boxes.shape) == (2 * PERIOD_NS, [1, 2], (2, 9))


def test_sets_are_joined_and_parted(tmp_path: Path) -> None:
    one, two = tracks(tmp_path, "one"), tracks(tmp_path, "two")
    both = join_sets([one, two])
    assert both.frames_of("two") == [3, 4, 5]
    assert both.offsets.tolist() == [0, 1, 1, 3, 4, 4, 6]
    again = both.select(both.frames_of("two"))
    assert again.frame_ids == two.frame_ids
    np.testing.assert_array_equal(again.boxes, two.boxes)
    assert join_sets([], CLASSES).ids.shape == (0,)
    with pytest.raises(ValueError, match="the same log"):
        join_sets([one, one])
    with pytest.raises(ValueError, match="class names"):
        join_sets([one, replace(two, class_names=("car", "bus"))])


def test_nothing_tracked_at_all(tmp_path: Path) -> None:
    none = TrackSet.join(CLASSES, ["a/0"], ["a"], [0], [tracked(FrameDetections.empty(5), 0)])
    for given in (none, TrackSet.join(CLASSES, [], [], [], [])):
        write_tracks(tmp_path / "tracks.arrow", given)
        back = read_tracks(tmp_path / "tracks.arrow")
        assert back.boxes.shape == (0, 9)
        assert back.sigma.shape == (0, 4)
        assert back.frame_ids == given.frame_ids
    assert run_tracker(Counter(), []) == []


def test_files_that_are_no_tracks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_tracks(tmp_path / "none.arrow")
    (tmp_path / "text.arrow").write_text("hello")
    with pytest.raises(UserError, match="not a tracks file"):
        read_tracks(tmp_path / "text.arrow")
    write_tracks(tmp_path / "tracks.arrow", tracks(tmp_path))
    whole = (tmp_path / "tracks.arrow").read_bytes()
    (tmp_path / "cut.arrow").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="not a tracks file"):
        read_tracks(tmp_path / "cut.arrow")
    table = pa.ipc.open_file(tmp_path / "tracks.arrow").read_all().drop_columns(["sigma"])
    with pa.ipc.new_file(tmp_path / "lost.arrow", table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(UserError, match=r"not those of tracks .*sigma"):
        read_tracks(tmp_path / "lost.arrow")
    with pytest.raises(UserError, match="cannot be written"):
        write_tracks(tmp_path / "nowhere" / "t.arrow", tracks(tmp_path, "three"))
