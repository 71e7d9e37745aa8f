"""AB3DMOT: hand-made sequences and bad input."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from drive.errors import UserError
from drive.tracks.ab3dmot import Ab3dmot, Ab3dmotConfig
from tests.tracks.track_world import run, seen


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


def test_a_long_gap_ends_the_tracks() -> None:
    state, out = run(cars(), [seen(0, [(0.0, 0.0)]), seen(1, [(1.0, 0.0)]), seen(3.9, [(1.0, 0.0)])])
    assert out[-1].ids.tolist() == [2]
    assert state.ids.tolist() == [2]


def test_equal_boxes_are_two_objects() -> None:
    _, out = run(cars(), [seen(f, [(0.0, 0.0), (0.0, 0.0)]) for f in range(4)])
    assert {tuple(t.ids.tolist()) for t in out} == {(1, 2)}
    assert out[-1].matched.all()
    assert sorted(out[-1].detection.tolist()) == [0, 1]


def test_unknown_class_names_are_refused() -> None:
    with pytest.raises(UserError, match="Tram"):
        Ab3dmotConfig.kitti(("Car", "Tram"))


def test_a_pair_beyond_the_limit_takes_a_detection_away_in_the_published_form_only() -> None:
    # Limit 2 m. All pairs: 2.05 m and 97 m are less than 0.95 m and 100 m together, and then both are refused.
    config = Ab3dmotConfig.kitti(("Cyclist",))
    frames = [seen(0, [(0.0, 0.0), (3.0, 0.0)]), seen(1, [(2.05, 0.0), (100.0, 0.0)])]
    _, published = run(replace(config, refuse_late=True).build(), frames)
    _, ours = run(config.build(), frames)
    assert published[1].ids[published[1].matched].tolist() == [3, 4]
    assert ours[1].ids[ours[1].matched].tolist() == [2, 3]
