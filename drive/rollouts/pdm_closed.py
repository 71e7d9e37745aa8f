"""PDM-Closed: fifteen IDM drives along the route's middle and beside it, the best one by the PDM score.

Source: Dauner et al., "Parting with Misconceptions about Learning-based Vehicle Motion Planning" (CoRL 2023) and the
planner in tuplan_garage and NAVSIM: numbers are theirs unless said. The scorer stands to the right of this folder and
is handed in: `drive.scores.pdm_closed.pdm_closed` makes the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from numba import njit

from drive.dynamics.controller import Tracker
from drive.dynamics.idm import IdmParameters
from drive.geometry.polylines import offset_polyline
from drive.plans.corridor import Idm, advance_along, boxes_touch, idm_numbers, idm_one, nearest_ahead, place_on, project
from drive.plans.plan import Modes, Plan, to_ego
from drive.plans.planner import Observation
from drive.samples.scene import CYCLIST, HEADING, PEDESTRIAN, RED, STATIC, STEP_S, VEHICLE, VX, Route, Scene, X, Y

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PdmClosedConfig:
    """What is proposed and how it is driven."""

    speed_fractions: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0)
    """Of the lane's limit."""
    offsets_m: tuple[float, ...] = (0.0, -1.0, 1.0)
    """To the left of the route's middle."""
    unknown_limit_mps: float = 15.0
    idm: IdmParameters = field(
        default_factory=lambda: IdmParameters(
            headway_s=1.5,
            standstill_gap_m=1.0,
            acceleration_mps2=1.5,
            comfortable_braking_mps2=3.0,
            exponent=10.0,
            hardest_braking_mps2=3.0,
        )
    )
    steps: int = 40
    plan_steps: int = 80
    forecast_hold: int = 2
    """Others are where they are at every so many steps; leaders are looked for as often."""
    reach_m: float = 100.0
    """Leaders are looked for this far ahead [ours; theirs is the whole path]."""
    radius_m: float = 100.0
    """Who is further away is not looked at. Theirs is 50: at 15 m/s, braking at 3 m/s^2, a queue first seen then is met
    (it was, in a recording of Waymo's)."""
    most: tuple[int, int, int, int] = (50, 25, 10, 50)
    """Nearest vehicles, pedestrians, cyclists, things that are looked at."""
    brake_within_s: float = 2.0
    brake_below_mps: float = 5.0
    """A best plan with an at-fault collision so soon, at this speed or less, is replaced by a straight stop."""
    brake_mps2: float = 4.05
    emergency_brake: bool = True


class Forecast(NamedTuple):
    """Everybody at constant velocity and heading from now on, S instants 0.1 s apart.

    Attributes:
        boxes: float64 [S, A, 5]. velocity: float64 [A, 2]. kind: int64 [A].
        red_lanes: int64, lanes of the route whose light is red now.
    """

    boxes: Floats
    velocity: Floats
    kind: npt.NDArray[np.int64]
    red_lanes: npt.NDArray[np.int64]


class Judge(Protocol):
    """Scores driven proposals of one scene."""

    instants: int
    """Of the forecast that it needs."""

    def __call__(
        self, observation: Observation, forecast: Forecast, states: Floats
    ) -> tuple[Floats, npt.NDArray[np.int64]]:
        """states [P, 41, 11] -> (score [P], step of the first at-fault collision or -1 [P])."""
        ...


@dataclass(frozen=True)
class PdmClosed:
    """The planner; `judge_of` makes the scorer of a scene."""

    judge_of: Callable[[Scene], Judge]
    config: PdmClosedConfig = field(default_factory=PdmClosedConfig)
    tracker: Tracker = field(default_factory=Tracker)
    name: str = "pdm_closed"

    def for_scene(self, scene: Scene) -> PdmClosedInScene:
        """ValueError: the scene has no route."""
        if scene.route is None:
            raise ValueError("PDM-Closed needs a route; the scene has none")
        own = replace(self, tracker=replace(self.tracker, vehicle=scene.vehicle))
        return PdmClosedInScene(own, scene.route, self.judge_of(scene))

    def plan(self, observation: Observation) -> Plan:
        """ValueError, always: it plans in a scene (`for_scene`), whose map it prepares once."""
        raise ValueError("PDM-Closed plans in a scene: ask for_scene for the planner")


class PdmClosedInScene:
    """PDM-Closed with its paths and its judge ready. One call takes some milliseconds."""

    def __init__(self, planner: PdmClosed, route: Route, judge: Judge) -> None:
        self.name, self.config, self.judge = planner.name, planner.config, judge
        self.tracker = planner.tracker
        self.idm = idm_numbers(self.config.idm)
        lines = [offset_polyline(route.centreline, left) for left in self.config.offsets_m]
        self.offsets = np.cumsum([0, *map(len, lines)])
        self.places = np.ascontiguousarray(np.concatenate(lines))
        lengths = [np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))]) for line in lines]
        self.along = np.concatenate(lengths)
        self.route = route

    def plan(self, observation: Observation) -> Plan:
        """8 s of the best of the proposals."""
        config, vehicle = self.config, observation.vehicle
        ego = observation.ego[-1]
        forecast = make_forecast(observation, self.route, max(self.judge.instants, config.plan_steps + 1), config)
        middle = ego[[X, Y]] + vehicle.centre * np.array([np.cos(ego[HEADING]), np.sin(ego[HEADING])])
        limit = self._limit(observation)
        targets = np.array([limit * share for _ in config.offsets_m for share in config.speed_fractions])
        line = np.repeat(np.arange(len(config.offsets_m)), len(config.speed_fractions))
        begins = np.array(
            [
                project(self.places[a:b], self.along[a:b], middle[0], middle[1])[0]
                for a, b in zip(self.offsets[:-1], self.offsets[1:], strict=True)
            ]
        )
        stop = self._stop(observation, vehicle.front - vehicle.centre, float(begins[0]))
        numbers = (float(max(ego[VX], 0.0)), stop, config.reach_m, vehicle.length, vehicle.width, self.idm)

        def roll(rows: npt.NDArray[np.int64], steps: int) -> Floats:
            poses = np.empty((len(rows), steps + 1, 3))
            boxes, hold = np.ascontiguousarray(forecast.boxes), config.forecast_hold
            paths = self.places, self.along, self.offsets, line[rows], begins[line[rows]], targets[rows]
            _roll(*paths, *numbers, boxes, forecast.velocity, hold, vehicle.centre, poses)
            return poses

        proposals = roll(np.arange(len(targets)), config.steps)
        states = self.tracker.track(proposals, ego)
        score, at_fault = self.judge(observation, forecast, states)
        best = int(np.argmax(score))
        modes = Modes(to_ego(proposals[:, 5::5], ego[:3]), score)
        soon = 0 <= at_fault[best] * STEP_S <= config.brake_within_s
        times = np.arange(1, config.plan_steps + 1) * STEP_S
        if config.emergency_brake and soon and ego[VX] <= config.brake_below_mps:
            last = max(ego[VX], 0.0) / config.brake_mps2
            t = np.minimum(times, last)
            way = max(ego[VX], 0.0) * t - 0.5 * config.brake_mps2 * t**2
            return Plan(np.stack([way, 0 * way, 0 * way], axis=1), times, modes)
        poses = roll(np.array([best]), config.plan_steps)[0, 1:]
        return Plan(to_ego(poses, ego[:3]), times, modes)

    def _limit(self, observation: Observation) -> float:
        """Speed limit of the route's lane that passes nearest to the ego."""
        lanes = observation.map
        known = [int(i) for i in self.route.lanes if lanes.speed_limit_valid[i]]
        place = observation.ego[-1, [X, Y]]
        away = [float(np.hypot(*(lanes.lane_line(i) - place).T).min()) for i in known]
        return float(lanes.speed_limit_mps[known[int(np.argmin(away))]]) if known else self.config.unknown_limit_mps

    def _stop(self, observation: Observation, nose: float, begin: float) -> float:
        """Arc length on the middle line of the nearest red stop ahead of the bumper, or of the line's end."""
        stop, lights = float(self.along[self.offsets[1] - 1]), observation.lights
        middle = slice(self.offsets[0], self.offsets[1])
        for k in np.flatnonzero((lights.state[-1] == RED) & np.isin(lights.lane, self.route.lanes)):
            at, aside = project(self.places[middle], self.along[middle], *lights.stop_xy[k])
            if at > begin + nose and abs(aside) < 3.0:
                stop = min(stop, float(at))
        return stop


def make_forecast(observation: Observation, route: Route, instants: int, config: PdmClosedConfig) -> Forecast:
    """Everybody near that is there now and does not overlap the ego already (those are not looked at)."""
    actors, ego, vehicle = observation.actors, observation.ego[-1], observation.vehicle
    box, velocity = actors.box[:, -1], actors.velocity[:, -1]
    cos, sin = np.cos(ego[HEADING]), np.sin(ego[HEADING])
    x, y = ego[X] + vehicle.centre * cos, ego[Y] + vehicle.centre * sin
    away = np.hypot(box[:, 0] - x, box[:, 1] - y)
    ours = (x, y, vehicle.length, vehicle.width, float(ego[HEADING]))
    near = np.flatnonzero(actors.valid[:, -1] & (away <= config.radius_m))
    near = np.array([a for a in near if not boxes_touch(*ours, *box[a])], dtype=np.int64)
    keep: list[int] = []
    for kind, most in zip((VEHICLE, PEDESTRIAN, CYCLIST, STATIC), config.most, strict=True):
        rows = near[actors.kind[near] == kind]
        keep += rows[np.argsort(away[rows], kind="stable")[:most]].tolist()
    held = np.arange(instants) // config.forecast_hold * config.forecast_hold * STEP_S
    still = actors.kind[keep] == STATIC
    moving = np.where(still[:, None], 0.0, velocity[keep])
    boxes = np.repeat(box[keep][None], instants, axis=0)
    boxes[..., :2] += held[:, None, None] * moving
    lights = observation.lights
    red = lights.lane[(lights.state[-1] == RED) & np.isin(lights.lane, route.lanes)]
    return Forecast(boxes, np.ascontiguousarray(moving), actors.kind[keep], red.astype(np.int64))


@njit(cache=True, nogil=True)
def _roll(  # type: ignore[no-untyped-def]
    places, along, offsets, line, begin, target, speed0, stop, reach, length, width, idm: Idm, boxes, velocity, hold,
    centre, poses,
):  # fmt: skip
    """poses [P, K + 1, 3] of the rear axle: IDM along path line[p] from arc length begin[p] at the speed target[p]."""
    there = np.ones(boxes.shape[1], np.bool_)
    for p in range(poses.shape[0]):
        a, b = offsets[line[p]], offsets[line[p] + 1]
        path, way = places[a:b], along[a:b]
        s, v, gap, leader_speed = begin[p], speed0, np.inf, 0.0
        for k in range(poses.shape[1]):
            x, y, heading = place_on(path, way, s)
            poses[p, k, 0], poses[p, k, 1] = x - centre * np.cos(heading), y - centre * np.sin(heading)
            # Unwrapped, as the tracker wants it.
            before = poses[p, k - 1, 2] if k else heading
            poses[p, k, 2] = before + (heading - before + np.pi) % (2 * np.pi) - np.pi
            if k + 1 == poses.shape[1]:
                break
            front = s + 0.5 * length
            if k % hold == 0:
                gap, leader, turned = nearest_ahead(path, way, front, width, reach, boxes[k], there, -1)
                leader_speed = 0.0
                if leader >= 0:
                    leader_speed = velocity[leader, 0] * np.cos(turned) + velocity[leader, 1] * np.sin(turned)
                    leader_speed = max(leader_speed, 0.0)
            # Lines beside the middle are a little longer or shorter: the stop is where the middle's share of way is.
            halt = stop / along[offsets[1] - 1] * way[-1] - front
            answer = idm_one(v, target[p], gap, leader_speed, idm)
            if halt < reach:
                answer = min(answer, idm_one(v, target[p], halt, 0.0, idm))
            step, v = advance_along(v, answer, STEP_S)
            s += step
            gap += leader_speed * STEP_S - step
