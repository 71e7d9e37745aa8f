from __future__ import annotations

import numpy as np
import pytest

from drive.plans.plan import Plan, resample, to_ego, to_scene


@pytest.mark.parametrize(
    ("poses", "times", "why"),
    [
        (np.zeros((2, 3)), [0.5], "needs poses"),
        (np.zeros((0, 3)), [], "needs poses"),
        (np.zeros((2, 2)), [0.5, 1.0], "needs poses"),
        ([[0, 0, 0], [1, np.nan, 0]], [0.5, 1.0], "not finite"),
        (np.zeros((2, 3)), [0.0, 0.5], "above 0"),
        (np.zeros((2, 3)), [0.5, 0.5], "rise"),
    ],
)
def test_what_is_no_plan(poses: object, times: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Plan(np.asarray(poses, float), np.asarray(times, float))


def test_frames_undo_each_other() -> None:
    ego = np.array([10.0, -4.0, np.pi / 2])
    np.testing.assert_allclose(to_scene(np.array([[2.0, 1.0, 0.5]]), ego), [[9.0, -2.0, np.pi / 2 + 0.5]])
    poses = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(to_ego(to_scene(poses, ego), ego), poses, atol=1e-12)


def test_resampling_starts_at_the_ego_and_turns_the_short_way() -> None:
    plan = Plan(np.array([[5.0, 0.0, 3.0], [10.0, 1.0, -3.0]]), np.array([0.5, 1.0]))
    poses = resample(plan, np.array([0.0, 0.25, 0.5, 0.75, 1.0, 2.0]))
    np.testing.assert_allclose(poses[:, 0], [0.0, 2.5, 5.0, 7.5, 10.0, 10.0])
    np.testing.assert_allclose(poses[3, 2], np.pi)  # from 3 over pi to -3
    np.testing.assert_allclose(poses[-1], poses[-2])
