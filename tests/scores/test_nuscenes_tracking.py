"""The nuScenes tracking metric by hand: small worlds whose figures one can check on paper."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive.scores.eval_boxes import EvalBoxes, EvalFrames
from drive.scores.nuscenes_tracking import METRICS, TrackingConfig, _figures, evaluate_tracking, filter_tracked
from drive.scores.nuscenes_tracking_assign import complete_assignment
from drive.scores.nuscenes_tracking_boxes import (
    NUSCENES_TRACKING_CLASSES,
    TrackedBoxes,
    TrackFrames,
    fill_gaps,
    load_tracking_truth,
    mean_scores,
)
from drive.scores.nuscenes_tracking_match import COUNTS, Clear
from drive.scores.submission_tracking import read_tracking_submission

CAR = TrackingConfig().class_names.index("car")


def frames(count: int, logs: int = 1) -> TrackFrames:
    ids = [f"l{log}f{i}" for log in range(logs) for i in range(count)]
    times = np.concatenate([log * 10**9 + 500_000 * np.arange(count) for log in range(logs)])
    return TrackFrames(EvalFrames.without_racks(ids, np.zeros((len(ids), 2))), times, np.repeat(np.arange(logs), count))


def tracked(rows: list[tuple[int, int, float, float]], label: int = CAR) -> TrackedBoxes:
    """Rows (frame, track, x, score), sorted by frame."""
    n = len(rows)
    boxes = np.zeros((n, 9))
    boxes[:, 0] = [row[2] for row in rows]
    boxes[:, 3:6] = 1.0
    frame = np.array([row[0] for row in rows], np.int64)
    score = np.array([row[3] for row in rows], np.float64)
    none = np.full(n, -1, np.int64)
    eval_boxes = EvalBoxes(frame, boxes, np.ones(n, bool), np.full(n, label, np.int64), score, none, none)
    return TrackedBoxes(eval_boxes, np.array([row[1] for row in rows], np.int64))


def test_perfect_tracks() -> None:
    truth = tracked([(f, t, 10.0 * t, 0.0) for f in range(4) for t in range(2)])
    predictions = tracked([(f, 5 + t, 10.0 * t, 0.9) for f in range(4) for t in range(2)])
    result = evaluate_tracking(truth, predictions, frames(4))
    expected = {
        "amota": 1.0, "amotp": 0.0, "recall": 1.0, "motar": 1.0, "gt": 8.0, "mota": 1.0, "motp": 0.0, "mt": 2.0,
        "ml": 0.0, "faf": 0.0, "tp": 8.0, "fp": 0.0, "fn": 0.0, "ids": 0.0, "frag": 0.0, "tid": 0.0, "lgd": 0.0,
    }  # fmt: skip
    assert {name: result.values[name][CAR] for name in METRICS} == expected
    assert np.isnan(result.values["amota"][np.arange(7) != CAR]).all()
    assert result.overall("amota") == 1.0


def test_switch_gap_and_ghost() -> None:
    # One car, 6 frames: found in 1 and 2 (1 m beside), lost in 3, found by another track in 4 and 5; and a ghost.
    truth = tracked([(f, 0, 0.0, 0.0) for f in range(6)])
    found = [(1, 0, 1.0, 0.8), (2, 0, 1.0, 0.8), (4, 1, 0.5, 0.8), (4, 2, 30.0, 0.8), (5, 1, 0.5, 0.8)]
    values = evaluate_tracking(truth, tracked(found), frames(6)).values
    figures = {name: values[name][CAR] for name in METRICS}
    assert (figures["tp"], figures["ids"], figures["fn"], figures["fp"], figures["frag"]) == (3, 1, 2, 1, 1)
    assert figures["recall"] == pytest.approx(4 / 6)
    assert figures["mota"] == pytest.approx(1 - 4 / 6)
    assert figures["motp"] == pytest.approx((1 + 1 + 0.5 + 0.5) / 4)
    assert figures["tid"] == 0.5  # one frame late
    assert figures["lgd"] == 0.5  # one frame lost
    assert figures["faf"] == pytest.approx(100 / 6)
    assert (figures["mt"], figures["ml"]) == (0, 0)


def test_a_track_is_kept_although_another_is_nearer() -> None:
    truth = tracked([(0, 0, 0.0, 0.0), (1, 0, 0.0, 0.0)])
    found = tracked([(0, 0, 0.5, 0.9), (1, 0, 1.5, 0.9), (1, 1, 0.1, 0.9)])
    values = evaluate_tracking(truth, found, frames(2)).values
    assert values["ids"][CAR] == 0
    assert values["fp"][CAR] == 1
    assert values["motp"][CAR] == pytest.approx(1.0)


def test_more_pairs_before_nearer_pairs() -> None:
    # Objects at 0 and 3; tracks at 1.2 and -1: nearest first would give (0, -1) or (3, 1.2) only by luck; both pair up.
    truth = tracked([(0, 0, 0.0, 0.0), (0, 1, 3.0, 0.0)])
    found = tracked([(0, 0, 1.1, 0.9), (0, 1, -1.9, 0.9)])
    values = evaluate_tracking(truth, found, frames(1)).values
    assert values["tp"][CAR] == 2
    assert values["motp"][CAR] == pytest.approx(1.9)


def test_two_metres_is_too_far() -> None:
    values = evaluate_tracking(tracked([(0, 0, 0.0, 0.0)]), tracked([(0, 0, 2.0, 0.9)]), frames(1)).values
    assert values["amota"][CAR] == 0.0
    assert values["amotp"][CAR] == 2.0
    assert (values["gt"][CAR], values["fn"][CAR], values["ml"][CAR]) == (1, 1, 1)
    assert np.isnan(values["fp"][CAR])


def test_nothing_at_all() -> None:
    result = evaluate_tracking(tracked([]), tracked([]), frames(3))
    assert all(np.isnan(result.values[name]).all() for name in METRICS)
    assert np.isnan(result.overall("amota"))
    assert result.overall("fp") == 0.0
    only_false = evaluate_tracking(tracked([]), tracked([(0, 0, 0.0, 0.5)]), frames(3))
    assert np.isnan(only_false.values["fp"][CAR])


def test_no_predictions() -> None:
    values = evaluate_tracking(tracked([(0, 0, 0.0, 0.0), (1, 0, 0.0, 0.0)]), tracked([]), frames(3)).values
    assert (values["amota"][CAR], values["amotp"][CAR]) == (0.0, 2.0)
    assert (values["recall"][CAR], values["fn"][CAR], values["ml"][CAR]) == (0.0, 2.0, 1.0)
    assert (values["faf"][CAR], values["tid"][CAR], values["lgd"][CAR]) == (500.0, 20.0, 20.0)


def test_gaps_are_filled_with_the_devkits_mirrored_weights() -> None:
    row = tracked([(0, 0, 0.0, 0.4), (4, 0, 8.0, 0.4), (4, 1, 5.0, 0.1)])
    filled = fill_gaps(row, frames(6))
    assert filled.boxes.frame.tolist() == [0, 1, 2, 3, 4, 4]
    assert filled.boxes.boxes[:5, 0] == pytest.approx([0.0, 6.0, 4.0, 2.0, 8.0])
    assert filled.track.tolist() == [0, 0, 0, 0, 0, 1]


def test_scores_are_means_of_tracks() -> None:
    row = mean_scores(tracked([(0, 3, 0.0, 0.2), (0, 4, 0.0, 0.5), (1, 3, 0.0, 0.6)]))
    assert row.boxes.score == pytest.approx([0.4, 0.5, 0.4])


def test_a_track_twice_in_a_frame() -> None:
    with pytest.raises(ValueError, match="two boxes in frame l0f1"):
        fill_gaps(tracked([(1, 0, 0.0, 0.5), (1, 0, 1.0, 0.5)]), frames(2))


def test_order_of_frames() -> None:
    with pytest.raises(ValueError, match="order of time"):
        TrackFrames(EvalFrames.without_racks(["a", "b"], np.zeros((2, 2))), np.array([5, 5]), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="side by side"):
        TrackFrames(EvalFrames.without_racks(["a", "b", "c"], np.zeros((3, 2))), np.arange(3), np.array([0, 1, 0]))


def test_identifiers_of_two_logs_are_apart() -> None:
    truth = tracked([(0, 0, 0.0, 0.0), (1, 0, 0.0, 0.0), (2, 1, 0.0, 0.0), (3, 1, 0.0, 0.0)])
    found = tracked([(0, 0, 0.0, 0.9), (1, 0, 0.0, 0.9), (2, 1, 0.0, 0.9), (3, 1, 0.0, 0.9)])
    values = evaluate_tracking(truth, found, frames(2, logs=2)).values
    assert values["tp"][CAR] == 4
    assert values["mt"][CAR] == 2


def test_figures_of_a_real_summary(real_data: Path) -> None:
    """The devkit's own summary of a published tracker: its means from its counts (323 frames)."""
    path = real_data / "nuscenes" / "tracking_results" / "metrics_summary.json"
    summary = {name: values["car"] for name, values in json.loads(path.read_text())["label_metrics"].items()}
    counts = {
        "matches": summary["tp"], "switches": summary["ids"], "misses": summary["fn"], "frames": 323.0,
        "false_positives": summary["fp"], "distance": summary["motp"] * (summary["tp"] + summary["ids"]),
        "mostly_tracked": summary["mt"], "mostly_lost": summary["ml"], "fragments": summary["frag"],
        "tracked_objects": 222.0, "start_frames": summary["tid"] * 222 * 2, "gap_frames": summary["lgd"] * 222 * 2,
    }  # fmt: skip
    row = np.array([[counts[name] for name in COUNTS]])
    found = _figures(Clear(row, np.zeros(0, np.int8), np.zeros(0, np.bool_)), int(summary["gt"]))
    for name in ("recall", "motar", "mota", "motp", "faf", "tid", "lgd"):
        assert found[name][0] == pytest.approx(summary[name], abs=1e-12), name
    # Half seconds: 222 tracked objects is the number that makes both sums whole.
    assert counts["start_frames"] == pytest.approx(round(counts["start_frames"]), abs=1e-9)
    assert counts["gap_frames"] == pytest.approx(round(counts["gap_frames"]), abs=1e-9)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 7), extra=st.integers(0, 4))
def test_assignment_against_scipy(seed: int, rows: int, extra: int) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    cost = np.random.default_rng(seed).random((rows, rows + extra))
    expected = optimize.linear_sum_assignment(cost)
    found = complete_assignment(cost)
    assert len(set(found.tolist())) == rows
    assert cost[np.arange(rows), found].sum() == pytest.approx(cost[expected].sum(), abs=1e-12)


def test_truth_of_a_log(town_log: Path) -> None:
    found_frames, truth = load_tracking_truth([town_log])
    assert len(found_frames.frames) == 3
    assert np.diff(found_frames.timestamp_us).tolist() == [500_000, 500_000]
    names = np.array(NUSCENES_TRACKING_CLASSES.names)[truth.boxes.label]
    assert sorted(set(names)) == ["bicycle", "car", "pedestrian"]
    assert len({(n, t) for n, t in zip(names, truth.track.tolist(), strict=True) if n == "car"}) == 2
    kept = filter_tracked(truth, found_frames.frames, TrackingConfig())
    assert len(kept) == len(truth) - 2  # the bicycle in the rack, the car without points


def test_real_submission_reads(real_data: Path) -> None:
    """8 real scenes of a published tracker, car boxes only; their ground truth is not here."""
    path = real_data / "nuscenes" / "tracking_results" / "predicted_tracks_mini.json"
    ids = list(json.loads(path.read_text())["results"])
    found, names = read_tracking_submission(path, ids, np.zeros(len(ids), np.int64), TrackingConfig().class_names)
    assert len(found) == 4935
    assert set(found.boxes.label.tolist()) == {CAR}
    assert len(names) == len(set(names)) == found.track.max() + 1
