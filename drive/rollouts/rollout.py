"""What a simulated drive leaves behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drive.dynamics.vehicle import Vehicle
from drive.rollouts.infractions import Infraction
from drive.samples.scene import EGO_COLUMNS, Actors

ENDS = ("end of the log", "collision", "off the road", "off the route", "planner failed", "not simulated")


@dataclass(frozen=True)
class PlanRecord:
    """The C plans of a drive.

    Attributes:
        step: int64 [C], when each was made.
        offsets: int64 [C + 1]; plan c is rows offsets[c]:offsets[c + 1] of the two below.
        poses: float64 [M, 3] x, y, heading of the rear axle in the scene's frame.
        times_s: float64 [M] after the decision.
        seconds: float64 [C] that the planner took.
    """

    step: np.ndarray
    offsets: np.ndarray
    poses: np.ndarray
    times_s: np.ndarray
    seconds: np.ndarray

    def __len__(self) -> int:
        return len(self.step)


@dataclass(frozen=True)
class Rollout:
    """One drive: N + 1 instants from its start, STEP_S apart, in the scene's frame.

    Attributes:
        scene, log, planner: names.
        timestamps_ns: int64 [N + 1].
        origin_xy: global place of the scene's origin.
        ego: float64 [N + 1, 11], EGO_COLUMNS, rear axle.
        vehicle: its measures.
        actors: the others as they moved here, N + 1 instants.
        off_road_m: float64 [N + 1] of the ego's outermost corner; below 0 where the map has road edges and it is on
            the road; all 0 where `road_known` is false.
        along_m, aside_m: float64 [N + 1] on the route's centre line; all 0 where `route_known` is false.
        plans: what the planner said.
        infractions: in order of time.
        end: one of ENDS; failure says more of a planner that failed (what, at which step) or a scene that could not be
            made.
    """

    scene: str
    log: str
    planner: str
    timestamps_ns: np.ndarray
    origin_xy: np.ndarray
    ego: np.ndarray
    vehicle: Vehicle
    actors: Actors
    off_road_m: np.ndarray
    along_m: np.ndarray
    aside_m: np.ndarray
    road_known: bool
    route_known: bool
    plans: PlanRecord
    infractions: tuple[Infraction, ...]
    end: str
    failure: str = ""

    def __post_init__(self) -> None:
        if self.end not in ENDS:
            raise ValueError(f"end {self.end!r} is not one of {ENDS}")

    @property
    def failed(self) -> bool:
        """Whether there is no whole drive to score."""
        return self.failure != ""


def not_simulated(scene: str, log: str, planner: str, failure: str) -> Rollout:
    """The place of a drive whose scene could not be made, or whose process died."""
    none = np.zeros(0)
    plans = PlanRecord(none.astype(np.int64), np.zeros(1, np.int64), np.zeros((0, 3)), none, none)
    return Rollout(
        scene, log, planner, none.astype(np.int64), np.zeros(2), np.zeros((0, len(EGO_COLUMNS))), Vehicle(),
        Actors.none(0), none, none, none, False, False, plans, (), "not simulated", failure,
    )  # fmt: skip
