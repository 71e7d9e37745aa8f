"""k-means, ranges and the coverage report on futures whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from drive.errors import UserError
from drive.plans.anchors import AffineRange, coverage, k_means, nearest_anchor

T, HORIZON = 8, 4.0


def paths(speeds: list[float], sideways: list[float]) -> np.ndarray:
    """[N, T, 2]: straight ahead at `speeds`, drifting to `sideways` at the end."""
    share = np.arange(1, T + 1) / T
    x = np.array(speeds)[:, None] * HORIZON * share
    return np.stack((x, np.array(sideways)[:, None] * share**2), axis=-1)


def jittered(centres: np.ndarray, each: int, spread: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (centres[None] + rng.normal(0, spread, (each, *centres.shape))).reshape(-1, *centres.shape[1:])


def test_published_range() -> None:
    span = AffineRange()
    assert span.normalise(np.zeros(2)) == pytest.approx([-0.9578, -0.1304], abs=5e-5)
    poses = np.array([[10.0, -3.0, 0.4], [55.7, 26.0, 1.9]])
    assert span.denormalise(span.normalise(poses)) == pytest.approx(poses)
    assert span.normalise(poses)[1] == pytest.approx([1, 1, 1])


def test_range_of_futures() -> None:
    futures = paths(list(np.linspace(0, 20, 201)), list(np.linspace(-2, 10, 201)))
    span = AffineRange.of_futures(futures, percent=0, margin=0.0)
    assert span.x == pytest.approx((0.0, 80.0))
    assert span.y == pytest.approx((-10.0, 20.0))  # as far to the right as to the left
    wide = AffineRange.of_futures(futures, percent=0, margin=0.1)
    assert wide.x == pytest.approx((-8.0, 96.0))
    still = AffineRange.of_futures(np.zeros((5, T, 3)))
    assert min(still.x[1], still.y[1]) >= 1
    assert still.heading[1] > 0
    with pytest.raises(UserError, match="no futures"):
        AffineRange.of_futures(np.zeros((0, T, 2)))
    with pytest.raises(ValueError, match="span"):
        AffineRange(x=(0.0, 0.0))


def test_k_means_finds_the_clusters() -> None:
    centres = paths([0, 5, 10, 10, 15], [0, 0, 8, -8, 0])
    futures = jittered(centres, 40, 0.1)
    anchors = k_means(futures, 5, seed=1)
    error, best = nearest_anchor(centres, anchors)
    assert error.max() < 0.1
    assert sorted(best) == list(range(5))  # each cluster has an anchor of its own
    reach = np.linalg.norm(anchors[:, -1], axis=1)
    assert (np.diff(reach) >= 0).all()
    assert np.array_equal(anchors, k_means(futures, 5, seed=1))


def test_k_means_against_scikit_learn() -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    rng = np.random.default_rng(3)
    futures = paths(list(rng.uniform(0, 15, 600)), list(rng.normal(0, 4, 600)))
    theirs = cluster.KMeans(12, n_init=4, random_state=0).fit(futures.reshape(600, -1))
    ours = k_means(futures, 12)
    squares = ((futures[:, None] - ours[None]) ** 2).sum((2, 3)).min(1)
    assert squares.sum() < 1.05 * theirs.inertia_


def test_k_means_with_as_many_modes_as_futures_and_with_too_many() -> None:
    futures = np.concatenate([paths([0, 5, 10], [0, 1, 2])] * 3)
    assert nearest_anchor(futures, k_means(futures, 3))[0].max() < 1e-9
    with pytest.raises(UserError, match="3 different futures for 4 anchors"):
        k_means(futures, 4)
    with pytest.raises(UserError, match="0 different futures"):
        k_means(np.zeros((0, T, 2)), 4)
    futures[2, 1] = np.nan
    with pytest.raises(UserError, match="not finite"):
        k_means(futures, 2)


def test_k_means_of_a_sample() -> None:
    futures = jittered(paths([0, 10], [0, 0]), 500, 0.05)
    anchors = k_means(futures, 2, sample=100)
    assert nearest_anchor(paths([0, 10], [0, 0]), anchors)[0].max() < 0.1


def test_coverage_names_what_is_missing() -> None:
    # 10 stand, 20 turn left, 10 turn right, 60 go straight, half of those faster than the range.
    futures = paths(
        [0.0] * 10 + [6.0] * 20 + [6.0] * 10 + [10.0] * 30 + [20.0] * 30,
        [0.0] * 10 + [9.0] * 20 + [-9.0] * 10 + [0.0] * 60,
    )
    anchors = paths([6, 10, 20, 40], [9, 0, 0, 0])
    found = coverage(anchors, futures, AffineRange(), HORIZON)
    assert (found.standing_share, found.left_share, found.right_share) == (0.1, 0.2, 0.1)
    assert (found.standing_anchors, found.left_anchors, found.right_anchors) == (0, 1, 0)
    assert found.left_error_m == 0
    assert found.right_error_m > 4
    assert found.standing_error_m == pytest.approx(np.linalg.norm(anchors[0], axis=1).mean())
    assert found.saturated_share == 0.3
    assert found.saturated_anchors == 2
    assert found.top_speed_mps == pytest.approx(55.7 / 4)
    assert found.unused == 1
    text = "\n".join(found.warnings())
    for words in (
        "10.0% of the futures stand still",
        "turn right",
        "30.0% of the futures leave",
        "1 anchors are nearest",
    ):
        assert words in text
    assert "turn left" not in text
    assert found.to_dict()["futures"] == 100


def test_coverage_of_good_anchors_and_of_nothing() -> None:
    futures = jittered(paths([0, 8, 8], [0, 6, -6]), 30, 0.02)
    found = coverage(k_means(futures, 3), futures, AffineRange.of_futures(futures), HORIZON)
    assert found.warnings() == []
    assert found.worst_error_m < 0.2
    with pytest.raises(UserError, match="no futures"):
        coverage(np.zeros((3, T, 2)), np.zeros((0, T, 2)), AffineRange(), HORIZON)
