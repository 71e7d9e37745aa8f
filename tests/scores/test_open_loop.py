"""Open-loop figures and mode diversity on numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from drive.scores.open_loop import OpenLoopConfig, open_loop
from drive.scores.open_loop_diversity import mode_diversity


def straight(count: int, speed: float) -> np.ndarray:
    plans = np.zeros((count, 6, 3))
    plans[..., 0] = speed * np.arange(1, 7) * 0.5
    return plans


def nobody(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((count, 6, 0, 5)), np.zeros((count, 6, 0), bool)


def test_both_conventions() -> None:
    """1 m/s too fast: 0.5 m off at each half second. At 3 s 3 m; on average up to then 0.5 (1 + ... + 6) / 6 = 1.75."""
    score = open_loop(straight(2, 6.0), straight(2, 5.0), np.ones((2, 6), bool), *nobody(2))
    assert score.l2_m["at"] == pytest.approx({1.0: 1.0, 2.0: 2.0, 3.0: 3.0})
    assert score.l2_m["mean_up_to"] == pytest.approx({1.0: 0.75, 2.0: 1.25, 3.0: 1.75})
    assert score.collision["at"] == {1.0: 0.0, 2.0: 0.0, 3.0: 0.0}
    assert (score.samples, score.skipped, score.judged) == (2, 0, (2,) * 6)


def test_collisions() -> None:
    """A car of 4 x 2 m at x = 20. At 10 m/s the plan is at x = 20 at step 3 (2 s), its middle at 20.5; at steps 2 and 4
    it is 5 m off, more than 4.04. Of three samples one hits, one does not, one's recording hits and does not count."""
    plans, truth = straight(3, 10.0), straight(3, 1.0)
    plans[1] = truth[1]
    truth[2] = plans[2]
    boxes = np.zeros((3, 6, 1, 5)) + np.array([20.0, 0, 4, 2, 0])
    score = open_loop(plans, truth, np.ones((3, 6), bool), boxes, np.ones((3, 6, 1), bool))
    assert score.judged == (3, 3, 3, 2, 3, 3)
    assert score.collision["at"] == {1.0: 0.0, 2.0: 0.5, 3.0: 0.0}
    assert score.collision["mean_up_to"] == pytest.approx({1.0: 0.0, 2.0: 0.125, 3.0: 0.5 / 6})
    gone = np.ones((3, 6, 1), bool)
    gone[:, 3] = False
    assert open_loop(plans, truth, np.ones((3, 6), bool), boxes, gone).collision["at"][2.0] == 0.0


def test_heading_of_the_footprint() -> None:
    """Across the way, the footprint reaches 2.04 m to the side: a car 2.5 m to the side is met only if it is turned."""
    plans = straight(1, 10.0)
    plans[..., 2] = np.pi / 2
    boxes = np.zeros((1, 6, 1, 5)) + np.array([20.0, 3.4, 4, 2, 0])
    there = np.ones((1, 6, 1), bool)
    truth, known = straight(1, 1.0), np.ones((1, 6), bool)
    assert open_loop(plans, truth, known, boxes, there).collision["at"][2.0] == 1.0
    flat = OpenLoopConfig(turn_footprint=False)
    assert open_loop(plans, truth, known, boxes, there, flat).collision["at"][2.0] == 0.0


def test_incomplete_futures_are_skipped_and_nothing_is_an_error() -> None:
    known = np.ones((2, 6), bool)
    known[0, 5] = False
    score = open_loop(straight(2, 6.0), straight(2, 5.0), known, *nobody(2))
    assert (score.samples, score.skipped) == (1, 1)
    with pytest.raises(ValueError, match="whole future"):
        open_loop(straight(2, 6.0), straight(2, 5.0), np.zeros((2, 6), bool), *nobody(2))
    with pytest.raises(ValueError, match="whole future"):
        open_loop(straight(0, 6.0), straight(0, 5.0), np.zeros((0, 6), bool), *nobody(0))
    with pytest.raises(ValueError, match="must be"):
        open_loop(straight(2, 6.0)[:, :5], straight(2, 5.0)[:, :5], known, *nobody(2))
    with pytest.raises(ValueError, match="multiples"):
        OpenLoopConfig(times_s=(0.7,)).indices()


def test_diversity() -> None:
    """One line twice: 0. Two lines of 30 m away from each other: each covers about half, up to the disc at the start.

    A line of length L and width 2 covers 2 L + pi; two opposite ones together 4 L + pi.
    """
    line = np.stack([np.linspace(1, 30, 8), np.zeros(8)], axis=1)
    same, apart = np.stack([line, line]), np.stack([line, -line])
    found = mode_diversity(np.stack([same, apart]))
    assert found[0] == 0.0
    assert found[1] == pytest.approx(1 - (60 + np.pi) / (120 + np.pi), abs=2e-3)
    assert mode_diversity(line[None, None])[0] == 0.0
    standing = np.zeros((1, 20, 8, 2))
    assert mode_diversity(standing)[0] == 0.0
    assert mode_diversity(np.zeros((0, 3, 8, 2))).shape == (0,)


def test_diversity_of_twenty() -> None:
    """Twenty rays of a full turn cover less of their union each the longer they are."""
    angle = np.arange(20) * 2 * np.pi / 20
    rays = np.stack([np.cos(angle), np.sin(angle)], axis=1)[:, None] * np.linspace(1, 40, 8)[None, :, None]
    near, far = mode_diversity(np.stack([rays * 0.25, rays]))
    assert 0 < near < far < 0.95


@pytest.mark.parametrize("modes", [np.zeros((1, 0, 8, 2)), np.zeros((2, 8, 2)), np.full((1, 1, 1, 2), np.nan)])
def test_diversity_refuses(modes: np.ndarray) -> None:
    with pytest.raises(ValueError, match="modes must be"):
        mode_diversity(modes)
