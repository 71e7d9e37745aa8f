"""Drives in closed loop: a planner decides, the vehicle follows, the others answer, over and over.

All scenes run side by side in arrays; only the planner is called scene by scene (or once, if it answers for many).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from drive.dynamics.controller import Profiles, Tracker
from drive.dynamics.vehicle import Vehicle
from drive.geometry.angles import wrap_angle
from drive.plans.plan import Plan, resample, to_scene
from drive.plans.planner import Planner, ScenePlanner
from drive.rollouts.agents import move_actors
from drive.rollouts.call import Caller, ask
from drive.rollouts.config import SimulationConfig
from drive.rollouts.history import History
from drive.rollouts.infractions import Watch, infractions_of
from drive.rollouts.rollout import PlanRecord, Rollout, driven_name
from drive.rollouts.state import State, World, build_world, start_state
from drive.samples.scene import AX, AY, HEADING, STEERING, STEP_S, VX, YAW_RATE, Scene, X, Y

if TYPE_CHECKING:  # who drives without sensors needs no detector, tracker, or image library
    from drive.rollouts.perception import Sensors

HORIZON = 40
"""Steps of a plan that the tracker is given (4 s)."""

RouteWatcher = Callable[[int, int], None]


@dataclass(frozen=True)
class Reference:
    """The plans in force, ready for the tracker.

    Attributes:
        poses: float64 [S, HORIZON + 1, 3] in the scene's frame, from the instant at which each came into force.
        profiles: speeds and curvatures that they ask for.
        since: int64 [S], the step at which each came into force.
    """

    poses: np.ndarray
    profiles: Profiles
    since: np.ndarray


def step(world: World, state: State, reference: Reference, config: SimulationConfig) -> State:
    """The world one step (0.1 s) later. Pure: nothing that is handed in changes; the same in, the same out."""
    at = state.step - reference.since
    if config.tracking == "perfect":
        ego = _perfect(world, state, reference, at)
    else:
        ego = np.empty_like(state.ego)
        for vehicle, rows in _by_vehicle(world):
            own = Profiles(*(p[rows] for p in reference.profiles))
            ego[rows] = Tracker(vehicle).step(reference.poses[rows], own, at[rows], state.ego[rows])
    box, velocity, valid, along, speed = move_actors(world, state, config.actors)
    return State(state.step + 1, ego, box, velocity, valid, along, speed)


def _by_vehicle(world: World) -> list[tuple[Vehicle, np.ndarray]]:
    kinds = list(dict.fromkeys(s.vehicle for s in world.scenes))
    return [(v, np.array([i for i, s in enumerate(world.scenes) if s.vehicle == v])) for v in kinds]


def _perfect(world: World, state: State, reference: Reference, at: np.ndarray) -> np.ndarray:
    """The ego where its plan has it; velocities and rates are differences of the poses."""
    rows = np.arange(len(at))
    pose = reference.poses[rows, np.minimum(at + 1, HORIZON)]
    ego = np.zeros_like(state.ego)
    ego[:, [X, Y]], ego[:, HEADING] = pose[:, :2], wrap_angle(pose[:, 2])
    moved, turned = pose[:, :2] - state.ego[:, :2], wrap_angle(pose[:, 2] - state.ego[:, HEADING])
    middle = state.ego[:, HEADING] + turned / 2
    ego[:, VX] = (moved[:, 0] * np.cos(middle) + moved[:, 1] * np.sin(middle)) / STEP_S
    ego[:, YAW_RATE] = turned / STEP_S
    ego[:, AX], ego[:, AY] = (ego[:, VX] - state.ego[:, VX]) / STEP_S, ego[:, VX] * ego[:, YAW_RATE]
    wheelbase = np.array([s.vehicle.wheelbase for s in world.scenes])
    moving = np.abs(ego[:, VX]) > 0.5
    ego[:, STEERING] = np.where(moving, np.arctan(wheelbase * turned / STEP_S / np.where(moving, ego[:, VX], 1.0)), 0.0)
    return ego


def simulate(
    scenes: Sequence[Scene],
    planner: Planner,
    config: SimulationConfig | None = None,
    sensors: Sensors | None = None,
) -> list[Rollout]:
    """One drive a scene, side by side. A planner that fails in one scene ends that drive alone: its rollout says so.

    With ``sensors`` the planner is told of the others what these perceive, instead of the true boxes, or sees for
    itself. ValueError: its looks and the planner's do not fall together.
    """
    if not scenes:
        return []
    return _Drives(scenes, planner, config or SimulationConfig(), sensors).run()


def rerun(scene: Scene, planner: Planner, config: SimulationConfig | None = None) -> Rollout:
    """One drive again: the same as among others, since drives do not touch each other."""
    return simulate([scene], planner, config)[0]


class _Drives:
    """The loop and its books. The world, the states and `step` know nothing of planners."""

    def __init__(
        self, scenes: Sequence[Scene], planner: Planner, config: SimulationConfig, sensors: Sensors | None
    ) -> None:
        self.config, self.name = config, driven_name(planner.name, sensors is not None and sensors.renamed)
        self.every = max(1, round(config.replan_s / STEP_S))
        if sensors is not None and self.every % sensors.every:
            raise ValueError(f"plans every {config.replan_s:g} s, but looks every {sensors.every * STEP_S:g} s")
        self.world = build_world(scenes, config)
        self.state = start_state(self.world)
        self.watch = Watch.of(self.world)
        self.history = History(self.world)
        self.perceived = None if sensors is None else sensors.begin(scenes, self.history)
        self.caller = Caller(config.time_limit_s)
        count = len(scenes)
        self.active = np.ones(count, bool)
        self.last = self.world.steps.copy()
        self.end = ["end of the log"] * count
        self.failure = [""] * count
        self.made: list[list[tuple[int, Plan, np.ndarray, float]]] = [[] for _ in scenes]
        self.waiting: list[list[tuple[int, np.ndarray]]] = [[] for _ in scenes]
        still = np.repeat(self.state.ego[:, None, :3], HORIZON + 1, axis=1)
        self.reference = Reference(still, Profiles(*np.zeros((2, count, HORIZON))), np.zeros(count, np.int64))
        self.planners: list[Planner | None] = [self._for_scene(planner, s) for s in range(count)]

    def _for_scene(self, planner: Planner, s: int) -> Planner | None:
        if not isinstance(planner, ScenePlanner):
            return planner
        own, failure, _ = self.caller(planner.for_scene, self.world.scenes[s])
        if failure:
            self._finish(s, 0, "planner failed", f"for_scene {failure}")
        return own

    def _finish(self, s: int, step: int, end: str, failure: str = "") -> None:
        if self.active[s]:
            self.active[s], self.last[s], self.end[s], self.failure[s] = False, step, end, failure

    def run(self) -> list[Rollout]:
        """All drives to their ends."""
        present = np.ones_like(self.state.valid)
        try:
            self._look(present)
            for k in range(int(self.world.steps.max())):
                self.active &= self.world.steps > k
                if not self.active.any():
                    break
                if self.perceived is not None:
                    self.perceived.look(np.flatnonzero(self.active).tolist(), k)
                if k % self.every == 0:
                    self._plan(k)
                self._put_in_force(k)
                before = self.state
                after = step(self.world, before, self.reference, self.config)
                # Drives that have ended stay where they are.
                ego = np.where(self.active[:, None], after.ego, before.ego)
                self.state = replace(after, ego=ego)
                self.history.add(self.state)
                self._look(before.valid)
        finally:
            self.caller.close()
        if self.perceived is not None:
            self.perceived.close()
        return [self._rollout(s) for s in range(len(self.world.scenes))]

    def _plan(self, k: int) -> None:
        asked = [int(s) for s in np.flatnonzero(self.active)]
        observations = [self.history.observe(s, k) for s in asked]
        if self.perceived is not None:
            observations = [self.perceived.observe(s, k, o) for s, o in zip(asked, observations, strict=True)]
        planners = [p for s in asked if (p := self.planners[s]) is not None]
        for s, observation, answer in zip(asked, observations, ask(self.caller, planners, observations), strict=True):
            if answer.plan is None:
                self._finish(s, k, "planner failed", f"{answer.failure} ({k * STEP_S:.1f} s after the start)")
                continue
            late = round(self.config.latency_s / STEP_S) if k else 0
            pose = observation.ego[-1, :3].copy()
            poses = resample(answer.plan, (late + np.arange(HORIZON + 1)) * STEP_S)
            self.made[s].append((k, answer.plan, pose, answer.seconds))
            self.waiting[s].append((k + late, to_scene(poses, pose)))

    def _put_in_force(self, k: int) -> None:
        due = [(s, w[1]) for s in np.flatnonzero(self.active) for w in self.waiting[s] if w[0] == k]
        if not due:
            return
        rows, fresh = np.array([s for s, _ in due]), np.stack([poses for _, poses in due])
        poses, since = self.reference.poses.copy(), self.reference.since.copy()
        poses[rows], since[rows] = fresh, k
        # Profiles do not depend on the vehicle.
        speed, curvature = (p.copy() for p in self.reference.profiles)
        speed[rows], curvature[rows] = Tracker().profiles(fresh)
        self.reference = Reference(poses, Profiles(speed, curvature), since)

    def _look(self, present: np.ndarray) -> None:
        k, config = self.state.step, self.config
        finite = np.isfinite(self.state.ego).all(axis=1)
        for s in np.flatnonzero(self.active & ~finite):
            self._finish(
                int(s), k - 1, "planner failed", f"its plan cannot be followed ({k * STEP_S:.1f} s after the start)"
            )
        self.watch.look(self.world, self.state, present, self.active, config.off_road_tolerance_m)
        watch = self.watch
        struck = np.asarray(((watch.contact_step == k) & watch.fault).any(axis=1))
        away = np.abs(watch.aside_m[:, k]) > config.off_route_m
        long = round(config.off_road_s / STEP_S)
        lately = watch.off_road_m[:, max(k - long, 0) : k + 1] > config.off_road_tolerance_m
        out = np.asarray(lately.all(axis=1)) & (k >= long)
        for s in np.flatnonzero(self.active & (struck | away | out)):
            if struck[s] and config.end_at_collision:
                self._finish(int(s), k, "collision")
            elif out[s]:
                self._finish(int(s), k, "off the road")
            elif away[s]:
                self._finish(int(s), k, "off the route")

    def _rollout(self, s: int) -> Rollout:
        scene, last, config = self.world.scenes[s], int(self.last[s]), self.config
        times = slice(0, last + 1)
        ego, actors = self.history.drive(s, last)
        found = infractions_of(self.world, self.watch, s, ego, last, config)
        return Rollout(
            scene=scene.name,
            log=scene.log,
            planner=self.name,
            timestamps_ns=scene.timestamps_ns[scene.now : scene.now + last + 1],
            origin_xy=scene.origin_xy,
            ego=ego,
            vehicle=scene.vehicle,
            actors=actors,
            off_road_m=self.watch.off_road_m[s, times].copy(),
            along_m=self.watch.along_m[s, times].copy(),
            aside_m=self.watch.aside_m[s, times].copy(),
            road_known=bool(self.world.ground.kind[s]),
            route_known=scene.route is not None,
            plans=PlanRecord.of(self.made[s]),
            infractions=found,
            end=self.end[s],
            failure=self.failure[s],
        )
