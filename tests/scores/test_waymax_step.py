"""Waymax's metrics of a step, for many drives at once."""

from __future__ import annotations

import numpy as np
import pytest

from drive.rollouts.config import ActorConfig, SimulationConfig
from drive.rollouts.simulate import step
from drive.rollouts.state import build_world, start_state
from drive.scores.waymax import kinematics, log_divergence, off_roads, overlaps
from drive.scores.waymax_step import Instant, instant_metrics, instant_of, recorded, step_metrics
from tests.rollouts.crowd import as_recorded, crowd


def test_one_instant_of_many_drives_is_the_metrics_over_time_of_each() -> None:
    config = SimulationConfig(actors=ActorConfig(mode="idm"))
    world = build_world([crowd(n, 12, f"crowd-{n}@0") for n in range(3)], config)
    state = start_state(world)
    for k in range(12):
        before, state = state, step(world, state, as_recorded(world, k), config)
    found, now = step_metrics(world, before, state), instant_of(world, state)
    xy, known, z = recorded(world, state.step)
    assert found.overlap.sum() > 2
    np.testing.assert_array_equal(found.overlap, overlaps(now.box, now.valid))
    np.testing.assert_allclose(found.divergence_m, log_divergence(now.box[..., :2], now.valid, xy, known)[0])
    for s in range(3):
        own = build_world([world.scenes[s]], config).ground
        metres, _ = off_roads(now.box[s : s + 1], now.valid[s : s + 1], own, z[s : s + 1])
        np.testing.assert_allclose(found.off_road_m[s], metres[0], atol=1e-12)
    assert (found.off_road_m > 0).any()
    assert not found.infeasible[:, -1].any()


@pytest.mark.parametrize(
    ("speeds", "course", "infeasible"),
    [
        ((10.0, 11.0), 0.0, False),  # 10 m/s^2
        ((10.0, 11.1), 0.0, True),
        ((10.0, 10.0), 0.29, False),  # 0.29 rad on 1 m
        ((10.0, 10.0), 0.31, True),
        ((10.0, 10.0), -0.31, True),
        ((0.5, 0.5), 3.0, False),  # too slow to tell
        ((1.0, 0.5), 3.0, False),
    ],
)
def test_what_no_car_can_do(speeds: tuple[float, float], course: float, infeasible: bool) -> None:
    world = build_world([crowd(0, 0)], SimulationConfig())
    boxes = np.array([[[0.0, 0.0, 4.0, 2.0, 0.0]]])
    one = np.ones((1, 1), bool)
    before = Instant(boxes, np.array([[[speeds[0], 0.0]]]), one)
    after = Instant(boxes, speeds[1] * np.array([[[np.cos(course), np.sin(course)]]]), one)
    found = instant_metrics(world.ground, before, after, boxes[..., :2], one, np.zeros((1, 1)))
    assert found.infeasible[0, 0] == infeasible
    heading = np.array([[0.0], [course if min(speeds) > 0.6 else 0.0]])
    assert kinematics(np.array(speeds)[:, None], heading, np.ones((2, 1), bool)).infeasible[0, 0] == infeasible
    gone = Instant(boxes, before.velocity, ~one)
    assert not instant_metrics(world.ground, gone, after, boxes[..., :2], one, np.zeros((1, 1))).infeasible.any()
    with pytest.raises(ValueError, match="shape"):
        instant_metrics(world.ground, before, after, boxes[..., :1], one, np.zeros((1, 1)))
