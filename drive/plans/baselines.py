"""Planners by rule: log replay, stop, constant velocity, and an IDM driver that follows its lane."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from drive.dynamics.idm import IdmParameters
from drive.geometry.angles import wrap_angle
from drive.plans.corridor import advance_along, idm_numbers, idm_one, nearest_ahead, place_on, project
from drive.plans.plan import Plan, to_ego
from drive.plans.planner import Observation, Planner
from drive.samples.scene import HEADING, RED, STEP_S, VX, Route, Scene, X, Y

HORIZON_S = 4.0
TIMES_S = np.arange(1, round(HORIZON_S / STEP_S) + 1) * STEP_S


@dataclass(frozen=True)
class LogReplay:
    """Does what the recording did; beyond its end it goes straight on at the last speed. Looks into the future."""

    name: str = "log_replay"
    scene: Scene | None = None

    def for_scene(self, scene: Scene) -> LogReplay:
        """The planner of one drive."""
        return replace(self, scene=scene)

    def plan(self, observation: Observation) -> Plan:
        """The recorded poses of the coming 4 s."""
        if self.scene is None:
            raise ValueError("log replay needs the scene: for_scene(scene)")
        known = np.flatnonzero(self.scene.ego_valid)
        stamps, ego = self.scene.timestamps_ns[known], self.scene.ego[known]
        at = (observation.timestamp_ns - stamps[0]) / 1e9 + TIMES_S
        seconds = (stamps - stamps[0]) / 1e9
        headings = np.unwrap(ego[:, HEADING])
        poses = np.stack([np.interp(at, seconds, column) for column in (ego[:, X], ego[:, Y], headings)], axis=1)
        over = np.maximum(at - seconds[-1], 0.0) * max(ego[-1, VX], 0.0)
        poses[:, 0] += over * np.cos(headings[-1])
        poses[:, 1] += over * np.sin(headings[-1])
        return Plan(to_ego(poses, observation.ego[-1, :3]), TIMES_S)


@dataclass(frozen=True)
class Stop:
    """Brakes straight ahead, evenly, and stands. nuPlan's comfort ends at 4.05 m/s^2."""

    braking_mps2: float = 3.0
    name: str = "stop"

    def plan(self, observation: Observation) -> Plan:
        """A straight line of at most v^2 / (2 b)."""
        speed = observation.ego[-1, VX]
        braking = np.minimum(TIMES_S, abs(speed) / self.braking_mps2)
        way = speed * braking - 0.5 * np.sign(speed) * self.braking_mps2 * braking**2
        return Plan(np.stack([way, 0 * way, 0 * way], axis=1), TIMES_S)


@dataclass(frozen=True)
class ConstantVelocity:
    """Straight on at the speed it has."""

    name: str = "constant_velocity"

    def plan(self, observation: Observation) -> Plan:
        """A straight line."""
        way = observation.ego[-1, VX] * TIMES_S
        return Plan(np.stack([way, 0 * way, 0 * way], axis=1), TIMES_S)


@dataclass(frozen=True)
class IdmLaneFollower:
    """Follows the route's centre line behind whoever is in the way (nuPlan's IDM planner, its numbers).

    `idm` holds s0 = 1 m, T = 1.5 s, a = 1 m/s^2, b = 3 m/s^2, exponent 4 [recall of nuplan-devkit's
    ``idm_planner.yaml``; the spec's b = 2 is that of its traffic]. Red lights on the route and the route's end are
    standing leaders; everybody else is taken to keep speed and direction. Where it starts beside the line, it comes
    back to it over `return_s` seconds of driving, 10 m at least.
    """

    target_speed_mps: float = 10.0
    """Unless the lane's own limit is known."""
    look_ahead_m: float = 40.0
    """And one headway's way on top."""
    return_s: float = 3.0
    idm: IdmParameters = field(
        default_factory=lambda: IdmParameters(
            headway_s=1.5, standstill_gap_m=1.0, acceleration_mps2=1.0, comfortable_braking_mps2=3.0, exponent=4.0
        )
    )
    name: str = "idm"

    def plan(self, observation: Observation) -> Plan:
        """4 s along the route, sped by IDM. ValueError: the scene has no route."""
        route = observation.route
        if route is None:
            raise ValueError("an IDM lane follower needs a route; the scene has none")
        ego, vehicle = observation.ego[-1], observation.vehicle
        line, along = route.centreline, route.arc_length
        start, offset = project(line, along, ego[X], ego[Y])
        speed = max(float(ego[VX]), 0.0)
        numbers = idm_numbers(self.idm)
        boxes, there = observation.actors.box[:, -1], observation.actors.valid[:, -1]
        reach = self.look_ahead_m + speed * self.idm.headway_s
        gap, leader, heading = nearest_ahead(line, along, start + vehicle.front, vehicle.width, reach, boxes, there, -1)
        leader_speed = 0.0
        if leader >= 0:
            vx, vy = observation.actors.velocity[leader, -1]
            leader_speed = max(vx * np.cos(heading) + vy * np.sin(heading), 0.0)
        # Where the map ends nobody knows the way: one stops there as at a red light.
        halt = min(_red_light_gap(observation, route, start + vehicle.front), along[-1] - start - vehicle.front)
        halt = halt if halt < reach else np.inf
        desired = _speed_limit(observation, route) or self.target_speed_mps
        way, ways = 0.0, np.empty(len(TIMES_S))
        for k in range(len(TIMES_S)):
            answer = idm_one(speed, desired, gap + leader_speed * STEP_S * k - way, leader_speed, numbers)
            answer = min(answer, idm_one(speed, desired, halt - way, 0.0, numbers))
            distance, speed = advance_along(speed, answer, STEP_S)
            way += distance
            ways[k] = way
        return Plan(to_ego(_beside(route, start, offset, ego, ways, self.return_s), ego[:3]), TIMES_S)


def _beside(
    route: Route, start: float, offset: float, ego: np.ndarray, ways: np.ndarray, return_s: float
) -> np.ndarray:
    """Poses [N, 3] along the route, ``ways`` [N] metres after ``start``: a cubic from the ego's own offset and heading
    to the line's. Headings are those of the curve: the tracker follows headings rather than places."""
    line, along = route.centreline, route.arc_length
    over = max(10.0, return_s * ego[VX])
    u = np.clip(ways / over, 0.0, 1.0)
    turned = np.tan(np.clip(wrap_angle(ego[HEADING] - place_on(line, along, start)[2]), -1.0, 1.0))
    aside = offset * (1 - 3 * u**2 + 2 * u**3) + over * turned * (u - 2 * u**2 + u**3)
    slope = offset / over * (6 * u**2 - 6 * u) + turned * (1 - 4 * u + 3 * u**2)
    poses = np.array([place_on(line, along, start + way) for way in ways])
    poses[:, 0], poses[:, 1] = poses[:, 0] - aside * np.sin(poses[:, 2]), poses[:, 1] + aside * np.cos(poses[:, 2])
    poses[:, 2] += np.arctan(slope)
    return poses


def _red_light_gap(observation: Observation, route: Route, front: float) -> float:
    """Metres from the front bumper to the nearest red light of the route's lanes that is still ahead; inf: none."""
    lights = observation.lights
    gaps = []
    for k in np.flatnonzero((lights.state[-1] == RED) & np.isin(lights.lane, route.lanes)):
        at, aside = project(route.centreline, route.arc_length, *lights.stop_xy[k])
        if at > front and abs(aside) < 3.0:
            gaps.append(at - front)
    return min(gaps, default=np.inf)


def _speed_limit(observation: Observation, route: Route) -> float | None:
    """The limit of the route's lane that passes nearest to the ego, where the map gives one."""
    lanes = observation.map
    known = [int(i) for i in route.lanes if lanes.speed_limit_valid[i]]
    if not known:
        return None
    place = observation.ego[-1, [X, Y]]
    nearest = min(known, key=lambda i: float(np.linalg.norm(lanes.lane_line(i) - place, axis=1).min()))
    return float(lanes.speed_limit_mps[nearest])


_ALL: tuple[Planner, ...] = (LogReplay(), Stop(), ConstantVelocity(), IdmLaneFollower())
BASELINES: dict[str, Planner] = {planner.name: planner for planner in _ALL}
"""By name, as the command line takes them."""
