"""AB3DMOT: hand-made sequences and bad input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import pytest

from drive.errors import UserError
from drive.tracks.ab3dmot import Ab3dmot, Ab3dmotConfig, Ab3dmotState
from drive.tracks.track import FrameDetections, TrackedFrame

PERIOD_NS = 100_000_000


def seen(frame: float, boxes: Sequence[tuple[float, ...]], labels: list[int] | None = None) -> FrameDetections:
    """Cars at (x, y) with a score of 0.9, or whole boxes x y z l w h yaw."""
    whole = [tuple(b) if len(b) == 7 else (b[0], b[1], 0.0, 4.0, 2.0, 1.5, 0.0) for b in boxes]
    count = len(boxes)
    return FrameDetections(
        round((frame + 1) * PERIOD_NS),
        np.concatenate([np.array(whole).reshape(count, 7), np.zeros((count, 2))], axis=1),
        np.zeros(count, bool),
        np.full(count, 0.9),
        np.zeros(count, np.int64) if labels is None else np.array(labels, np.int64),
        np.zeros((count, 0), np.float32),
    )


def run(tracker: Ab3dmot, frames: list[FrameDetections]) -> tuple[Ab3dmotState, list[TrackedFrame]]:
    state, out = tracker.start(), []
    for frame in frames:
        state, tracked = tracker.step(state, frame)
        out.append(tracked)
    return state, out


def cars(**changes: object) -> Ab3dmot:
    return replace(Ab3dmotConfig.kitti(("Car",)), **changes).build()  # type: ignore[arg-type]


def test_two_cars_keep_their_ids_and_get_their_speed() -> None:
    frames = [seen(f, [(10 + 0.5 * f, 0.0), (40 - 1.0 * f, 8.0)][:: 1 if f % 2 else -1]) for f in range(12)]
    _, out = run(cars(), frames)
    for tracked in out:
        order = np.argsort(tracked.boxes[:, 1])
        assert tracked.ids[order].tolist() == [2, 1]
        assert tracked.matched.all()
    last = out[-1].boxes[np.argsort(out[-1].boxes[:, 1])]
    np.testing.assert_allclose(last[:, 7], [5.0, -10.0], atol=0.05)  # metres a second: 0.5 m and -1 m in 0.1 s
    np.testing.assert_allclose(last[:, 0], [15.5, 29.0], atol=0.02)
    assert out[-1].velocity_valid.all()
    assert not out[0].velocity_valid.any()


def test_classes_are_never_matched_with_each_other() -> None:
    tracker = Ab3dmotConfig.kitti(("Car", "Pedestrian")).build()
    _, out = run(tracker, [seen(0, [(5.0, 0.0)], [0]), seen(1, [(5.0, 0.0)], [1])])
    assert out[1].labels.tolist() == [0, 1]
    assert out[1].ids.tolist() == [1, 2]
    assert out[1].matched.tolist() == [False, True]


def test_a_lost_frame_is_bridged_by_time_and_not_by_frames() -> None:
    # 1.5 m a frame; frame 6 is missing from the recording. In periods of the stamps the car is where it is looked for.
    frames = [seen(f, [(1.5 * f, 0.0)]) for f in range(12) if f != 6]
    _, by_stamps = run(cars(), frames)
    _, by_frames = run(cars(clock="frames"), frames)
    at = by_stamps[-1].boxes[0]
    assert {tuple(t.ids.tolist()) for t in by_stamps} == {(1,)}
    assert abs(at[7] - 15.0) < 0.01
    assert abs(at[0] - 16.5) < 0.01
    assert abs(by_frames[-1].boxes[0, 7] - 15.0) > 0.1


def test_with_one_period_between_frames_both_clocks_are_the_same() -> None:
    rng = np.random.default_rng(0)
    frames = [seen(f, [(10 + f + rng.normal(), rng.normal()), (30.0, 5.0 + rng.normal() / 5)]) for f in range(15)]
    a, b = (run(cars(clock=clock), frames)[0] for clock in ("stamps", "frames"))
    for field in fields(a):
        np.testing.assert_allclose(getattr(a, field.name), getattr(b, field.name), atol=1e-6)


def test_a_track_is_reported_after_min_hits_and_ends_after_max_age() -> None:
    shown = [seen(f, []) for f in range(5)] + [seen(f, [(3.0, 0.0)]) for f in range(5, 9)]
    state, out = run(cars(), [*shown, seen(9, []), seen(10, [])])
    # Reported at its third match; coasts one frame (max_age 2).
    assert [len(t) for t in out] == [0] * 7 + [1, 1, 1, 0]
    assert out[9].matched.tolist() == [False]
    assert out[9].ids.tolist() == [1]
    assert len(state.ids) == 0
    assert state.next_id == 2


def test_a_turned_box_turns_the_track_by_half_a_turn() -> None:
    boxes = [(5.0, 0.0, 0.0, 4.0, 2.0, 1.5, yaw) for yaw in (3.1, 3.1 - np.pi, -3.1, 0.05)]
    _, out = run(cars(), [seen(f, [b]) for f, b in enumerate(boxes)])
    assert [len(t) for t in out] == [1, 1, 1, 1]
    assert abs(np.cos(out[1].boxes[0, 6]) - 1) < 0.01
    assert abs(np.cos(out[2].boxes[0, 6]) + 1) < 0.01
    assert abs(np.cos(out[3].boxes[0, 6]) - 1) < 0.01


def test_the_anchor_is_the_point_that_is_filtered() -> None:
    # A box that grows by a metre on firm ground: its bottom stays, so that only its height changes.
    frames = [seen(0, [(0, 0, 1.0, 4, 2, 2.0, 0)]), seen(1, [(0, 0, 1.5, 4, 2, 3.0, 0)])]
    bottom, centre = (run(cars(anchor=anchor), frames)[1][-1].boxes[0] for anchor in ("bottom", "centre"))
    assert abs(bottom[2] - bottom[5] / 2) < 1e-12
    assert abs(centre[2] - centre[5] / 2) > 1e-3


def test_a_state_is_left_as_it_is_and_can_be_continued() -> None:
    rng = np.random.default_rng(1)
    frames = [seen(f, [(10 + f, 0.0), (40.0, 8.0 + rng.normal())]) for f in range(6)]
    tracker = cars()
    state, _ = run(tracker, frames[:3])
    before = {field.name: np.array(getattr(state, field.name)) for field in fields(state)}
    one, tracked = tracker.step(state, frames[3])
    for name, value in before.items():
        assert np.array_equal(getattr(state, name), value)
    other, again = tracker.step(state, frames[3])
    for a, b in ((one, other), (tracked, again)):
        assert all(np.array_equal(getattr(a, field.name), getattr(b, field.name)) for field in fields(a))


@pytest.mark.parametrize(("frame", "words"), [(3, "repeats"), (2.5, "earlier")])
def test_time_must_go_on(frame: float, words: str) -> None:
    tracker = cars()
    state, _ = run(tracker, [seen(3, [(0.0, 0.0)])])
    with pytest.raises(UserError, match=words):
        tracker.step(state, seen(frame, [(0.0, 0.0)]))


def test_a_long_gap_ends_the_tracks() -> None:
    state, out = run(cars(), [seen(0, [(0.0, 0.0)]), seen(1, [(1.0, 0.0)]), seen(3.9, [(1.0, 0.0)])])
    assert out[-1].ids.tolist() == [2]
    assert state.ids.tolist() == [2]


def test_nothing_found_and_an_empty_sequence() -> None:
    state, out = run(cars(), [seen(f, []) for f in range(3)])
    assert [len(t) for t in out] == [0, 0, 0]
    assert state.frames == 3
    assert out[0].boxes.shape == (0, 9)


def test_unusable_detections_are_left_out_and_counted() -> None:
    frame = seen(0, [(0.0, 0.0), (20.0, 0.0), (40.0, 0.0), (60.0, 0.0), (80.0, 0.0), (100.0, 0.0)])
    frame.boxes[0, 0], frame.boxes[1, 6], frame.boxes[2, 3], frame.scores[3] = np.nan, np.inf, 0.0, np.nan
    frame.boxes[4, 7] = np.nan  # the velocity is not used: no harm
    state, out = run(cars(), [frame])
    assert state.left_out == 4
    assert out[0].detection.tolist() == [4, 5]
    assert np.isfinite(out[0].boxes).all()


def test_equal_boxes_are_two_objects() -> None:
    _, out = run(cars(), [seen(f, [(0.0, 0.0), (0.0, 0.0)]) for f in range(4)])
    assert {tuple(t.ids.tolist()) for t in out} == {(1, 2)}
    assert out[-1].matched.all()
    assert sorted(out[-1].detection.tolist()) == [0, 1]


def test_thousands_of_detections() -> None:
    rng = np.random.default_rng(2)
    x, y = np.meshgrid(np.arange(60) * 8.0, np.arange(50) * 8.0)
    frames = [
        seen(f, list(zip(x.ravel() + rng.normal(0, 0.1, 3000), y.ravel() + rng.normal(0, 0.1, 3000), strict=True)))
        for f in range(4)
    ]
    _, out = run(cars(), frames)
    assert all(np.array_equal(t.ids, np.arange(1, 3001)) and t.matched.all() for t in out)


def test_unknown_class_names_are_refused() -> None:
    with pytest.raises(UserError, match="Tram"):
        Ab3dmotConfig.kitti(("Car", "Tram"))


def test_a_label_outside_the_classes_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="labels"):
        run(cars(), [seen(0, [(0.0, 0.0)], [1])])
