"""Intervals and paired tests against numbers that are known otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from drive.scores.significance import SignificanceConfig, interval, paired, units_of, wilcoxon


def test_interval_of_a_mean() -> None:
    """100 scenes, half 0 and half 1: the mean's standard error is 0.05, the interval 1.96 of it to both sides."""
    values = np.tile([0.0, 1.0], 50)[None]
    found = interval(values)
    assert found.mean == 0.5
    assert (found.low, found.high) == (pytest.approx(0.402, abs=0.01), pytest.approx(0.598, abs=0.01))
    assert interval(values) == found
    flat = interval(np.full((1, 9), 0.25))
    assert (flat.mean, flat.low, flat.high) == pytest.approx((0.25, 0.25, 0.25))


def test_scenes_of_one_log_are_drawn_together() -> None:
    """Ten logs of ten equal scenes are ten draws: the interval is about the square root of 10 wider."""
    of_log = np.repeat(np.tile([0.0, 1.0], 5), 10)
    scenes, logs = interval(of_log[None]), interval(of_log[None], np.repeat(np.arange(10), 10))
    assert logs.mean == scenes.mean == 0.5
    assert 2.5 < (logs.high - logs.low) / (scenes.high - scenes.low) < 3.7


def test_seeds_widen_the_interval() -> None:
    """Three seeds 0.1 apart on equal scenes: scenes alone would know the mean exactly."""
    values = np.array([[0.4], [0.5], [0.6]]).repeat(50, axis=1)
    found = interval(values)
    assert found.mean == pytest.approx(0.5)
    assert (found.low, found.high) == (pytest.approx(0.4), pytest.approx(0.6))


def test_paired_differences() -> None:
    """Scenes differ by far more than planners: only the pairs show it. 0.02 better in each of 40 scenes."""
    rng = np.random.default_rng(1)
    b = rng.uniform(0, 0.9, (1, 40))
    a = b + 0.02 + rng.normal(0, 0.01, b.shape)
    found = paired(a, b)
    assert found.difference.mean == pytest.approx(0.02, abs=0.005)
    assert found.difference.low > 0.015
    assert (found.better + found.worse + found.equal, found.equal) == (40, 0)
    assert found.p_permutation < 0.001
    assert found.p_wilcoxon < 0.001
    back = paired(b, a)
    assert back.difference.mean == -found.difference.mean
    assert (back.better, back.worse) == (found.worse, found.better)


def test_no_difference() -> None:
    values = np.linspace(0, 1, 20)[None]
    same = paired(values, values)
    assert (same.difference.mean, same.difference.low, same.difference.high) == (0.0, 0.0, 0.0)
    assert (same.better, same.worse, same.equal, same.p_permutation, same.p_wilcoxon) == (0, 0, 20, 1.0, 1.0)


def test_permutation_of_few() -> None:
    """Five scenes, all better: of 32 signs two are as extreme, 1/16. Wilcoxon's exact p is the same."""
    found = paired(np.array([[0.5, 0.6, 0.7, 0.8, 0.9]]), np.array([[0.4, 0.4, 0.4, 0.4, 0.4]]))
    assert found.p_permutation == pytest.approx(1 / 16, abs=0.01)
    assert found.p_wilcoxon == pytest.approx(1 / 16)


def test_false_alarms_are_as_rare_as_they_say() -> None:
    rng = np.random.default_rng(3)
    config = SignificanceConfig(draws=400)
    found = [paired(a, b, None, config) for a, b in rng.normal(0, 1, (200, 2, 3, 30))]
    assert 2 <= sum(one.p_permutation < 0.05 for one in found) <= 20
    assert 2 <= sum(one.p_wilcoxon < 0.05 for one in found) <= 20


@pytest.mark.parametrize(("count", "tied"), [(6, False), (49, False), (51, False), (200, True)])
def test_wilcoxon_is_scipys(count: int, tied: bool) -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    gaps = np.random.default_rng(count).normal(0.2, 1, count)
    gaps = np.round(gaps, 1) + 0.05 * tied if tied else gaps
    assert wilcoxon(gaps) == pytest.approx(stats.wilcoxon(gaps).pvalue, rel=1e-9)
    assert 0 < wilcoxon(gaps) < 1


def test_wilcoxon_of_shared_ranks() -> None:
    """1, 1, -1 share rank 2: the one below zero sums to 2, as do or stay below it 4 of 8 signs; twice that is 1. With
    3, 3, -1 the ranks are 2.5, 2.5, 1: of 8 signs 2 have a sum of at most 1."""
    assert wilcoxon(np.array([1.0, 1.0, -1.0])) == 1.0
    assert wilcoxon(np.array([3.0, 3.0, -1.0])) == 0.5
    assert wilcoxon(np.zeros(0)) == 1.0


def test_units_and_what_is_refused() -> None:
    assert units_of(["b", "a", "b"]).tolist() == [1, 0, 1]
    assert units_of([]).tolist() == []
    with pytest.raises(ValueError, match="finite"):
        interval(np.zeros((1, 0)))
    with pytest.raises(ValueError, match="finite"):
        interval(np.array([[np.nan]]))
    with pytest.raises(ValueError, match="units"):
        interval(np.zeros((1, 3)), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match="units"):
        paired(np.zeros((1, 3)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="at least one draw"):
        SignificanceConfig(draws=0)
