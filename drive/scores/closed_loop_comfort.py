"""v2's comfort of drives: with what was driven before a window, and between two plans of the planner that drove."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from drive.dynamics.controller import reference_poses
from drive.plans.plan import Plan, resample, to_ego
from drive.rollouts.rollout import Rollout
from drive.samples.scene import Scene
from drive.scores.pdm_comfort import comfort, two_frame_comfort
from drive.scores.pdm_config import PdmConfig

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HISTORY_STEPS = 15
FEWEST_STEPS = 15
"""Of the time that two plans share: jerks are smoothed over as many (1.5 s)."""


def history_comfort(
    scene: Scene, rollouts: Sequence[Rollout], starts: Sequence[Ints], states: Floats, config: PdmConfig
) -> Floats:
    """v2's comfort [B] of driven windows [B, T, 11]: with the 1.5 s before each, driven or (before the drive) of the
    log's driver. starts: first steps of each drive's windows, B in all."""
    before = np.zeros((len(states), HISTORY_STEPS, states.shape[2]))
    known = np.zeros(len(states), np.bool_)
    row = 0
    for rollout, own in zip(rollouts, starts, strict=True):
        ego = np.concatenate([scene.ego[: scene.now], rollout.ego])
        there = np.concatenate([scene.ego_valid[: scene.now], np.ones(len(rollout.ego), np.bool_)])
        at = scene.now + own[:, None] + np.arange(-HISTORY_STEPS, 0)
        fits = at[:, 0] >= 0
        at = np.maximum(at, 0)
        before[row : row + len(own)] = ego[at]
        known[row : row + len(own)] = fits & there[at].all(axis=1)
        row += len(own)
    out = comfort(states, scene.vehicle.centre, config, None)
    if known.any():
        out[known] = comfort(states[known], scene.vehicle.centre, config, before[known])
    return out


def plan_comfort(scene: Scene, rollouts: Sequence[Rollout], starts: Sequence[Ints], config: PdmConfig) -> Floats:
    """v2's two-frame comfort [B] of windows: the plan that a window begins with against the planner's next one.

    Both are driven by the score's tracker from where they were made, and compared over the time that both cover. NaN
    where there are no two plans, or they are shorter than a window, or share less than 1.5 s. The published pairs are
    0.5 s apart; here they are as far apart as the planner was asked.
    """
    tracker, horizon = config.tracker(scene.vehicle), config.steps * config.step_s
    times: Floats = np.arange(1, config.steps + 1) * np.float64(config.step_s)
    shifts, pairs, egos = [], [], []
    for rollout, own in zip(rollouts, starts, strict=True):
        plans = rollout.plans
        lasts = plans.times_s[plans.offsets[1:] - 1] if len(plans) else np.zeros(0)
        for start in own.tolist():
            first = int(np.searchsorted(plans.step, start, side="right")) - 1
            both = [first, first + 1]
            shift = int(np.diff(plans.step[both])[0]) if 0 <= first < len(plans) - 1 else 0
            if not 0 < shift <= config.steps + 1 - FEWEST_STEPS or lasts[both].min() < horizon - 1e-9:
                shifts.append(0)
                continue
            shifts.append(shift)
            egos.append(rollout.ego[plans.step[both]])
            pairs.append(np.stack([_sampled(rollout, k, times) for k in both]))
    found: Floats = np.full(len(shifts), np.nan)
    if not pairs:
        return found
    ego, poses = np.concatenate(egos), np.concatenate(pairs)
    driven = tracker.track(reference_poses(poses, times, ego, horizon, config.step_s), ego)
    driven = driven.reshape(-1, 2, *driven.shape[1:])
    apart = np.asarray(shifts)
    of_pair = apart[apart > 0]
    same = np.empty(len(of_pair))
    for shift in np.unique(of_pair).tolist():
        rows = of_pair == shift
        same[rows] = two_frame_comfort(driven[rows, 1], driven[rows, 0], shift, config)
    found[apart > 0] = same
    return found


def _sampled(rollout: Rollout, k: int, times: Floats) -> Floats:
    """Plan k at `times`, in the frame of the ego when it was made."""
    rows, step = slice(rollout.plans.offsets[k], rollout.plans.offsets[k + 1]), rollout.plans.step[k]
    return resample(Plan(to_ego(rollout.plans.poses[rows], rollout.ego[step, :3]), rollout.plans.times_s[rows]), times)
