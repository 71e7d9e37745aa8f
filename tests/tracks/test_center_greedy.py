"""CenterPoint's greedy tracker on hand-made sequences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from drive.tracks.center_greedy import CenterGreedy, CenterGreedyConfig
from tests.tracks.track_world import run, seen


def vehicles(**changes: object) -> CenterGreedy:
    return replace(CenterGreedyConfig.waymo(("vehicle", "pedestrian")), **changes).build()  # type: ignore[arg-type]


def cars(**changes: object) -> CenterGreedy:
    return replace(CenterGreedyConfig.kitti(("Car",)), **changes).build()  # type: ignore[arg-type]


def test_a_detection_is_moved_back_by_its_velocity() -> None:
    # 3 m in a frame, the gate is 0.8 m: only the measured velocity makes them one object.
    fast = [seen(f, [(3.0 * f, 0.0)], velocities=[(30.0, 0.0)]) for f in range(3)]
    _, out = run(vehicles(), fast)
    assert [t.ids.tolist() for t in out] == [[1], [1], [1]]
    still = [seen(f, [(3.0 * f, 0.0)], velocities=[(0.0, 0.0)]) for f in range(3)]
    _, out = run(vehicles(), still)
    assert [t.ids.tolist() for t in out] == [[1], [2], [3]]


def test_the_step_is_as_long_as_the_stamps_say() -> None:
    frames = [seen(f, [(3.0 * f, 0.0)], velocities=[(30.0, 0.0)]) for f in (0, 1, 2.5, 3)]
    _, out = run(vehicles(), frames)
    assert [t.ids.tolist() for t in out] == [[1]] * 4


def test_the_best_detection_chooses_first() -> None:
    # Both are within 0.8 m of the track; the far one has the better score and takes it.
    frames = [seen(0, [(0.0, 0.0)]), seen(1, [(0.1, 0.0), (0.6, 0.0)], scores=[0.8, 0.95])]
    _, out = run(vehicles(), frames)
    assert dict(zip(out[1].detection.tolist(), out[1].ids.tolist(), strict=True)) == {1: 1, 0: 2}


def test_each_class_has_its_gate_and_no_class_takes_the_other() -> None:
    frames = [seen(0, [(0.0, 0.0), (9.0, 0.0)], [0, 1]), seen(1, [(0.5, 0.0), (9.5, 0.0)], [0, 1])]
    _, out = run(vehicles(), frames)
    assert out[1].ids.tolist() == [1, 3]  # 0.5 m: within a vehicle's gate, not within a pedestrian's
    _, out = run(vehicles(), [seen(0, [(0.0, 0.0)], [0]), seen(1, [(0.0, 0.0)], [1])])
    assert out[1].ids.tolist() == [2]


def test_a_track_needs_a_good_score_to_begin_and_none_to_go_on() -> None:
    frames = [seen(f, [(0.0, 0.0)], scores=[s]) for f, s in enumerate((0.75, 0.76, 0.1))]
    _, out = run(vehicles(), frames)
    assert [t.ids.tolist() for t in out] == [[], [1], [1]]
    assert out[2].scores.tolist() == [0.1]


def test_a_lost_track_moves_on_unreported_and_is_found_again() -> None:
    frames = [
        seen(f, [(2.0 * f, 0.0)] if f not in (3, 4) else [], velocities=[(20.0, 0.0)][: f not in (3, 4)])
        for f in range(6)
    ]
    _, out = run(vehicles(), frames)
    assert [t.ids.tolist() for t in out] == [[1], [1], [1], [], [], [1]]
    frames[5] = seen(5, [], velocities=[])
    _, out = run(vehicles(), [*frames, seen(6, [(12.0, 0.0)], velocities=[(20.0, 0.0)])])
    assert out[-1].ids.tolist() == [2]


def test_the_published_way_to_coast_repeats_the_last_step() -> None:
    # The step before the loss was 0.1 s, the lost one 0.2 s: 2 m by the published way, 4 m by the stamps.
    frames = [seen(f, [(20.0 * 0.1 * f, 0.0)], velocities=[(20.0, 0.0)]) for f in range(3)] + [
        seen(4, [], velocities=[]),
        seen(5, [(10.0, 0.0)], velocities=[(20.0, 0.0)]),
    ]
    _, by_stamps = run(vehicles(), frames)
    _, published = run(vehicles(coast="last"), frames)
    assert by_stamps[-1].ids.tolist() == [1]
    assert published[-1].ids.tolist() == [2]


def test_without_measured_velocities_the_track_is_moved_forward() -> None:
    # 2.5 m a frame with gates of 4 m: the second object follows 5 m behind, at the place where the first one was.
    frames = [seen(f, [(2.5 * f, 0.0), (2.5 * f - 5.0, 0.0)]) for f in range(6)]
    _, out = run(cars(), frames)
    assert all(sorted(t.ids.tolist()) == [1, 2] for t in out)
    np.testing.assert_allclose(out[-1].boxes[:, 7], 25.0)
    assert out[-1].velocity_valid.all()
    assert not out[0].velocity_valid.any()
    fast = [seen(f, [(3.0 * f + 2.0 * max(f - 1, 0), 0.0)]) for f in range(4)]  # 3 m, then 5 m a frame
    _, moved = run(cars(), fast)
    _, still = run(cars(missing_velocity="still"), fast)
    assert [t.ids.tolist() for t in moved] == [[1], [1], [1], [1]]
    assert [t.ids.tolist() for t in still] == [[1], [1], [2], [3]]


def test_measured_and_unmeasured_velocities_in_one_frame() -> None:
    one = seen(0, [(0.0, 0.0), (0.0, 20.0)], velocities=[(30.0, 0.0), (30.0, 0.0)])
    two = seen(1, [(3.0, 0.0), (3.0, 20.0)], velocities=[(30.0, 0.0), (np.nan, 0.0)])
    _, out = run(vehicles(), [one, two])
    assert out[1].ids.tolist() == [1, 2]
    assert np.isfinite(out[1].boxes).all()


def test_reported_is_the_detection_itself() -> None:
    frames = [seen(f, [(5.0, 1.0, 0.5, 4.0, 2.0, 1.5, 0.3)], velocities=[(1.0, 2.0)]) for f in range(2)]
    _, out = run(vehicles(), frames)
    assert np.array_equal(out[1].boxes, frames[1].boxes)
    assert not out[1].sigma_valid.any()
    assert not out[1].acceleration_valid.any()
