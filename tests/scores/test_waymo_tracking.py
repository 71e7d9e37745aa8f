"""Waymo's tracking metric on stories short enough to count by hand; parity is in test_waymo_golden.py."""

from __future__ import annotations

import numpy as np
import pytest

from drive.scores.waymo_boxes import WaymoBoxes
from drive.scores.waymo_config import WaymoConfig
from drive.scores.waymo_tracking import WaymoTrackingMetrics, WaymoTracks, evaluate_tracks, match_tracks

ONE_CUTOFF = WaymoConfig(breakdowns=(("OBJECT_TYPE", (1, 2)),), score_cutoffs=(0.5,))
Row = tuple[int, int, float]  # frame, object, x


def boxes(rows: list[Row]) -> np.ndarray:
    out = np.zeros((len(rows), 7))
    out[:, 0] = [x for _, _, x in rows]
    out[:, 3:6] = [4.0, 2.0, 1.5]
    return out


def truth(rows: list[Row], difficulty: list[int] | None = None, sequence: int = 0) -> WaymoTracks:
    n = len(rows)
    frame, track = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    levels = np.ones(n) if difficulty is None else np.array(difficulty)
    return WaymoTracks(WaymoBoxes.labels(frame, boxes(rows), np.ones(n), levels), np.full(n, sequence), track)


def found(rows: list[Row], score: float = 0.9, zone: list[bool] | None = None) -> WaymoTracks:
    n = len(rows)
    frame, track = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    hidden = None if zone is None else np.array(zone)
    made = WaymoBoxes.predictions(frame, boxes(rows), np.ones(n), np.full(n, score), hidden)
    return WaymoTracks(made, np.zeros(n, np.int64), track)


def counts(m: WaymoTrackingMetrics, row: int = 1) -> tuple[float, float, float, float]:
    """MOTA, misses, mismatches and false positives of a vehicle figure (1: level 2), as ratios to the labels."""
    return tuple(round(float(v[row]), 6) for v in (m.mota, m.miss, m.mismatch, m.false))  # type: ignore[return-value]


def test_perfect() -> None:
    m = evaluate_tracks(truth([(0, 1, 0), (1, 1, 1)]), found([(0, 7, 0), (1, 7, 1)]), ONE_CUTOFF)
    assert counts(m) == (1, 0, 0, 0)
    assert m.motp[1] == 0
    assert m.cutoff[1] == 0.5
    assert m.objects[1] == 2


def test_motp_is_the_mean_of_one_minus_iou() -> None:
    """0.4 m along a car of 4 m: IoU 3.6 / 4.4."""
    m = evaluate_tracks(truth([(0, 1, 0)]), found([(0, 7, 0.4)]), ONE_CUTOFF)
    assert m.motp[1] == pytest.approx(1 - 3.6 / 4.4, abs=1e-6)


def test_new_name_is_a_mismatch() -> None:
    rows = [(f, 1, float(f)) for f in range(4)]
    m = evaluate_tracks(truth(rows), found([(0, 7, 0), (1, 7, 1), (2, 8, 2), (3, 8, 3)]), ONE_CUTOFF)
    assert counts(m) == (0.75, 0, 0.25, 0)


def test_a_name_comes_back_after_a_gap_without_a_mismatch() -> None:
    rows = [(f, 1, float(f)) for f in range(4)]
    m = evaluate_tracks(truth(rows), found([(0, 7, 0), (1, 7, 1), (3, 7, 3)]), ONE_CUTOFF)
    assert counts(m) == (0.75, 0.25, 0, 0)


def test_former_pair_stays_though_another_fits_better() -> None:
    """In frame 1 the new track 8 lies exactly on the car, but 7 still may match: 8 is false."""
    m = evaluate_tracks(truth([(0, 1, 0), (1, 1, 0)]), found([(0, 7, 0), (1, 7, 0.3), (1, 8, 0)]), ONE_CUTOFF)
    assert counts(m) == (0.5, 0, 0, 0.5)


def test_stolen_prediction_of_an_object_that_is_gone() -> None:
    """Track 7 goes over from object 1, which is not labelled any more, to object 2: one mismatch."""
    m = evaluate_tracks(truth([(0, 1, 0), (1, 2, 0)]), found([(0, 7, 0), (1, 7, 0)]), ONE_CUTOFF)
    assert counts(m) == (0.5, 0, 0.5, 0)


def test_stolen_prediction_of_an_object_that_is_missed() -> None:
    """Object 1 is still there, at 50 m: it is missed, and that is all that counts."""
    m = evaluate_tracks(truth([(0, 1, 0), (1, 1, 50), (1, 2, 0)]), found([(0, 7, 0), (1, 7, 0)]), ONE_CUTOFF)
    assert counts(m) == pytest.approx((2 / 3, 1 / 3, 0, 0), abs=1e-6)


def test_hard_labels_are_missed_at_level_2_only() -> None:
    m = evaluate_tracks(truth([(0, 1, 0), (0, 2, 30)], [1, 2]), found([(0, 7, 0)]), ONE_CUTOFF)
    assert counts(m, 0) == (1, 0, 0, 0)
    assert counts(m, 1) == (0.5, 0.5, 0, 0)
    assert m.objects[:2].tolist() == [1, 2]


def test_zone_hides_false_positives() -> None:
    m = evaluate_tracks(truth([(0, 1, 0)]), found([(0, 7, 0), (0, 8, 40)], zone=[False, True]), ONE_CUTOFF)
    assert counts(m) == (1, 0, 0, 0)


def test_best_cutoff_wins_and_no_success_is_all_zero() -> None:
    """A false box scores 0.6: above that cutoff MOTA is 1. Only false boxes: MOTA below 0 is given as zeros."""
    config = WaymoConfig(breakdowns=(("OBJECT_TYPE", (2,)),), score_cutoffs=(0.0, 0.7, 0.8))
    both = WaymoTracks(
        WaymoBoxes.predictions(np.zeros(2), boxes([(0, 7, 0), (0, 8, 40)]), np.ones(2), np.array([0.9, 0.6])),
        np.zeros(2),
        np.array([7, 8]),
    )
    m = evaluate_tracks(truth([(0, 1, 0)]), both, config)
    assert (m.mota[0], m.cutoff[0]) == (1.0, np.float32(0.7))
    lost = evaluate_tracks(truth([(0, 1, 0)]), found([(0, 7, 40)]), config)
    assert counts(lost, 0) == (0, 0, 0, 0)


def test_sequences_are_apart() -> None:
    """Object 1 of another sequence is another object: no mismatch when its track has another name."""
    one, two = truth([(0, 1, 0)]), truth([(0, 1, 0)], sequence=5)
    joined = WaymoTracks(
        WaymoBoxes.labels(np.zeros(2), np.concatenate([one.boxes.boxes, two.boxes.boxes]), np.ones(2), np.ones(2)),
        np.array([0, 5]),
        np.array([1, 1]),
    )
    predictions = WaymoTracks(
        WaymoBoxes.predictions(np.zeros(2), joined.boxes.boxes, np.ones(2), np.ones(2)),
        np.array([0, 5]),
        np.array([7, 8]),
    )
    assert counts(evaluate_tracks(joined, predictions, ONE_CUTOFF)) == (1, 0, 0, 0)


def test_nothing_at_all_and_bad_input() -> None:
    m = evaluate_tracks(truth([]), found([]), ONE_CUTOFF)
    assert not m.mota.any()
    with pytest.raises(ValueError, match="twice"):
        evaluate_tracks(truth([(0, 1, 0), (0, 1, 5)]), found([]), ONE_CUTOFF)
    with pytest.raises(ValueError):
        WaymoTracks(truth([(0, 1, 0)]).boxes, np.zeros(2), np.zeros(1))


def test_a_track_found_twice_counts_once() -> None:
    m = evaluate_tracks(truth([(0, 1, 0)]), found([(0, 7, 0), (0, 7, 40)]), ONE_CUTOFF)
    assert counts(m) == (1, 0, 0, 0)


def test_matches_are_those_behind_the_figures() -> None:
    rows = [(f, 1, float(f)) for f in range(4)]
    # Given out of the order of the frames: what comes back are the rows as they were given.
    predictions = found([(3, 8, 3.0), (0, 7, 0.0), (1, 7, 1.0), (2, 8, 90.0), (2, 9, 2.0)])
    m = match_tracks(truth(rows), predictions, ONE_CUTOFF)
    assert m.label.tolist() == [[3, 0, 1, -1, 2]]
    assert [int(c[0, 0]) for c in (m.miss, m.false, m.mismatch, m.objects)] == [0, 1, 2, 4]
    assert counts(evaluate_tracks(truth(rows), predictions, ONE_CUTOFF)) == (0.25, 0, 0.5, 0.25)
    none = match_tracks(truth([]), found([]), ONE_CUTOFF)
    assert (none.label.shape, int(none.objects.sum())) == ((1, 0), 0)
