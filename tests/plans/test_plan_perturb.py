"""Decisions beside the recorded drive."""

from __future__ import annotations

import numpy as np
import pytest

from drive.dynamics.bicycle import EGO_COLUMNS, HEADING, VX, X, Y
from drive.samples.plan_perturb import Beside, PerturbConfig, draw, ego_beside, future_beside

TIMES = np.arange(1, 9) * 0.5


def straight(speed: float, instants: int = 41) -> np.ndarray:
    """Recorded poses along y = 2 x / 2, heading pi / 4."""
    way = speed * 0.1 * np.arange(instants) / np.sqrt(2)
    return np.column_stack([way, way, np.full(instants, np.pi / 4)])


def test_unmoved_is_the_recording() -> None:
    poses = straight(8.0)
    found = future_beside(poses, TIMES, Beside(0.0, 0.0, 0.0), PerturbConfig())
    np.testing.assert_allclose(found, poses[np.round(TIMES * 10).astype(int)], atol=1e-9)


def test_one_comes_back_to_the_path_and_its_speed() -> None:
    poses, beside = straight(8.0, 61), Beside(0.5, -0.05, 0.6)
    found = future_beside(poses, np.append(TIMES, 6.0), beside, PerturbConfig())
    left = (found[:, 1] - found[:, 0]) / np.sqrt(2)
    # 20 m of way back (2.5 s at 8 m/s): at 0.5 s a fifth of it; the cubic by hand with u = way / 20.
    way = np.hypot(found[0, 0] + left[0] / np.sqrt(2), found[0, 1] - left[0] / np.sqrt(2))
    assert way == pytest.approx(8 * 0.5 + 0.6 * 0.5 * np.exp(-0.5))
    u = way / 20
    assert left[0] == pytest.approx(0.5 * (1 - 3 * u**2 + 2 * u**3) + 20 * np.tan(-0.05) * (u - 2 * u**2 + u**3))
    np.testing.assert_allclose(left[5:], 0.0, atol=1e-9)
    np.testing.assert_allclose(found[5:, 2], np.pi / 4, atol=1e-9)
    assert np.hypot(*(found[-1, :2] - poses[-1, :2])) < 0.02, "the recorded place again"


def test_headings_are_those_of_the_way_back() -> None:
    fine = np.arange(1, 41) * 0.1
    found = future_beside(straight(6.0, 60), fine, Beside(0.4, 0.08, 0.0), PerturbConfig())
    step = np.diff(found[:, :2], axis=0)
    np.testing.assert_allclose((found[1:, 2] + found[:-1, 2]) / 2, np.arctan2(step[:, 1], step[:, 0]), atol=2e-3)


def test_beside_a_standing_recording_one_stands() -> None:
    poses = np.tile([3.0, 4.0, 0.0], (41, 1))
    found = future_beside(poses, TIMES, Beside(0.3, 0.0, 0.0), PerturbConfig())
    np.testing.assert_allclose(found, np.tile([3.0, 4.3, 0.0], (8, 1)), atol=1e-12)


def test_the_past_leads_to_where_it_is_put() -> None:
    ego = np.zeros((21, len(EGO_COLUMNS)))
    ego[:, X], ego[:, VX] = np.linspace(-10, 0, 21), 5.0
    kept = ego.copy()
    found = ego_beside(ego, Beside(0.4, 0.1, -0.5))
    np.testing.assert_array_equal(ego, kept)
    np.testing.assert_array_equal(found[0], ego[0])
    np.testing.assert_allclose(found[-1, [X, Y, HEADING, VX]], [0.0, 0.4, 0.1, 4.5])


def test_draws_are_shares_and_within_bounds() -> None:
    rng, config = np.random.default_rng(0), PerturbConfig(share=0.5)
    drawn = [draw(rng, 6.0, config) for _ in range(400)]
    moved = [d for d in drawn if d is not None]
    assert 150 < len(moved) < 250
    assert max(abs(d.aside_m) for d in moved) <= 0.8
    assert max(abs(d.turn_rad) for d in moved) <= 0.1
    standing = [d for d in (draw(rng, 0.2, config) for _ in range(50)) if d is not None]
    assert standing
    assert all(d.turn_rad == d.speed_mps == 0.0 for d in standing)
    slow = [d for d in (draw(rng, 1.1, config) for _ in range(200)) if d is not None]
    assert min(1.1 + d.speed_mps for d in slow) >= 0.5
    assert draw(rng, 6.0, PerturbConfig()) is None
