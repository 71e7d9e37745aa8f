"""What every baseline does with bad input, and that a step leaves the state that it was given as it is."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from drive.errors import UserError
from drive.tracks.ab3dmot import Ab3dmotConfig
from drive.tracks.center_greedy import CenterGreedyConfig
from drive.tracks.simple_track import SimpleTrackConfig
from tests.tracks.track_world import run, seen, street

CONFIGS = {"ab3dmot": Ab3dmotConfig, "center_greedy": CenterGreedyConfig, "simple_track": SimpleTrackConfig}


@pytest.fixture(params=CONFIGS)
def config(request: pytest.FixtureRequest) -> Any:
    return CONFIGS[request.param].kitti()


def equal(a: Any, b: Any) -> bool:
    return all(np.array_equal(getattr(a, field.name), getattr(b, field.name)) for field in fields(a))


def test_a_step_leaves_its_state_and_its_detections_as_they_are(config: Any) -> None:
    tracker, frames = config.build(), street(8)
    state, _ = run(tracker, frames[:7])
    before = {f.name: np.copy(getattr(state, f.name)) for f in fields(state)}
    given = {f.name: np.copy(getattr(frames[7], f.name)) for f in fields(frames[7])}
    one = tracker.step(state, frames[7])
    assert all(np.array_equal(getattr(state, name), value) for name, value in before.items())
    assert all(np.array_equal(getattr(frames[7], name), value) for name, value in given.items())
    other = tracker.step(state, frames[7])
    assert len(one[1]) > 3
    assert equal(one[0], other[0])
    assert equal(one[1], other[1])


@pytest.mark.parametrize(("frame", "words"), [(3, "repeats"), (2.5, "earlier")])
def test_time_must_go_on(config: Any, frame: float, words: str) -> None:
    tracker = config.build()
    state, _ = run(tracker, [seen(3, [(0.0, 0.0)])])
    with pytest.raises(UserError, match=words):
        tracker.step(state, seen(frame, [(0.0, 0.0)]))


def test_nothing_found(config: Any) -> None:
    state, out = run(config.build(), [seen(f, []) for f in range(3)])
    assert [len(t) for t in out] == [0, 0, 0]
    assert state.frames == 3
    assert out[0].boxes.shape == (0, 9)


def test_nothing_found_between_two_frames(config: Any) -> None:
    frames = [seen(f, [] if f == 4 else [(5.0, 3.0)]) for f in range(7)]
    _, out = run(config.build(), frames)
    assert {i for t in out for i in t.ids.tolist()} == {1}
    assert out[-1].matched.tolist() == [True]


def test_unusable_detections_are_left_out_and_counted(config: Any) -> None:
    frame = seen(0, [(20.0 * k, 0.0) for k in range(7)], velocities=[(0.0, 0.0)] * 7)
    frame.boxes[0, 0], frame.boxes[1, 6], frame.boxes[2, 3], frame.scores[3] = np.nan, np.inf, 0.0, np.nan
    frame.boxes[4, 7], frame.boxes[5, 1] = np.nan, -1e12  # a velocity that is none does no harm
    state, out = run(config.build(), [frame, seen(1, [(80.0, 0.0), (120.0, 0.0)])])
    assert state.left_out == 5
    assert sorted(out[0].detection.tolist()) == [4, 6]
    assert len(out[1]) == 2
    for tracked in out:
        assert np.isfinite(tracked.boxes).all()
        assert np.isfinite(tracked.scores).all()


def test_all_detections_unusable(config: Any) -> None:
    frame = seen(0, [(0.0, 0.0)])
    frame.boxes[:] = np.nan
    state, out = run(config.build(), [frame])
    assert state.left_out == 1
    assert len(out[0]) == 0


def test_a_long_gap_ends_all_tracks(config: Any) -> None:
    frames = [seen(f, [(0.0, 0.0)]) for f in range(4)]
    _, out = run(config.build(), [*frames, seen(60, [(0.0, 0.0)])])
    assert {i for t in out[:4] for i in t.ids.tolist()} == {1}
    state, _ = run(config.build(), [*frames, seen(60, [(0.0, 0.0)])])
    assert state.ids.tolist() == [2]


def test_a_long_gap_is_one_frame_where_frames_are_counted(config: Any) -> None:
    frames = [seen(f, [(0.0, 0.0)]) for f in range(4)]
    state, _ = run(replace(config, clock="frames").build(), [*frames, seen(60, [(0.0, 0.0)])])
    assert state.ids.tolist() == [1]


def test_thousands_of_detections(config: Any) -> None:
    rng = np.random.default_rng(2)
    x, y = np.meshgrid(np.arange(60) * 12.0, np.arange(50) * 12.0)
    place = np.stack([x.ravel(), y.ravel()], axis=1)
    frames = [seen(f, [tuple(p) for p in place + rng.normal(0, 0.1, place.shape)]) for f in range(4)]
    _, out = run(config.build(), frames)
    for tracked in out:
        assert np.array_equal(np.sort(tracked.ids), np.arange(1, 3001))
        assert tracked.matched.all()


def test_many_detections_on_one_spot(config: Any) -> None:
    rng = np.random.default_rng(3)
    frames = [seen(f, [tuple(p) for p in rng.normal(0, 0.01, (300, 2))]) for f in range(3)]
    _, out = run(config.build(), frames)
    for tracked in out:
        assert len(set(tracked.ids.tolist())) == len(tracked) > 0
        assert np.isfinite(tracked.boxes).all()


def test_a_label_outside_the_classes_is_a_mistake_of_the_caller(config: Any) -> None:
    with pytest.raises(ValueError, match="labels"):
        run(config.build(), [seen(0, [(0.0, 0.0)], [3])])


def test_a_class_without_parameters_is_named() -> None:
    for config in CONFIGS.values():
        with pytest.raises(UserError, match="Tram"):
            config.kitti(("Car", "Tram"))  # type: ignore[attr-defined]
