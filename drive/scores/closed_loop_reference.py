"""PDM-Closed's progress from any instant of a drive: the benchmarks' reference, for windows of drives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from drive.dynamics.controller import reference_poses
from drive.plans.plan import resample
from drive.plans.planner import HISTORY, Observation
from drive.rollouts.pdm_closed import PdmClosedConfig
from drive.rollouts.rollout import Rollout
from drive.samples.route import command
from drive.samples.scene import Actors, Lights, Scene, X, Y
from drive.scores.pdm_closed import pdm_closed
from drive.scores.pdm_config import PdmConfig
from drive.scores.pdm_reference import TIMES_S

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def observe_drive(scene: Scene, rollout: Rollout, step: int) -> Observation:
    """What was known at a step of a drive: recorded before its start, as it went after it. ValueError: no such step."""
    if not 0 <= step < len(rollout.ego):
        raise ValueError(f"{rollout.scene}: step {step} of a drive of {len(rollout.ego) - 1}")
    k = step + np.arange(1 - HISTORY, 1)
    past, known, driven = np.maximum(scene.now + k, 0), scene.now + k >= 0, np.maximum(k, 0)
    recorded = k < 0

    def joined(logged: np.ndarray, own: np.ndarray) -> np.ndarray:
        """[A, H, ...] of the log's [A, T, ...] and the drive's [A, N + 1, ...]; 0 before the log."""
        shape = 1, -1, *[1] * (logged.ndim - 2)
        found = np.where(recorded.reshape(shape), logged[:, past], own[:, driven])
        return np.where(known.reshape(shape), found, np.zeros((), found.dtype))

    theirs, here = scene.actors, rollout.actors
    valid = joined(theirs.valid, here.valid)
    everybody = Actors(
        joined(theirs.box, here.box), joined(theirs.velocity, here.velocity), valid, theirs.kind, theirs.token,
        joined(theirs.ground_z, here.ground_z),
    )  # fmt: skip
    ego = joined(scene.ego[None], rollout.ego[None])[0]
    lights = scene.lights
    return Observation(
        scene=scene.name,
        timestamp_ns=int(scene.timestamps_ns[scene.now + step]),
        step=step,
        ego=ego,
        ego_valid=known & (~recorded | scene.ego_valid[past]),
        vehicle=rollout.vehicle,
        actors=everybody.take(np.flatnonzero(valid.any(axis=1))),
        lights=Lights(np.where(known[:, None], lights.state[past], 0).astype(np.int8), lights.lane, lights.stop_xy),
        map=scene.map,
        route=scene.route,
        command=command(scene.route, ego[-1, [X, Y]]),
    )


def pdm_closed_states(scene: Scene, rollouts: Sequence[Rollout], starts: Sequence[Ints], config: PdmConfig) -> Floats:
    """States [B, T, 11] of PDM-Closed's plans, driven, from the first instants of the B windows of drives in a scene.

    As the benchmarks' reference: without its emergency brake. ValueError: the scene has no route.
    """
    planner = pdm_closed(PdmClosedConfig(emergency_brake=False)).for_scene(scene)
    tracker, seconds = config.tracker(scene.vehicle), config.steps * config.step_s
    times = np.asarray(TIMES_S, np.float64)
    poses, ego = [], []
    for rollout, own in zip(rollouts, starts, strict=True):
        for step in own.tolist():
            poses.append(resample(planner.plan(observe_drive(scene, rollout, step)), times))
            ego.append(rollout.ego[step])
    if not poses:
        return np.zeros((0, config.steps + 1, 11))
    now = np.stack(ego)
    return tracker.track(reference_poses(np.stack(poses), times, now, seconds, config.step_s), now)
