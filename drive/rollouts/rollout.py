"""What a simulated drive leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from drive.dynamics.vehicle import Vehicle
from drive.plans.plan import Modes, Plan, to_scene
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
        mode_shape: int64 [C, 2]: plan c was chosen among M modes of K poses each; 0, 0 where the planner told of none.
        mode_poses: float64 [sum of M * K, 3] as `poses`, plan after plan, mode after mode.
        mode_scores: float64 [sum of M], higher is better, in the planner's own unit.
    """

    step: np.ndarray
    offsets: np.ndarray
    poses: np.ndarray
    times_s: np.ndarray
    seconds: np.ndarray
    mode_shape: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    mode_poses: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    mode_scores: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if not len(self.mode_shape):  # nothing was told of any plan
            object.__setattr__(self, "mode_shape", np.zeros((len(self.step), 2), np.int64))
        modes, points = self.mode_shape.T
        if len(modes) != len(self) or modes.sum() != len(self.mode_scores):
            raise ValueError(f"{len(self)} plans, {len(modes)} shapes of modes, {len(self.mode_scores)} scores")
        if (modes * points).sum() != len(self.mode_poses):
            raise ValueError(f"{len(self.mode_poses)} poses of modes, not {(modes * points).sum()}")

    def __len__(self) -> int:
        return len(self.step)

    def modes_of(self, plan: int) -> Modes | None:
        """What a plan was chosen among, in the scene's frame; None where the planner did not tell."""
        count, points = self.mode_shape[plan]
        if not count:
            return None
        before = self.mode_shape[:plan]
        pose, score = int((before[:, 0] * before[:, 1]).sum()), int(before[:, 0].sum())
        poses = self.mode_poses[pose : pose + count * points].reshape(count, points, 3)
        return Modes(poses, self.mode_scores[score : score + count])

    @staticmethod
    def of(made: Sequence[tuple[int, Plan, np.ndarray, float]]) -> PlanRecord:
        """Of plans as they were made: step, plan, pose [3] of the ego in the scene then, seconds that it took."""
        poses = [to_scene(plan.poses, pose) for _, plan, pose, _ in made]
        modes = [(plan.modes, pose) for _, plan, pose, _ in made if plan.modes is not None]
        shapes = [(0, 0) if plan.modes is None else plan.modes.poses.shape[:2] for _, plan, _, _ in made]
        moved = [to_scene(own.poses, pose).reshape(-1, 3) for own, pose in modes]
        return PlanRecord(
            step=np.array([k for k, *_ in made], np.int64),
            offsets=np.cumsum([0, *(len(p) for p in poses)]).astype(np.int64),
            poses=np.concatenate(poses) if poses else np.zeros((0, 3)),
            times_s=np.concatenate([plan.times_s for _, plan, _, _ in made]) if made else np.zeros(0),
            seconds=np.array([seconds for *_, seconds in made], np.float64),
            mode_shape=np.array(shapes, np.int64).reshape(-1, 2),
            mode_poses=np.concatenate(moved) if moved else np.zeros((0, 3)),
            mode_scores=np.concatenate([own.scores for own, _ in modes]) if modes else np.zeros(0),
        )


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


def driven_name(planner: str, sensors: bool) -> str:
    """How results name a planner: one that is told what sensors perceive is another driver."""
    return f"{planner}_sensors" if sensors else planner
