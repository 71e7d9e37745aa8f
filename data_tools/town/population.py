"""Who is in a scene: the ego's route, the traffic around it, parked cars, work sites and people standing about."""

from __future__ import annotations

import numpy as np

from data_tools.town.actors import EGO_REAR_AXLE, Population
from data_tools.town.bodies import Body, make_body
from data_tools.town.layout import CYCLE_STRIP, PARKING_STRIP, STOP_LINE, WALKWAY, Lane, Road, Town
from data_tools.town.routes import Path, choose_lanes, pedestrian_path, vehicle_path, walk_links
from data_tools.town.traffic import Mover, simulate
from drive.geometry.box import corners_bev
from drive.geometry.polylines import arc_length, point_at

EGO_SIZE = (4.08, 1.73, 1.56)
WARM_UP = 4.0  # seconds of traffic before the recording
NEAR = 42.0  # metres from the ego's way within which most of the population starts


class _Crew:
    """Collects movers and still things that do not overlap."""

    def __init__(self, town: Town, rng: np.random.Generator, seconds: float, near: np.ndarray) -> None:
        self.town, self.rng, self.seconds = town, rng, seconds
        self.near = near  # [K, 2] points on the ego's way, expected or driven
        self.lane_distance = [min(self.distance(point) for point in lane.centre[::8]) for lane in town.lanes]
        self.movers: list[Mover] = []
        self.bodies: list[Body] = []
        self.still: list[tuple[float, float, float]] = []
        self.still_bodies: list[Body] = []
        self.circles: list[tuple[float, float, float]] = []  # taken ground of vehicles: x, y, radius
        self.walkers: list[np.ndarray] = []
        self.rectangles: list[np.ndarray] = []

    def distance(self, point: np.ndarray) -> float:
        offset = self.near - point
        return float(np.sqrt(np.einsum("ij,ij->i", offset, offset).min()))

    def free(self, x: float, y: float, radius: float) -> bool:
        return all((x - a) ** 2 + (y - b) ** 2 > (radius + r) ** 2 for a, b, r in self.circles)

    def drive(self, kind: str, reach: float) -> bool:
        """Try to start one vehicle on a lane near the ego's way."""
        town, rng, cyclist = self.town, self.rng, kind == "bicycle"
        body = make_body(kind, rng)
        half = body.size[0] / 2
        lanes = [lane for lane, distance in zip(town.lanes, self.lane_distance, strict=True) if distance < reach]
        for _ in range(80):
            lane = lanes[int(rng.integers(len(lanes)))]
            if cyclist and lane.order != town.roads[lane.road].lanes - 1:
                continue
            length = float(arc_length(lane.centre)[-1])
            low, high = half + 5.0, length - STOP_LINE - 1.5 - half
            if high <= low:
                continue
            start = float(rng.uniform(low, high))
            x, y = point_at(lane.centre, np.array([start]))[0]
            if self.distance(np.array([x, y])) > reach or not self.free(x, y, half + (1.0 if cyclist else 3.0)):
                continue
            top = {"car": rng.uniform(7.5, 12.5), "truck": rng.uniform(7.0, 10.0), "bus": rng.uniform(7.0, 9.5),
                   "bicycle": rng.uniform(3.4, 5.4)}[kind]  # fmt: skip
            needed = start + top * (self.seconds + WARM_UP) + 70.0
            straight = {"car": 0.5, "truck": 0.85, "bus": 0.97, "bicycle": 0.6}[kind]
            path = vehicle_path(town, choose_lanes(town, rng, lane, needed, straight, cyclist), cyclist)
            speed = min(top, float(np.sqrt(2.0 * 1.6 * max(high - start, 0.0)))) * rng.uniform(0.6, 1.0)
            width = body.size[1] / 2
            axle = 0.3 * body.size[0]
            self.movers.append(Mover(path, start, speed, float(top), half, width, axle, walks=False))
            self.bodies.append(body)
            self.circles.append((x, y, half + (0.5 if cyclist else 2.0)))
            return True
        return False

    def walk(self, links: dict, places: list) -> bool:
        """Try to start one pedestrian on a walkway near the ego's way."""
        rng = self.rng
        for _ in range(60):
            place = places[int(rng.integers(len(places)))]
            pace = float(rng.uniform(0.9, 1.7))
            right = float(rng.uniform(0.4, 0.65))
            path = pedestrian_path(self.town, links, rng, place, pace * (self.seconds + WARM_UP) + 120.0, right)
            start = float(rng.uniform(2.0, 0.8 * self.town.roads[place[0]].length))
            point = point_at(path.points, np.array([start]))[0]
            if self.distance(point) > 0.8 * NEAR or not self.clear_walkway(point):
                continue
            body = make_body("pedestrian", rng)
            half, width = body.size[0] / 2, body.size[1] / 2
            self.movers.append(Mover(path, start, pace, pace, half, width, 0.3, walks=True))
            self.bodies.append(body)
            self.walkers.append(point)
            return True
        return False

    def clear_walkway(self, point: np.ndarray) -> bool:
        return all(float(np.hypot(*(point - other))) > 1.6 for other in self.walkers)

    def stand(self, body: Body, x: float, y: float, yaw: float, gap: float) -> bool:
        """Place a still thing unless it touches another still one."""
        box = np.array([[x, y, 0.0, body.size[0] + gap, body.size[1] + gap, 1.0, yaw]])
        corners = corners_bev(box)[0]
        centre = corners.mean(axis=0)
        reach = float(np.hypot(*(corners[0] - centre)))
        for other in self.rectangles:
            middle = other.mean(axis=0)
            if np.hypot(*(middle - centre)) < reach + np.hypot(*(other[0] - middle)) and _touch(corners, other):
                return False
        self.rectangles.append(corners)
        self.still.append((x, y, yaw))
        self.still_bodies.append(body)
        return True


def _touch(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two rectangles [4, 2] overlap (separating axes)."""
    for one in (a, b):
        for k in range(2):
            axis = one[k + 1] - one[k]
            pa, pb = a @ axis, b @ axis
            if pa.max() <= pb.min() or pb.max() <= pa.min():
                return False
    return True


def populate(town: Town, scene_seed: int, seconds: float, standing_start: bool) -> Population:
    """Actors and their motion for one scene of `seconds` seconds from time 0."""
    rng = np.random.default_rng([scene_seed, 41])
    ego = _ego(town, rng, seconds, standing_start)
    way = ego.path.points[:: int(4.0 / 0.5)]
    start = int(ego.start / 4.0)
    reach = int((ego.desired_speed * (seconds + WARM_UP) * 0.6 + 35.0) / 4.0)
    crew = _Crew(town, rng, seconds, way[max(start - 6, 0) : start + reach])
    crew.movers.append(ego)
    x, y = point_at(ego.path.points, np.array([ego.start]))[0]
    crew.circles.append((float(x), float(y), 5.0))
    wanted = {
        "bus": rng.integers(3, 6),
        "truck": rng.integers(4, 7),
        "bicycle": rng.integers(8, 12),
        "car": rng.integers(20, 28),
    }
    for kind, count in wanted.items():
        for _ in range(int(count)):
            crew.drive(kind, 1.4 * NEAR if kind == "car" else 0.7 * NEAR)
    links = walk_links(town)
    near = {road.index for road in _roads_near(crew)}
    places = sorted(place for place in links if place[0] in near)
    for _ in range(int(rng.integers(24, 33))):
        crew.walk(links, places)
    history = simulate(crew.movers, -WARM_UP, seconds)
    # What stands still meets nobody, so it can be put where the ego really passed.
    crew.near = np.array([history.poses_at(float(t), 1)[0, :2] for t in np.arange(0.0, seconds, 0.5)])
    roads = _roads_near(crew)
    _work_sites(crew, rng, roads)
    _parked(crew, rng, roads)
    _standing(crew, rng, roads)
    return Population(history, tuple(crew.bodies + crew.still_bodies), np.array(crew.still).reshape(-1, 3))


def _roads_near(crew: _Crew) -> list[Road]:
    """Roads with a piece within `NEAR` of the ego's way."""
    return [r for r in crew.town.roads if min(crew.distance(point) for point in r.centre[::8]) < 1.2 * NEAR]


def _ego(town: Town, rng: np.random.Generator, seconds: float, standing_start: bool) -> Mover:
    inner = [lane for lane in town.lanes if _length(lane) > 45.0 and _busy(town, lane)]
    lane = inner[int(rng.integers(len(inner)))]
    desired = float(rng.uniform(8.5, 11.5))
    start = float(rng.uniform(8.0, max(_length(lane) - 30.0, 9.0)))
    needed = start + desired * (seconds + WARM_UP) + 80.0
    path: Path = vehicle_path(town, choose_lanes(town, rng, lane, needed, 0.6, False), False)
    hold = min(6.0, 0.4 * seconds) if standing_start else -1e9
    speed = 0.0 if standing_start else min(desired, float(np.sqrt(3.0 * (_length(lane) - start - 10.0))))
    half_length, half_width = EGO_SIZE[0] / 2, EGO_SIZE[1] / 2
    return Mover(path, start, speed, desired, half_length, half_width, EGO_REAR_AXLE, False, hold, rolls=True)


def _length(lane: Lane) -> float:
    return float(arc_length(lane.centre)[-1])


def _busy(town: Town, lane: Lane) -> bool:
    """A lane that leads to a junction of three or more arms and comes from one."""
    return len(town.arms[lane.start_node]) > 2 and len(town.arms[lane.end_node]) > 2


def _beside(road: Road, along: float, offset: float) -> tuple[float, float, float]:
    points = road.along(along - 0.5, along + 0.5, offset)
    step = points[-1] - points[0]
    x, y = points.mean(axis=0)
    return float(x), float(y), float(np.arctan2(step[1], step[0]))


def _work_sites(crew: _Crew, rng: np.random.Generator, roads: list[Road]) -> None:
    """Rows of cones along the parking strip (or behind the walkway where there is none)."""
    total = int(rng.integers(10, 16))
    for _ in range(200):
        if len(crew.still) >= total:
            break
        road, side = roads[int(rng.integers(len(roads)))], float(rng.choice([-1.0, 1.0]))
        count = int(rng.integers(3, 6))
        spacing, begin = rng.uniform(1.8, 3.0), rng.uniform(14.0, max(road.length - 30.0, 15.0))
        if crew.distance(road.along(begin, begin + 1.0, 0.0)[0]) > 16.0:
            continue
        inner = road.lane_edge + CYCLE_STRIP + 0.4
        for k in range(count):
            # The first two cones slant in from the kerb, the rest run along the lane.
            offset = inner + max(0.0, (1.0 - k) * 1.2) if road.parking else road.half_width + WALKWAY + 0.05
            x, y, yaw = _beside(road, begin + k * spacing, side * offset)
            crew.stand(make_body("cone", rng), x, y, yaw + float(rng.uniform(-0.6, 0.6)), gap=0.5)


def _by_distance(crew: _Crew, rng: np.random.Generator, roads: list[Road]) -> list[Road]:
    """Roads, those next to the ego's way first, shuffled a little."""
    keyed = []
    for road in roads:
        middle = road.along(0.0, road.length, 0.0)
        nearest = min(crew.distance(point) for point in middle[::6])
        keyed.append((nearest + float(rng.uniform(0.0, 25.0)), road.index, road))
    return [road for _, _, road in sorted(keyed, key=lambda item: item[:2])]


def _parked(crew: _Crew, rng: np.random.Generator, roads: list[Road]) -> None:
    """Parked cars, a few lorries and buses in the parking strips near the ego's way."""
    wanted = int(rng.integers(34, 50))
    large = ["bus"] * int(rng.integers(2, 4)) + ["truck"] * int(rng.integers(1, 4))
    slots = []
    for road in roads:
        for side in (-1.0, 1.0) if road.parking else ():
            for along in np.arange(9.5, road.length - 9.0, 5.7):
                middle = side * (road.half_width - PARKING_STRIP / 2)
                distance = crew.distance(np.array(_beside(road, float(along), middle)[:2]))
                if distance < 1.2 * NEAR:
                    # Next to the ego's way first: what stands there is seen well.
                    slots.append((distance > 0.75 * NEAR, float(rng.random()), road, side, float(along)))
    for _, _, road, side, along in sorted(slots, key=lambda slot: slot[:2]):
        if wanted <= 0:
            break
        # A long body beside a bend would reach into the cycle strip.
        long = bool(large) and _bend(road, along) < 0.05
        body = make_body(large[0] if long else "car", rng)
        offset = road.half_width - 0.15 - body.size[1] / 2
        x, y, yaw = _beside(road, along + float(rng.uniform(-0.4, 0.4)), side * offset)
        yaw += (np.pi if side > 0 else 0.0) + float(rng.normal(0.0, 0.012))
        if crew.stand(body, x, y, yaw, gap=0.7):
            wanted -= 1
            large = large[1:] if long else large


def _bend(road: Road, along: float) -> float:
    """How much a road turns over 12 m around a place, radians."""
    line = road.along(along - 6.0, along + 6.0, 0.0)
    a, b = line[1] - line[0], line[-1] - line[-2]
    return abs(float(np.arctan2(a[0] * b[1] - a[1] * b[0], a @ b)))


def _standing(crew: _Crew, rng: np.random.Generator, roads: list[Road]) -> None:
    """People who stand at the far side of the walkway, alone or in twos."""
    wanted = int(rng.integers(4, 8))
    for road in _by_distance(crew, rng, roads)[:6]:
        if wanted <= 0:
            break
        side, along = float(rng.choice([-1.0, 1.0])), float(rng.uniform(8.0, road.length - 8.0))
        for k in range(int(rng.integers(1, 3))):
            x, y, yaw = _beside(road, along + 0.9 * k, side * (road.half_width + WALKWAY - 0.3))
            if crew.stand(make_body("pedestrian", rng), x, y, yaw + float(rng.uniform(-0.5, 0.5)), gap=0.1):
                wanted -= 1
