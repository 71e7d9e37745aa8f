"""Made-up streets for the PDM score: a bent road with an intersection, traffic of every kind, plans good and bad."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from drive.dynamics.vehicle import Vehicle
from drive.samples.scene import CARPARK, CONNECTOR, DRIVABLE, INTERSECTION, LANE, ROADBLOCK, SceneMap
from drive.scores.pdm_areas import polygon_is_on_route
from drive.scores.pdm_config import PdmConfig
from drive.scores.pdm_route import make_centre_line
from drive.scores.pdm_scene import PdmMap, PdmScene

TIMES_S = np.arange(1, 9) * 0.5
INSTANTS = 51
SIZES = {"vehicle": (4.6, 1.9), "pedestrian": (0.6, 0.7), "cyclist": (1.8, 0.6), "static": (0.5, 0.4)}
KINDS = tuple(SIZES)


@dataclass(frozen=True)
class World:
    """A scene in plain arrays.

    polygons: lists of rings [N, 2]; layer [G]; lane [G] (-1 none); on_route: the lanes of the route, by number;
    centreline [C, 2]; boxes [51, A, 5], valid [51, A], velocity [51, A, 2], kind [A]; red [51, R] and red_lane [R];
    ego0 [11], history [15, 11], plans [P, 8, 3] in the ego's frame.
    """

    polygons: list[list[np.ndarray]]
    layer: np.ndarray
    lane: np.ndarray
    on_route: np.ndarray
    centreline: np.ndarray
    boxes: np.ndarray
    valid: np.ndarray
    velocity: np.ndarray
    kind: np.ndarray
    red: np.ndarray
    red_lane: np.ndarray
    ego0: np.ndarray
    history: np.ndarray
    plans: np.ndarray


def polygon_map(polygons: list[list[np.ndarray]], layer: np.ndarray, lane: np.ndarray) -> PdmMap:
    """The grid of polygons given as rings."""
    empty = SceneMap.empty()
    rings = [ring for polygon in polygons for ring in polygon]
    scene_map = replace(
        empty,
        vertices=np.concatenate([*rings, np.zeros((0, 2))]),
        ring_offsets=np.cumsum([0, *map(len, rings)]),
        polygon_offsets=np.cumsum([0, *map(len, polygons)]),
        polygon_layer=np.asarray(layer, np.uint8),
        polygon_lane=np.asarray(lane, np.int64),
        drivable_from="polygons",
    )
    return PdmMap.of(scene_map)


def scene_of(world: World, config: PdmConfig, history: bool = True) -> PdmScene:
    """The world as the score takes it."""
    known = polygon_map(world.polygons, world.layer, world.lane)
    red_polygon = np.array([np.flatnonzero(known.lane == lane)[0] for lane in world.red_lane], np.int64)
    stop = config.traffic_steps
    return PdmScene(
        name="made",
        vehicle=Vehicle(),
        map=known,
        boxes=np.ascontiguousarray(world.boxes[:stop]),
        valid=world.valid[:stop],
        speed=np.hypot(world.velocity[:stop, :, 0], world.velocity[:stop, :, 1]),
        is_thing=world.kind == KINDS.index("static"),
        on_route=polygon_is_on_route(known.layer, known.lane, world.on_route),
        line=make_centre_line(world.centreline, config.lane_keeping_m),
        red=world.red[:stop],
        red_polygon=red_polygon,
        history=world.history if history else None,
    )


class Road:
    """An arc of constant curvature: (metres along, metres to the left) to a point, and its heading."""

    def __init__(self, curvature: float, x: float, y: float, heading: float) -> None:
        self.curvature, self.start = curvature, (x, y, heading)

    def heading(self, s: np.ndarray) -> np.ndarray:
        return self.start[2] + self.curvature * np.asarray(s, float)

    def point(self, s: np.ndarray, left: np.ndarray | float) -> np.ndarray:
        s, k = np.asarray(s, float), self.curvature
        ahead = np.sin(k * s) / k if abs(k) > 1e-9 else s
        side = (1 - np.cos(k * s)) / k if abs(k) > 1e-9 else 0 * s
        x, y = ahead - left * np.sin(k * s), side + left * np.cos(k * s)
        cos, sin = np.cos(self.start[2]), np.sin(self.start[2])
        return np.stack([self.start[0] + cos * x - sin * y, self.start[1] + sin * x + cos * y], axis=-1)

    def patch(self, s0: float, s1: float, right: float, left: float, steps: int) -> np.ndarray:
        """A ring along the road."""
        s = np.linspace(s0, s1, steps)
        return np.concatenate([self.point(s, right), self.point(s[::-1], left)])


def make_world(seed: int, agents: int = 20, plans: int = 8, polygons: int | None = None, steps: int = 12) -> World:
    """A random world; `polygons` pads the map with lanes far away to that number; `steps` vertices a polygon's side."""
    rng = np.random.default_rng(seed)
    road = Road(rng.uniform(-0.012, 0.012), *rng.uniform(-30, 30, 2), rng.uniform(-np.pi, np.pi))
    rings, layer, lane, on_route = _streets(road, rng, steps)
    while polygons is not None and len(rings) < polygons:
        far = road.point(np.array(rng.uniform(-60, 140)), rng.choice([-1, 1]) * rng.uniform(60, 110))
        angle = np.linspace(0, 2 * np.pi, 2 * steps, endpoint=False)
        rings.append([far + np.stack([15 * np.cos(angle), 3 * np.sin(angle)], axis=1)])
        layer, lane = [*layer, LANE], [*lane, len(on_route)]
        on_route = [*on_route, False]
    speed = float(rng.choice([0.0, rng.uniform(0.5, 14)], p=[0.1, 0.9]))
    left = rng.normal(-1.75, 0.3)
    ego0 = np.zeros(11)
    ego0[:2], ego0[2] = road.point(np.array(0.0), left), road.heading(0.0) + rng.normal(0, 0.03)
    ego0[2] = (ego0[2] + np.pi) % (2 * np.pi) - np.pi
    ego0[3], ego0[5], ego0[7] = speed, rng.normal(0, 0.7), rng.normal(0, 0.02)
    ego0[9] = speed * np.tan(ego0[7]) / 3.089
    history = np.repeat(ego0[None], 15, axis=0)
    back = np.arange(-15, 0)[:, None] * 0.1 * speed
    history[:, :2] += back * [np.cos(ego0[2]), np.sin(ego0[2])]
    history[:, 5] += np.cumsum(rng.normal(0, 0.1 * rng.integers(0, 4), 15))
    boxes, valid, velocity, kind = _traffic(road, rng, agents)
    red_from = int(rng.integers(-60, 60))
    red = (np.arange(INSTANTS)[:, None] >= red_from) & (np.arange(INSTANTS)[:, None] < red_from + 40)
    return World(
        polygons=rings,
        layer=np.array(layer, np.uint8),
        lane=np.array(lane, np.int64),
        on_route=np.array(on_route, bool),
        centreline=road.point(np.arange(-30, 130, 0.5), -1.75),
        boxes=boxes,
        valid=valid,
        velocity=velocity,
        kind=kind,
        red=red & bool(rng.random() < 0.3),
        red_lane=np.array([lane[layer.index(CONNECTOR)]]),
        ego0=ego0,
        history=history,
        plans=_plans(road, rng, plans, left, ego0),
    )


def _streets(road: Road, rng: np.random.Generator, steps: int) -> tuple[list, list, list, list]:
    """Four stretches of three lanes (two ahead, one back), an intersection between them, a car park with a hole."""
    rings: list[list[np.ndarray]] = []
    layer: list[int] = []
    lane: list[int] = []
    on_route: list[bool] = []
    cross = rng.uniform(12, 45)
    stretches = [(-60, -20), (-20, cross), (cross, cross + 22), (cross + 22, cross + 62), (cross + 62, 140)]
    for s0, s1 in stretches:
        inside = s0 == cross
        for right, route in ((-3.5, True), (-7.0, rng.random() < 0.5), (0.0, False)):
            rings.append([road.patch(s0, s1, right, right + 3.5, steps)])
            layer.append(CONNECTOR if inside else LANE)
            lane.append(len(on_route))
            on_route.append(bool(route))
        if inside:
            for side in (-1, 1):  # turning connectors that overlap the others
                s = np.linspace(0, 1, steps)[:, None]
                a, b = road.point(np.array([s0, s0 + 11]), np.array([-1.75, side * 11]))
                middle = road.point(np.array(s0 + 11), -1.75)
                path = (1 - s) ** 2 * a + 2 * s * (1 - s) * middle + s**2 * b
                away = np.gradient(path, axis=0)
                normal = np.stack([-away[:, 1], away[:, 0]], axis=1) / np.linalg.norm(away, axis=1, keepdims=True)
                rings.append([np.concatenate([path - 1.75 * normal, (path + 1.75 * normal)[::-1]])])
                layer.append(CONNECTOR)
                lane.append(len(on_route))
                on_route.append(False)
            rings.append([road.patch(s0, s1, -12.0, 10.0, steps)])
            layer.append(INTERSECTION)
            lane.append(-1)
        else:
            for right, left in ((-7.0, 0.0), (0.0, 3.5)):
                rings.append([road.patch(s0, s1, right, left, steps)])
                layer.append(ROADBLOCK)
                lane.append(-1)
    rings.append([road.patch(-15, 8, 3.3, 12.0, steps), road.patch(-8, 0, 6.0, 9.0, 4)])
    rings.append([road.patch(-40, 100, -7.4, -6.9, 3 * steps)])
    layer += [CARPARK, DRIVABLE]
    lane += [-1, -1]
    return rings, layer, lane, on_route


def _traffic(road: Road, rng: np.random.Generator, agents: int) -> tuple[np.ndarray, ...]:
    boxes, velocity = np.zeros((INSTANTS, agents, 5)), np.zeros((INSTANTS, agents, 2))
    valid, kind = np.ones((INSTANTS, agents), bool), np.zeros(agents, np.int64)
    time = np.arange(INSTANTS) * 0.1
    for a in range(agents):
        kind[a] = rng.choice(4, p=[0.6, 0.15, 0.1, 0.15])
        length, width = np.array(SIZES[KINDS[kind[a]]]) * rng.uniform(0.8, 1.3, 2)
        side = rng.choice([-1.75, -5.25, 1.75])
        s0, speed, pull = rng.uniform(-35, 75), rng.uniform(0, 13), rng.normal(0, 0.8)
        if kind[a] == 3 or rng.random() < 0.25:
            speed, pull = 0.0, 0.0
        if kind[a] in (1, 3) or speed == 0.0:
            side = rng.uniform(-9, 7)
        if -3.4 < side < 0 and -12 < s0 < 16:
            s0 += 32  # not on the ego
        v = np.clip(speed + pull * time, 0, 20)
        s = s0 + (1 if side < 0 else -1) * np.concatenate([[0], np.cumsum(v[:-1]) * 0.1])
        drift = side + rng.normal(0, 0.25) * time * (v > 0)
        heading = road.heading(s) + (0 if side < 0 else np.pi) + rng.normal(0, 0.15)
        if kind[a] == 1:
            heading = heading + rng.uniform(-np.pi, np.pi)
            v = v / 6
            place = road.point(np.array(s0), side) + np.cumsum(
                0.1 * v[:, None] * np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0
            )
        else:
            place = road.point(s, drift)
        boxes[:, a, :2], boxes[:, a, 2], boxes[:, a, 3], boxes[:, a, 4] = place, length, width, heading
        velocity[:, a] = v[:, None] * np.stack([np.cos(heading), np.sin(heading)], axis=1)
        if rng.random() < 0.2:
            first, last = np.sort(rng.integers(0, INSTANTS, 2))
            valid[:, a] = (np.arange(INSTANTS) >= first) & (np.arange(INSTANTS) <= last)
    boxes[~valid], velocity[~valid] = 0.0, 0.0
    return boxes, valid, velocity, kind


def _plans(road: Road, rng: np.random.Generator, count: int, left: float, ego0: np.ndarray) -> np.ndarray:
    """Along the road at several speeds and sides, the first one tame; some turn away or stop."""
    plans = np.zeros((count, 8, 3))
    for p in range(count):
        end = np.clip(ego0[3] + rng.normal(0, 3), 0, 16) if p else max(ego0[3], 4.0)
        speed = np.interp(TIMES_S, [0, rng.uniform(1, 4)], [ego0[3], end])
        s = np.cumsum(0.5 * speed)
        side = left + (rng.choice([0, rng.normal(0, 3)]) if p else 0) * np.clip(TIMES_S / 3, 0, 1)
        place, heading = road.point(s, side), road.heading(s)
        if p and rng.random() < 0.15:
            bend = rng.normal(0, 0.2)
            heading = ego0[2] + bend * TIMES_S
            place = ego0[:2] + np.cumsum(0.5 * speed[:, None] * np.stack([np.cos(heading), np.sin(heading)], 1), axis=0)
        cos, sin = np.cos(ego0[2]), np.sin(ego0[2])
        dx, dy = (place - ego0[:2]).T
        plans[p, :, 0], plans[p, :, 1] = cos * dx + sin * dy, cos * dy - sin * dx
        plans[p, :, 2] = (heading - ego0[2] + np.pi) % (2 * np.pi) - np.pi
    return plans
