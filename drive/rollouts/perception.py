"""What a simulated drive needs of sensors, whichever kind they are: tracks in place of boxes, or raw sensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from drive.plans.planner import Observation
from drive.rollouts.history import History
from drive.rollouts.sensor_loop import Spent
from drive.samples.scene import Scene
from drive.tracks.sequence import TrackSet


class Perception(Protocol):
    """Sensors of some drives while they run."""

    def look(self, drives: Sequence[int], k: int) -> None:
        """Called at each step before planners are asked."""
        ...

    def observe(self, s: int, k: int, observation: Observation) -> Observation:
        """What the planner of drive s is told at step k instead of what is there."""
        ...

    def close(self) -> None:
        """The drives have ended."""
        ...


class Sensors(Protocol):
    """Sensors of a batch of scenes (``drive.rollouts.sensor_loop.SensorSuite``,
    ``drive.rollouts.planner_sensors.PlannerSensors``)."""

    spent: Spent
    seen: list[TrackSet]
    """Tracks of the drives that have ended; empty where nothing is tracked."""

    @property
    def renamed(self) -> bool:
        """Whether a planner with these sensors is another driver than without (``driven_name``)."""
        ...

    @property
    def every(self) -> int:
        """Steps from one look to the next; planning instants must have one."""
        ...

    def begin(self, scenes: Sequence[Scene], history: History) -> Perception:
        """Sensors of these drives."""
        ...
