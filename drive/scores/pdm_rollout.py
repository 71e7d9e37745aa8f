"""What nuPlan's score needs to know of a drive: the scene with the traffic as it moved there, the expert's progress.

The PDM score of drives is in `drive.scores.closed_loop`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from drive.rollouts.rollout import Rollout
from drive.samples.scene import STATIC, Scene
from drive.scores.pdm_config import PdmConfig
from drive.scores.pdm_route import along_line
from drive.scores.pdm_scene import PdmMap, PdmScene, pdm_scene


def driven_config(config: PdmConfig, steps: int) -> PdmConfig:
    """The version for a drive of so many steps."""
    return replace(config, steps=steps, traffic_beyond=False)


def driven_scene(scene: Scene, rollout: Rollout, config: PdmConfig, pdm_map: PdmMap | None = None) -> PdmScene:
    """The scene with the traffic of the drive. ValueError: a failed drive, one shorter than 6 steps."""
    steps = len(rollout.ego) - 1
    if rollout.failed or steps < 6:
        raise ValueError(f"{rollout.scene}: a drive of {steps} steps ({rollout.failure or rollout.end}) has no score")
    logged = pdm_scene(scene, driven_config(config, steps), pdm_map=pdm_map)
    actors = rollout.actors
    return replace(
        logged,
        boxes=np.ascontiguousarray(actors.box.transpose(1, 0, 2)),
        valid=np.ascontiguousarray(actors.valid.T),
        speed=np.ascontiguousarray(np.hypot(*actors.velocity.T)),
        is_thing=actors.kind == STATIC,
    )


def expert_progress(scene: Scene, ready: PdmScene, steps: int) -> float:
    """Metres along the route that the log's driver made in the same time (0 where nothing is known of it)."""
    stop = scene.now + steps
    if ready.line is None or stop >= len(scene.ego) or not scene.ego_valid[[scene.now, stop]].all():
        return 0.0
    places = []
    for x, y, heading in scene.ego[[scene.now, stop], :3]:
        middle = x + ready.vehicle.centre * np.cos(heading), y + ready.vehicle.centre * np.sin(heading)
        places.append(along_line(*middle, ready.line.points, ready.line.along))
    return max(float(places[1] - places[0]), 0.0)
