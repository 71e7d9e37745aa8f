"""Waymo's motion metrics on futures that one can measure with a ruler; parity is in test_waymo_golden.py."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from drive.scores.waymo_motion import Horizon, MotionBatch, MotionConfig, MotionMetrics, MotionScore
from drive.scores.waymo_motion_shapes import (
    LEFT_TURN,
    LEFT_U_TURN,
    RIGHT_TURN,
    STATIONARY,
    STRAIGHT,
    STRAIGHT_LEFT,
    STRAIGHT_RIGHT,
    bucket_of,
)

# 1 step of history, 4 future steps of which every second is predicted, no speed scaling (both ends 1).
CONFIG = MotionConfig(2, 1, 1, 4, 1.0, 2.0, 1.0, 1.0, (Horizon(0, 1.0, 2.0), Horizon(1, 1.0, 2.0)), 6)


def batch(offsets: list[tuple[float, float]], scores: list[float], kinds: tuple[int, ...] = (1,)) -> MotionBatch:
    """A car that drives 10 m/s along x is predicted with one future an offset (x, y); further agents stand at
    (20 + i, 0)."""
    truth = np.zeros((1, len(kinds), 6, 7), np.float32)
    truth[0, :, :, 2:4] = [4.0, 2.0]
    truth[0, 0, :, 0] = (np.arange(6) - 1) * 5.0
    truth[0, 0, :, 5] = 10.0
    truth[0, 1:, :, 0] = 20.0
    path = truth[0, 0, [3, 5], :2] + np.array(offsets)[:, None]
    return MotionBatch(
        trajectory=path[None, None, :, None].astype(np.float32),
        score=np.array([[scores]], np.float32),
        agent=np.zeros((1, 1, 1), np.int64),
        agent_valid=np.ones((1, 1, 1), bool),
        truth=truth,
        truth_valid=np.ones((1, len(kinds), 6), bool),
        kind=np.array([kinds]),
    )


def score(*batches: MotionBatch, config: MotionConfig = CONFIG) -> MotionMetrics:
    total = MotionScore(config)
    for b in batches:
        total.update(b)
    return total.result()


def test_perfect() -> None:
    m = score(batch([(0, 0)], [1.0]))
    assert m.names[:3] == ("TYPE_VEHICLE_0", "TYPE_VEHICLE_1", "TYPE_PEDESTRIAN_0")
    for column, value in ((m.min_ade, 0), (m.min_fde, 0), (m.miss_rate, 0), (m.overlap_rate, 0), (m.mean_ap, 1)):
        assert column[:2].tolist() == [value, value]
        assert (column[2:] == -1).all()  # no pedestrian, no cyclist


def test_nearest_future_counts_for_distances() -> None:
    m = score(batch([(3, 4), (0, 0.5)], [0.9, 0.1]))
    assert m.min_ade[1] == m.min_fde[1] == pytest.approx(0.5)
    assert m.miss_rate[1] == 0
    far = score(batch([(3, 4), (0, 1.5)], [0.9, 0.1]))
    assert far.miss_rate[1] == 1  # 1.5 m to the side, 1 m is allowed
    assert score(batch([(1.9, 0)], [1.0])).miss_rate[1] == 0  # along the path 2 m are


def test_only_so_many_futures_count() -> None:
    config = dataclasses.replace(CONFIG, max_predictions=1)
    m = score(batch([(3, 4), (0, 0)], [0.1, 0.9]), config=config)
    assert m.min_fde[1] == pytest.approx(5)
    assert m.mean_ap[1] == 0


def test_average_precision() -> None:
    """The better-scored future misses: precision 1/2. The hit first: 1; a second hit is wrong, for soft mAP nothing."""
    assert score(batch([(9, 9), (0, 0)], [0.9, 0.1])).mean_ap[1] == pytest.approx(0.5)
    assert score(batch([(0, 0), (9, 9)], [0.9, 0.1])).mean_ap[1] == pytest.approx(1.0)
    # Two cars in two batches: hits at 0.9 and 0.1 with a second hit at 0.5 between them.
    m = score(batch([(0, 0), (0, 0)], [0.9, 0.5]), batch([(0, 0)], [0.1]))
    assert m.mean_ap[1] == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert m.soft_mean_ap[1] == pytest.approx(1.0)


def test_equal_scores_put_the_wrong_one_first() -> None:
    assert score(batch([(0, 0)], [0.5]), batch([(9, 9)], [0.5])).mean_ap[1] == pytest.approx(0.5 * 0.5)


def test_overlap_of_the_best_future_only() -> None:
    """An agent stands at 20 m, where the car is at the last step (5 m short of it at the first: 10 m)."""
    m = score(batch([(0, 0), (0, 9)], [0.9, 0.1], kinds=(1, 2)))
    assert m.overlap_rate[:2].tolist() == [0, 1]
    assert score(batch([(0, 0), (0, 9)], [0.1, 0.9], kinds=(1, 2))).overlap_rate[:2].tolist() == [0, 0]


def test_agents_that_are_not_seen_now_are_no_obstacle() -> None:
    b = batch([(0, 0)], [1.0], kinds=(1, 2))
    b.truth_valid[0, 1, 1] = False
    assert score(b).overlap_rate[1] == 0


def test_missing_truth_is_no_measurement() -> None:
    """The last step is not labelled: ADE over the first alone, no FDE (0 of 0), no hit or miss."""
    b = batch([(0, 1.0)], [1.0])
    b.truth_valid[0, 0, 5] = False
    m = score(b, batch([(0, 3.0)], [1.0]))
    assert m.min_ade[1] == pytest.approx(2.0)
    assert m.min_fde[1] == pytest.approx(3.0)
    assert m.miss_rate.tolist()[:2] == [0.5, 1.0]


def test_slow_agents_have_narrower_thresholds() -> None:
    config = dataclasses.replace(CONFIG, speed_low=8.0, speed_high=12.0, scale_low=0.5)
    assert score(batch([(0, 0.7)], [1.0]), config=config).miss_rate[1] == 0  # 10 m/s: 0.75 of 1 m
    assert score(batch([(0, 0.8)], [1.0]), config=config).miss_rate[1] == 1


def test_joint_futures_are_right_together_or_not_at_all() -> None:
    """Car and cyclist: named after the cyclist, a hit only where both are, distances the mean of both."""
    b = batch([(0, 0), (0, 0)], [0.9, 0.5], kinds=(1, 3))
    path = np.zeros((1, 1, 2, 2, 2, 2), np.float32)
    path[0, 0, :, 0] = b.trajectory[0, 0, :, 0]
    path[0, 0, :, 1] = b.truth[0, 1, 3, :2]
    path[0, 0, 0, 1, :, 1] += 4.0
    joint = dataclasses.replace(b, trajectory=path, agent=np.array([[[0, 1]]]), agent_valid=np.ones((1, 1, 2), bool))
    m = score(joint)
    assert m.names[5] == "TYPE_CYCLIST_1"
    assert (m.min_ade[:4] == -1).all()
    assert (m.min_fde[5], m.miss_rate[5]) == (0, 0)
    assert m.mean_ap[5] == pytest.approx(0.5)
    alone = dataclasses.replace(joint, trajectory=path[:, :, :1], score=joint.score[:, :, :1])
    assert score(alone).min_fde[5] == pytest.approx(2.0)


def test_shapes_of_paths() -> None:
    """From (0, 0) heading along x: where it ends, which way it looks, how fast it is."""
    ends = {
        STATIONARY: (1, 0, 0, 0.5),
        STRAIGHT: (30, 2, 0, 5),
        STRAIGHT_LEFT: (30, 4, 0.3, 5),
        STRAIGHT_RIGHT: (30, -4, 0.3, 5),
        LEFT_TURN: (10, 10, 1.5, 5),
        RIGHT_TURN: (10, -10, -1.5, 5),
        LEFT_U_TURN: (-5, 8, 3.0, 5),
    }
    truth = np.zeros((len(ends), 1, 3, 7), np.float32)
    for row, (x, y, heading, speed) in enumerate(ends.values()):
        truth[row, 0, 2] = [x, y, 4, 2, heading, speed, 0]
    valid, there = np.ones((len(ends), 1, 3), bool), np.ones((len(ends), 1), bool)
    assert bucket_of(truth, valid, there, 1).tolist() == list(ends)
    back = truth[:1].copy()
    back[0, 0, 2] = [-5, -8, 4, 2, -3.0, 5, 0]
    assert bucket_of(back, valid[:1], there[:1], 1).tolist() == [RIGHT_TURN]
    valid[:, :, 2] = False
    assert (bucket_of(truth, valid, there, 1) == -1).all()


def test_nothing_predicted() -> None:
    b = batch([(0, 0)], [1.0])
    m = score(dataclasses.replace(b, agent_valid=np.zeros((1, 1, 1), bool)))
    assert (m.min_ade == -1).all()


@pytest.mark.parametrize(
    "change",
    [
        {"score": np.zeros((1, 1, 2), np.float32)},
        {"agent": np.array([[[3]]])},
        {"trajectory": np.full((1, 1, 1, 1, 2, 2), np.nan, np.float32)},
        {"trajectory": np.zeros((1, 1, 1, 1, 3, 2), np.float32)},
        {"truth": np.zeros((1, 1, 5, 7), np.float32)},
    ],
)
def test_bad_batches(change: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError):
        score(dataclasses.replace(batch([(0, 0)], [1.0]), **change))


@pytest.mark.parametrize(
    "change", [{"track_hz": 5, "prediction_hz": 2}, {"horizons": (Horizon(2, 1, 2),)}, {"speed_low": 3.0}]
)
def test_bad_configuration(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        dataclasses.replace(CONFIG, **change)
