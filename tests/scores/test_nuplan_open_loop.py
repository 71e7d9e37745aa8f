"""nuPlan's open-loop score worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from drive.scores.nuplan_open_loop import NuplanOpenLoopConfig, nuplan_open_loop


def ahead(speed: float, seconds: int = 8) -> np.ndarray:
    poses = np.zeros((seconds, 3))
    poses[:, 0] = speed * np.arange(1, seconds + 1)
    return poses


def test_slower_by_half_a_metre_a_second() -> None:
    """0.5 m after 1 s, 4 m after 8 s. Means up to 3, 5, 8 s: 1, 1.5, 2.25; their mean 19/12. Ends: 1.5, 2.5, 4; mean
    8/3. Headings fit: (1 - 19/96 + 1 - 1/3 + 4) / 6. Nothing is missed: 1.5 <= 6, 2.5 <= 8, 4 <= 16."""
    found = nuplan_open_loop(ahead(7.5)[None], ahead(8.0)[None], np.zeros(1, np.int64))
    assert (found.ade_m[0], found.fde_m[0]) == (pytest.approx(19 / 12), pytest.approx(8 / 3))
    assert found.score[0] == pytest.approx((1 - 19 / 96 + 2 / 3 + 4) / 6)
    assert found.missed.tolist() == [[0.0, 0.0, 0.0]]


def test_headings_go_the_short_way_round() -> None:
    """0.4 rad off everywhere: half of both heading terms, 4 of 6."""
    plan, truth = ahead(8.0), ahead(8.0)
    plan[:, 2], truth[:, 2] = np.pi - 0.2, -np.pi + 0.2
    found = nuplan_open_loop(plan[None], truth[None], np.zeros(1, np.int64))
    assert (found.ahe_rad[0], found.fhe_rad[0]) == (pytest.approx(0.4), pytest.approx(0.4))
    assert found.score[0] == pytest.approx(4 / 6)


def test_misses() -> None:
    """2.1 m/s slower: 6.3 m after 3 s is a miss. One of four plans may, two of four may not."""
    good, bad = ahead(8.0), ahead(5.9)
    scenario = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    plans = np.stack([good, good, good, bad, good, good, bad, bad])
    found = nuplan_open_loop(plans, np.stack([good] * 8), scenario)
    assert found.missed[:, 0].tolist() == [0.25, 0.5]
    assert found.score[0] > 0.8
    assert found.score[1] == 0.0


def test_shorter_plans_and_what_is_refused() -> None:
    config = NuplanOpenLoopConfig().up_to(4.0)
    assert (config.horizons_s, config.miss_m) == ((3,), (6.0,))
    same = nuplan_open_loop(ahead(8.0, 4)[None], ahead(8.0, 4)[None], np.zeros(1, np.int64), config)
    assert same.score.tolist() == [1.0]
    none = nuplan_open_loop(np.zeros((0, 8, 3)), np.zeros((0, 8, 3)), np.zeros(0, np.int64))
    assert none.score.shape == (0,)
    with pytest.raises(ValueError, match="fill none"):
        NuplanOpenLoopConfig().up_to(2.5)
    with pytest.raises(ValueError, match="plans of 4 s"):
        nuplan_open_loop(ahead(8.0, 4)[None], ahead(8.0, 4)[None], np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="without plans"):
        nuplan_open_loop(ahead(8.0)[None], ahead(8.0)[None], np.ones(1, np.int64))
    with pytest.raises(ValueError, match="must be"):
        nuplan_open_loop(ahead(8.0), ahead(8.0), np.zeros(8, np.int64))
    with pytest.raises(ValueError, match="a miss threshold each"):
        NuplanOpenLoopConfig(horizons_s=(3,))
