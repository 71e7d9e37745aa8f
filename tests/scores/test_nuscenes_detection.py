"""The nuScenes metric on numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from drive.scores.eval_boxes import NO_ATTRIBUTE, EvalBoxes, EvalFrames
from drive.scores.nuscenes_detection import NuScenesConfig, evaluate, filter_boxes

NAMES = NuScenesConfig().class_names
CAR, CONE, BARRIER = NAMES.index("car"), NAMES.index("traffic_cone"), NAMES.index("barrier")
ORIGIN = EvalFrames.without_racks(["a", "b"], np.zeros((2, 2)))


def boxes(
    frame: list[int],
    x: list[float],
    *,
    label: int = CAR,
    score: list[float] | None = None,
    points: int = -1,
    yaw: float = 0.0,
) -> EvalBoxes:
    n = len(frame)
    columns = np.tile([0.0, 0, 0, 4, 2, 1.5, yaw, 0, 0], (n, 1))
    columns[:, 0] = x
    return EvalBoxes(
        np.array(frame, np.int64), columns, np.ones(n, bool), np.full(n, label), np.array(score or [0.0] * n),
        np.full(n, NO_ATTRIBUTE), np.full(n, points),
    )  # fmt: skip


def test_perfect_and_empty() -> None:
    truth = boxes([0, 1], [5, 6])
    perfect = evaluate(truth, boxes([0, 1], [5, 6], score=[0.9, 0.8]), ORIGIN)
    assert perfect.class_ap[CAR] == pytest.approx(1.0)
    assert perfect.mean_ap == pytest.approx(0.1)
    assert perfect.mean_ap_present == pytest.approx(1.0)
    np.testing.assert_allclose(perfect.tp_errors[CAR], [0, 0, 0, 0, 1.0], atol=1e-12)  # no attributes: error 1
    nothing = evaluate(truth, EvalBoxes.empty(), ORIGIN)
    assert (nothing.mean_ap, nothing.nds) == (0.0, 0.0)
    assert nothing.missed.tolist() == [1, 1]
    without_truth = evaluate(EvalBoxes.empty(), truth, ORIGIN)
    assert without_truth.mean_ap_present is None
    assert evaluate(EvalBoxes.empty(), EvalBoxes.empty(), ORIGIN).nds == 0.0


def test_precision_of_one_false_box() -> None:
    """Score order false, true, true of two labels: precision 1/2 and 2/3 at recalls 1/2 and 1, linear between."""
    truth = boxes([0, 1], [5, 6])
    metrics = evaluate(truth, boxes([0, 0, 1], [40, 5, 6], score=[0.9, 0.8, 0.7]), ORIGIN)
    recall = np.linspace(0, 1, 101)
    precision = np.interp(recall, [0, 0.5, 1], [0, 1 / 2, 2 / 3])
    expected = np.maximum(precision[11:] - 0.1, 0).mean() / 0.9
    assert metrics.class_ap[CAR] == pytest.approx(expected)
    assert metrics.false.tolist() == [1, 0]  # F1 is best with all three


def test_threshold_is_strict() -> None:
    metrics = evaluate(boxes([0], [5]), boxes([0], [6], score=[0.5]), ORIGIN)
    assert metrics.ap[CAR].tolist() == pytest.approx([0, 0, 1, 1])
    assert metrics.tp_errors[CAR, 0] == pytest.approx(1.0)


def test_better_score_takes_the_label_first() -> None:
    """Two predictions near one label: the better-scored one takes it, though the other is nearer."""
    metrics = evaluate(boxes([0], [5]), boxes([0, 0], [5.0, 5.4], score=[0.3, 0.9]), ORIGIN)
    assert metrics.tp_errors[CAR, 0] == pytest.approx(0.4)
    assert metrics.right.tolist() == [False, True]
    assert metrics.shown.tolist() == [False, True]


def test_undefined_errors() -> None:
    metrics = evaluate(boxes([0], [5], label=CONE), boxes([0], [5], label=CONE, score=[0.5]), ORIGIN)
    assert metrics.tp_defined[CONE].tolist() == [True, True, False, False, False]
    assert metrics.tp_defined[BARRIER].tolist() == [True, True, True, False, False]
    cones = NuScenesConfig.for_classes(("traffic_cone",))
    only = evaluate(boxes([0], [5], label=0), boxes([0], [5], label=0, score=[0.5]), ORIGIN, cones)
    assert np.isnan(only.mean_tp_errors).tolist() == [False, False, True, True, True]
    assert only.nds == pytest.approx(1.0)


def test_barrier_has_no_front() -> None:
    found = boxes([0], [5], label=BARRIER, score=[0.5], yaw=np.pi)
    assert evaluate(boxes([0], [5], label=BARRIER), found, ORIGIN).tp_errors[BARRIER, 2] == pytest.approx(0, abs=1e-9)


def test_filters_at_their_edges() -> None:
    config = NuScenesConfig()
    cars = boxes([0, 0, 0], [49.999, 50.0, -50.0])
    assert filter_boxes(cars, ORIGIN, config).boxes[:, 0].tolist() == [49.999]
    assert len(filter_boxes(boxes([0], [5], points=0), ORIGIN, config)) == 0
    assert len(filter_boxes(boxes([0], [5], points=1), ORIGIN, config)) == 1
    assert len(filter_boxes(EvalBoxes.empty(), ORIGIN, config)) == 0


def test_bicycle_in_a_turned_rack() -> None:
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # a rack 6 m long, standing along y
    rack = (np.array([0]), np.array([[10.0, 0, 0]]), np.array([[6.0, 2, 2]]), turn[None])
    frames = EvalFrames(("a", "b"), ("", ""), np.zeros((2, 2)), *rack)
    bicycle = NAMES.index("bicycle")
    parked = boxes([0, 0, 1], [10.5, 12.0, 10.5], label=bicycle)
    assert filter_boxes(parked, frames, NuScenesConfig()).boxes[:, 0].tolist() == [12.0, 10.5]
    assert len(filter_boxes(boxes([0], [10.5]), frames, NuScenesConfig())) == 1  # cars may stand there


def test_range_bands_lose_no_box_at_a_border() -> None:
    """A label at 14.8 m found at 15.1 m belongs to the near band with its prediction."""
    metrics = evaluate(boxes([0], [14.8]), boxes([0], [15.1], score=[0.5]), ORIGIN)
    assert metrics.band_truth[CAR].tolist() == [1, 0, 0]
    assert metrics.band_ap[CAR].tolist() == pytest.approx([1, 0, 0])


def test_unknown_label() -> None:
    with pytest.raises(ValueError, match="labels"):
        evaluate(boxes([0], [5], label=10), EvalBoxes.empty(), ORIGIN)


def test_boxes_must_be_grouped() -> None:
    with pytest.raises(ValueError, match="grouped"):
        boxes([1, 0], [5, 5])
    with pytest.raises(ValueError, match="unique"):
        EvalFrames.without_racks(["a", "a"], np.zeros((2, 2)))
