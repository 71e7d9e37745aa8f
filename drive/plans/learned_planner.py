"""A trained network as a planner of drives."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from drive.geometry.angles import wrap_angle
from drive.plans.learned import PlannerModel
from drive.plans.plan import Modes, Plan
from drive.plans.planner import HISTORY, Observation
from drive.plans.proposals import Proposals
from drive.samples.plan_sample import HISTORY as SAMPLED
from drive.samples.plan_sample import MapLines, PlanFeatures, PlanSample, cut_lines, make_sample
from drive.samples.plan_sample_batch import collate_plans
from drive.samples.plan_sample_raster import MapPicture, draw_map
from drive.samples.plan_sample_sensors import PlanSensors

assert HISTORY == SAMPLED, "a drive's history must be as long as a training decision's"
MAPS_KEPT = 64
PICTURE_REACH_M = 150.0
"""A picture reaches this far around the place where its drive was first asked about, where there is no route."""


@dataclass
class LearnedPlanner:
    """Samples are made of observations as they are of logs; one forward pass answers for many drives.

    seed: of the noise, which depends on it, the scene and the step alone; None starts without noise.
    headings: of the plans: those that the network tells, or those of the path through its places. A tracker follows
        headings more than places, and a network that has learned its places may still be a tenth of a radian off.
    """

    name: str
    model: PlannerModel
    features: PlanFeatures
    seed: int | None = 0
    headings: Literal["told", "path"] = "told"
    _maps: OrderedDict[str, tuple[object, MapLines, MapPicture]] = field(default_factory=OrderedDict, repr=False)

    @property
    def sensors(self) -> PlanSensors | None:
        """Sizes of what it sees for itself; None: it is told of objects and the map."""
        return self.features.sensors

    def plan(self, observation: Observation) -> Plan:
        """The highest-scored trajectory."""
        return self.plan_many([observation])[0]

    def plan_many(self, observations: Sequence[Observation]) -> list[Plan]:
        """One plan an observation, in order."""
        if not observations:
            return []
        proposals = self.propose(observations)
        best, every, logits = (t.cpu().double().numpy() for t in (proposals.best(), proposals.poses, proposals.logits))
        if self.headings == "path":
            best[..., 2] = path_headings(best[..., :2])
        times = (np.arange(self.features.points) + 1) * self.features.step_s
        if every.shape[1] == 1:
            return [Plan(poses, times) for poses in best]
        return [Plan(*row[:1], times, Modes(*row[1:])) for row in zip(best, every, logits, strict=True)]

    def propose(self, observations: Sequence[Observation]) -> Proposals:
        """All trajectories with their scores, for pictures and studies."""
        device = next(self.model.parameters()).device
        return self.model.propose(collate_plans([self._sample(o) for o in observations]).to(device), self.seed)

    def _sample(self, observation: Observation) -> PlanSample:
        if self.sensors is not None and observation.sensors is None:
            raise ValueError("this planner sees for itself: it needs cameras and lidar, and was given none")
        lines, picture = self._drawn(observation)
        sample = make_sample(
            f"{observation.scene} step {observation.step}",
            observation.ego,
            observation.ego_valid,
            observation.actors,
            observation.lights,
            observation.command,
            lines,
            picture,
            self.features,
        )
        return sample if self.sensors is None else replace(sample, sensors=observation.sensors)

    def _drawn(self, observation: Observation) -> tuple[MapLines, MapPicture]:
        """The map's lines and picture: made at a scene's first observation and kept for the scenes asked about last."""
        kept = self._maps.get(observation.scene)
        if kept is None or kept[0] is not observation.map:
            here = observation.ego[-1, :2]
            reach = np.array([here - PICTURE_REACH_M, here + PICTURE_REACH_M])
            picture = draw_map(observation.map, observation.route, reach, self.features.raster.cell_m)
            kept = observation.map, cut_lines(observation.map, observation.route), picture
            self._maps[observation.scene] = kept
            while len(self._maps) > MAPS_KEPT:
                self._maps.popitem(last=False)
        self._maps.move_to_end(observation.scene)
        return kept[1], kept[2]


LEAST_WAY_M = 0.4
"""A shorter piece of a path says nothing of the heading: the one before it goes on."""


def path_headings(places: np.ndarray) -> np.ndarray:
    """Headings float64 [B, T] of paths through places [B, T, 2] that begin at the origin, along x: at each place a mean
    of the two pieces which meet there (the longer one counts less), at the last one its piece's."""
    B, T = places.shape[:2]
    step = np.diff(np.concatenate([np.zeros((B, 1, 2)), places], axis=1), axis=1)
    length, way = np.hypot(step[..., 0], step[..., 1]), np.arctan2(step[..., 1], step[..., 0])
    long = length > LEAST_WAY_M
    turned, before = np.empty((B, T)), np.zeros(B)
    for t in range(T):  # 8 places; the drives are side by side
        before = np.where(long[:, t], before + wrap_angle(way[:, t] - before), before)
        turned[:, t] = before
    out = turned.copy()
    both = long[:, :-1] & long[:, 1:]
    mean = turned[:, :-1] * length[:, 1:] + turned[:, 1:] * length[:, :-1]
    out[:, :-1] = np.where(both, mean / np.maximum(length[:, :-1] + length[:, 1:], 1e-9), turned[:, :-1])
    return out
