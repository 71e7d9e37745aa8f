"""The PDM score of a plan at a scene's start, as NAVSIM gives it: against a reference's progress, traffic as logged."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from drive.dynamics.controller import reference_poses
from drive.plans.plan import Plan, resample, to_ego
from drive.plans.planner import Observation, Planner, ScenePlanner
from drive.rollouts.config import SimulationConfig
from drive.rollouts.history import History
from drive.rollouts.pdm_closed import PdmClosedConfig
from drive.rollouts.state import build_world
from drive.samples.scene import Scene
from drive.scores.pdm import PdmScorer, PdmTable, filtered_by_human
from drive.scores.pdm_closed import pdm_closed
from drive.scores.pdm_config import PdmConfig
from drive.scores.pdm_scene import PdmMap, pdm_scene

Floats = npt.NDArray[np.float64]
Reference = Literal["pdm_closed", "human", "best"]
"""Whose progress a plan's is measured against: PDM-Closed's (the benchmarks'), the log's driver's, or the best of the
plans given. Scores with different references are not comparable."""

TIMES_S = np.arange(1, 9) * 0.5


def observe_start(scene: Scene) -> Observation:
    """What is known at a scene's start."""
    return History(build_world([scene], SimulationConfig())).observe(0, 0)


class PlanScorer:
    """A scene's start and a version of the score, ready for any number of plans."""

    def __init__(
        self, scene: Scene, config: PdmConfig, reference: Reference = "pdm_closed", pdm_map: PdmMap | None = None
    ) -> None:
        """ValueError: the scene ends before the traffic that is needed; no route, and the reference needs one."""
        if reference not in ("pdm_closed", "human", "best"):
            raise ValueError(f"reference {reference!r} is not pdm_closed, human or best")
        self.scene, self.config, self.reference = scene, config, reference
        self.ready = pdm_scene(scene, config, pdm_map=pdm_map)
        self.scorer, self.tracker = PdmScorer(self.ready, config), config.tracker(scene.vehicle)
        self.ego = scene.ego[scene.now]
        self.observation = observe_start(scene)
        self.reference_m: float | None = None
        if reference != "best":
            plan = self._pdm_closed() if reference == "pdm_closed" else self.human_plan()
            table = self.scorer.raw(self.drive(_poses([plan])))
            self.reference_m = float(table.progress_m[0] * table.product[0])

    @property
    def label(self) -> str:
        """Version, parity and reference: to be stored with every number."""
        return f"{self.config.label()}, progress against {self.reference}"

    def drive(self, poses: Floats) -> Floats:
        """States [P, T, 11] of plans [P, 8, 3] at TIMES_S, in the frame of the ego now."""
        config = self.config
        plans = reference_poses(
            poses, np.asarray(TIMES_S, np.float64), self.ego, config.steps * config.step_s, config.step_s
        )
        return self.tracker.track(plans, self.ego)

    def score(self, plans: list[Plan], human_filter: bool = False, before: Floats | None = None) -> PdmTable:
        """One row a plan; with `human_filter` (v2, recorded scenes) what the log's driver does too is forgiven.

        before: `drive` of each plan's predecessor, float64 [P, T, 11], made in the scene that starts 0.5 s earlier
        (same frame): v2's two-frame comfort; without it the score is without that term.
        Plans are read every half second, as the benchmark's are; one that ends early holds its last pose.
        """
        table = self.scorer.score(self.drive(_poses(plans)), self.reference_m, before)
        if not human_filter:
            return table
        human = self.scorer.score(self.drive(_poses([self.human_plan()])))
        return filtered_by_human(table, human, self.config)

    def score_planner(self, planner: Planner, human_filter: bool = False) -> PdmTable:
        """What a planner says at the start. Its exceptions are its own."""
        ready = planner.for_scene(self.scene) if isinstance(planner, ScenePlanner) else planner
        return self.score([ready.plan(self.observation)], human_filter)

    def human_plan(self) -> Plan:
        """What the log's driver did. ValueError: the log does not say."""
        rows = self.scene.now + np.round(TIMES_S * 10).astype(np.int64)
        if rows[-1] >= len(self.scene.ego) or not self.scene.ego_valid[rows].all():
            raise ValueError(f"{self.scene.name}: the log's driver is not known for {TIMES_S[-1]:g} s")
        return Plan(to_ego(self.scene.ego[rows, :3], self.ego[:3]), TIMES_S)

    def _pdm_closed(self) -> Plan:
        without = PdmClosedConfig(emergency_brake=False)
        return pdm_closed(without).for_scene(self.scene).plan(self.observation)


def _poses(plans: list[Plan]) -> Floats:
    return np.stack([resample(plan, TIMES_S) for plan in plans]) if plans else np.zeros((0, 8, 3))
