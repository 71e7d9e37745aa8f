"""Our loop of benchmarks.closed_loop_speed and closed_loop_tensors; it asks for numpy and numba alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from drive.dynamics.controller import Profiles, Tracker
from drive.rollouts.config import SimulationConfig
from drive.rollouts.simulate import HORIZON, Reference, step
from drive.rollouts.state import State, World, start_state
from drive.scores.waymax_step import step_metrics

STEPS = 10
"""Steps of a timed round."""
REPLAN = 5


def log_reference(world: World, at: int) -> Reference:
    """Plans that repeat the recorded drives, from step `at`."""
    poses = []
    for scene in world.scenes:
        rows = np.minimum(scene.now + at + np.arange(HORIZON + 1), len(scene.ego) - 1)
        poses.append(scene.ego[rows, :3])
    plans = np.stack(poses)
    plans[..., 2] = np.unwrap(plans[..., 2], axis=1)
    return Reference(plans, Profiles(*Tracker().profiles(plans)), np.full(len(plans), at, np.int64))


def drive_ours(world: World, config: SimulationConfig, steps: int) -> tuple[State, list[Any]]:
    """`steps` steps with all metrics of each."""
    state, found = start_state(world), []
    for k in range(steps):
        if k % REPLAN == 0:
            reference = log_reference(world, k)
        after = step(world, state, reference, config)
        found.append(step_metrics(world, state, after))
        state = after
    return state, found
