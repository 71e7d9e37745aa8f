"""What a planner is told and what it must be.

A planner in full::

    class Straight:
        name = "straight"

        def plan(self, observation: Observation) -> Plan:
            times = np.arange(1, 9) * 0.5
            speed = observation.ego[-1, VX]
            return Plan(np.stack([speed * times, 0 * times, 0 * times], axis=1), times)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from drive.dynamics.vehicle import Vehicle
from drive.plans.plan import Plan
from drive.samples.scene import Actors, Lights, Route, Scene, SceneMap

if TYPE_CHECKING:  # it reads pictures; the loop as tensors needs torch, numpy and numba alone
    from drive.samples.plan_sample_sensors import PlanSensorInput, PlanSensors

HISTORY = 21
"""Instants of an observation: 2 s at 10 Hz and now."""


@dataclass(frozen=True)
class Observation:
    """What is known at one instant of a drive. H = HISTORY instants, 0.1 s apart; the last one is now.

    All of it in the scene's frame (Plan wants the ego's: ``drive.plans.plan.to_ego``).

    Attributes:
        scene: name of the scene.
        timestamp_ns: now.
        step: instants since the drive began (0 at its first).
        ego: float64 [H, 11], EGO_COLUMNS, rear axle.
        ego_valid: bool [H], false where the history does not reach back so far.
        vehicle: the ego's measures.
        actors: with H instants; an actor that has not been seen yet is not among them.
        lights: with H instants.
        map, route: as in the scene; route None where the scene has none.
        command: where the route leads, index into drive.samples.route.COMMANDS.
        sensors: what a planner that sees for itself sees now (``SensorPlanner``; it is told of no actors, map, lights
            and route); None for all others.
    """

    scene: str
    timestamp_ns: int
    step: int
    ego: np.ndarray
    ego_valid: np.ndarray
    vehicle: Vehicle
    actors: Actors
    lights: Lights
    map: SceneMap
    route: Route | None
    command: int
    sensors: PlanSensorInput | None = None

    def __post_init__(self) -> None:
        if len(self.ego) != HISTORY or len(self.ego_valid) != HISTORY or not self.ego_valid[-1]:
            raise ValueError(f"an observation needs {HISTORY} instants of the ego, the last one valid")


@runtime_checkable
class Planner(Protocol):
    """Anything with a name that makes a plan of an observation. An exception is recorded as a failed drive."""

    @property
    def name(self) -> str:
        """How results name it."""
        ...

    def plan(self, observation: Observation) -> Plan:
        """The plan at this instant."""
        ...


@runtime_checkable
class BatchPlanner(Planner, Protocol):
    """A planner that answers for many drives in one call, as a network does."""

    def plan_many(self, observations: Sequence[Observation]) -> Sequence[Plan]:
        """One plan an observation, in order."""
        ...


@runtime_checkable
class ScenePlanner(Planner, Protocol):
    """A planner that keeps something for each drive, or that may look into the log (log replay)."""

    def for_scene(self, scene: Scene) -> Planner:
        """The planner of one drive."""
        ...


@runtime_checkable
class SensorPlanner(Planner, Protocol):
    """A planner that sees for itself where `sensors` is not None: cameras and lidar are rendered for it."""

    @property
    def sensors(self) -> PlanSensors | None:
        """Sizes of what it takes."""
        ...


def own_sensors(planner: Planner) -> PlanSensors | None:
    """What a planner wants to see for itself; None where it wants to be told."""
    return planner.sensors if isinstance(planner, SensorPlanner) else None
