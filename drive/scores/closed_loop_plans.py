"""What planners say at the start of their drives, where all of them know the same: open loop, and how modes differ.

Open loop does not rank drivers (a plan made of the ego's own speed does well in it): these figures stand beside the
drives' scores, and an ego-only planner's beside any other's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from drive.plans.plan import Plan, resample, to_ego
from drive.rollouts.rollout import Rollout
from drive.samples.scene import STEP_S, Scene
from drive.scores.nuplan_open_loop import NuplanOpenLoopConfig, NuplanOpenLoopScore, nuplan_open_loop
from drive.scores.open_loop import OpenLoopConfig, OpenLoopScore, open_loop
from drive.scores.open_loop_diversity import mode_diversity

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class FirstPlans:
    """Figures of one planner's first plans.

    Attributes:
        plans: how many there are (a planner that failed at once has none).
        shortest_s: of the plans; where it is under what a figure needs, the figure is None.
        open_loop: L2 and collisions in both conventions. nuplan: nuPlan's open-loop score; its horizons say how far.
        diversity: mean over the plans that were chosen among modes, or None. with_modes: how many those are.
    """

    plans: int
    shortest_s: float
    open_loop: OpenLoopScore | None
    nuplan: NuplanOpenLoopScore | None
    diversity: float | None
    with_modes: int


def first_plans(
    rollouts: Sequence[Rollout], scenes: Sequence[Scene | None], config: OpenLoopConfig | None = None
) -> FirstPlans:
    """Figures of the plans made at step 0; scenes[d] is that of rollouts[d]. The others are where they were recorded.

    Each vehicle has its own footprint (not the published one). ValueError: lengths.
    """
    config = config or OpenLoopConfig()
    if len(rollouts) != len(scenes):
        raise ValueError(f"{len(rollouts)} drives, {len(scenes)} scenes")
    found = [
        (rollout, scene, _first(rollout, scene))
        for rollout, scene in zip(rollouts, scenes, strict=True)
        if scene is not None and len(rollout.plans) and rollout.plans.step[0] == 0
    ]
    if not found:
        return FirstPlans(0, 0.0, None, None, None, 0)
    shortest = min(float(plan.times_s[-1]) for *_, plan in found)
    seconds = np.arange(1, int(shortest + 1e-9) + 1, dtype=np.float64)
    diversity = [d for rollout, scene, _ in found if (d := _diversity(rollout, scene)) is not None]
    return FirstPlans(
        plans=len(found),
        shortest_s=shortest,
        open_loop=_open_loop(found, config) if shortest >= max(config.times_s) - 1e-9 else None,
        nuplan=_nuplan(found, seconds),
        diversity=float(np.mean(diversity)) if diversity else None,
        with_modes=len(diversity),
    )


Found = list[tuple[Rollout, Scene, Plan]]


def _first(rollout: Rollout, scene: Scene) -> Plan:
    """The first plan, in the frame of the ego at the start."""
    rows = slice(0, int(rollout.plans.offsets[1]))
    poses = to_ego(rollout.plans.poses[rows], scene.ego[scene.now, :3])
    return Plan(poses, rollout.plans.times_s[rows])


def _truth(scene: Scene, times_s: Floats) -> tuple[Floats, Bools]:
    """(recorded poses [T, 3] in the frame of the ego at the start, whether they are known [T])."""
    at = scene.now + np.round(times_s / STEP_S).astype(np.int64)
    inside = at < len(scene.ego)
    rows = np.minimum(at, len(scene.ego) - 1)
    return to_ego(scene.ego[rows, :3], scene.ego[scene.now, :3]), inside & scene.ego_valid[rows]


def _open_loop(found: Found, config: OpenLoopConfig) -> OpenLoopScore | None:
    times = np.asarray(np.arange(1, max(config.indices()) + 2) * config.step_s, np.float64)
    most = max(len(scene.actors) for _, scene, _ in found)
    shape = (len(found), len(times))
    plans, truth, known = np.zeros((*shape, 3)), np.zeros((*shape, 3)), np.zeros(shape, np.bool_)
    boxes, valid = np.zeros((*shape, most, 5)), np.zeros((*shape, most), np.bool_)
    footprint = np.array([[s.vehicle.length, s.vehicle.width, s.vehicle.centre] for _, s, _ in found])
    for row, (_, scene, plan) in enumerate(found):
        plans[row], (truth[row], known[row]) = resample(plan, times), _truth(scene, times)
        at = np.minimum(scene.now + np.round(times / STEP_S).astype(np.int64), len(scene.ego) - 1)
        A, own = len(scene.actors), scene.actors.box[:, at].transpose(1, 0, 2)
        poses = to_ego(own[..., [0, 1, 4]].reshape(-1, 3), scene.ego[scene.now, :3]).reshape(len(times), A, 3)
        boxes[row, :, :A] = np.concatenate([poses[..., :2], own[..., 2:4], poses[..., 2:]], axis=2)
        valid[row, :, :A] = scene.actors.valid[:, at].T
    if not known.all(axis=1).any():
        return None
    return open_loop(plans, truth, known, boxes, valid, config, footprint)


def _nuplan(found: Found, seconds: Floats) -> NuplanOpenLoopScore | None:
    """A scenario is one first plan here; its middle is compared."""
    kept = [(scene, plan, *_truth(scene, seconds)) for _, scene, plan in found]
    whole = [(scene, plan, truth) for scene, plan, truth, known in kept if known.all()]
    try:
        config = NuplanOpenLoopConfig().up_to(float(len(seconds)))
    except ValueError:
        return None
    if not whole:
        return None
    both = np.stack([[resample(plan, seconds), truth] for _, plan, truth in whole])
    centre = np.array([scene.vehicle.centre for scene, *_ in whole])[:, None, None]
    both[..., 0] += centre * np.cos(both[..., 2])
    both[..., 1] += centre * np.sin(both[..., 2])
    return nuplan_open_loop(both[:, 0], both[:, 1], np.arange(len(whole)), config)


def _diversity(rollout: Rollout, scene: Scene) -> float | None:
    count, points = rollout.plans.mode_shape[0].tolist()
    if not count:
        return None
    modes = to_ego(rollout.plans.mode_poses[: count * points], scene.ego[scene.now, :3])
    return float(mode_diversity(modes[:, :2].reshape(1, count, points, 2))[0])
