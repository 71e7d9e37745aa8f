"""PDM-Closed with its scorer: ``drive simulate LOGS --planner drive.scores.pdm_closed:pdm_closed``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from drive.dynamics.vehicle import Vehicle
from drive.plans.planner import Observation
from drive.rollouts.pdm_closed import Forecast, PdmClosed, PdmClosedConfig
from drive.samples.scene import STATIC, Scene
from drive.scores.pdm import PdmScorer
from drive.scores.pdm_config import PdmConfig
from drive.scores.pdm_scene import PdmMap, PdmScene, pdm_scene

Floats = npt.NDArray[np.float64]

INSIDE = PdmConfig(version="v1.1", direction_multiplies=True, progress_m=0.1)
"""The planner's own score: driving direction is a factor, and 0.1 m of progress is some."""


BUFFERED_TOLERANCE_M = 0.3
"""nuPlan's tolerance for leaving the road."""


class PdmJudge:
    """The PDM score of proposals among a forecast, with the map of one scene ready."""

    def __init__(self, scene: Scene, config: PdmConfig = INSIDE) -> None:
        # Where lanes were buffered because the map has no polygons of theirs, the inside of a turn is not in them: with
        # no tolerance every proposal through it is off the road, and none is the best.
        if scene.map.drivable_from == "polygons and buffered centre lines":
            config = replace(config, road_tolerance_m=BUFFERED_TOLERANCE_M)
        self.config, self.instants = config, config.traffic_steps
        ready = replace(config, traffic_beyond=False)
        # Only the map, the route and the road's edges are taken of this.
        self.base: PdmScene = pdm_scene(scene, replace(ready, steps=3), pdm_map=PdmMap.of(scene.map))

    def __call__(
        self, observation: Observation, forecast: Forecast, states: Floats
    ) -> tuple[Floats, npt.NDArray[np.int64]]:
        """See `drive.rollouts.pdm_closed.Judge`."""
        boxes = forecast.boxes[: self.instants]
        shape = boxes.shape[:2]
        scene = replace(
            self.base,
            vehicle=observation.vehicle,
            boxes=boxes,
            valid=np.ones(shape, np.bool_),
            speed=np.broadcast_to(np.hypot(*forecast.velocity.T), shape),
            is_thing=forecast.kind == STATIC,
            red=np.zeros((shape[0], 0), np.bool_),
            red_polygon=np.zeros(0, np.int64),
        )
        table = PdmScorer(scene, self.config).score(states)
        return table.score, table.steps["collision"]


def pdm_closed(config: PdmClosedConfig | None = None) -> PdmClosed:
    """The planner, ready for scenes; in each it drives that scene's vehicle."""
    return PdmClosed(PdmJudge, config or PdmClosedConfig(), INSIDE.tracker(Vehicle()))
