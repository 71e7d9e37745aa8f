"""The procedural town as geometry: roads, lanes, connectors, crossings, walkways. Global metres, traffic on the right.

A town is a jittered grid of nodes. Between two nodes runs a road (straight or bowed), cut back at both ends to leave
room for the intersection. Across a road, from its centre line outwards: lanes, cycle strip, parking strip, walkway.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from drive.geometry.angles import wrap_angle
from drive.geometry.polylines import arc_length, offset_polyline, resample

LANE_WIDTH = 3.5
CYCLE_STRIP = 1.2
PARKING_STRIP = 2.6
WALKWAY = 3.2
CROSSING_NEAR, CROSSING_FAR = 1.0, 4.0  # a crossing's distance from the road's mouth
STOP_LINE = 5.0  # distance of the stop line from the mouth
MARGIN = 75.0  # town ground beyond the outermost nodes


@dataclass(frozen=True)
class Road:
    """One road between two nodes; `centre` [M, 2] runs from the mouth at `nodes[0]` to the mouth at `nodes[1]`."""

    index: int
    nodes: tuple[int, int]
    lanes: int  # per direction
    parking: bool
    centre: np.ndarray
    parallels: dict[float, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def length(self) -> float:
        return float(arc_length(self.centre)[-1])

    @property
    def lane_edge(self) -> float:
        """Offset of the outermost lane's outer edge from the centre line."""
        return self.lanes * LANE_WIDTH

    @property
    def half_width(self) -> float:
        """Offset of the kerb from the centre line."""
        return self.lane_edge + CYCLE_STRIP + (PARKING_STRIP if self.parking else 0.0)

    def along(self, start: float, end: float, offset: float) -> np.ndarray:
        """The parallel `offset` metres left of the centre line between two distances, [M, 2]."""
        offset = float(offset)
        if offset not in self.parallels:
            line = offset_polyline(self.centre, offset)
            self.parallels[offset] = line, arc_length(line)
        line, distance = self.parallels[offset]
        at = np.linspace(start, end, max(int(abs(end - start) / 1.0), 1) + 1) * (distance[-1] / self.length)
        return np.column_stack([np.interp(at, distance, line[:, 0]), np.interp(at, distance, line[:, 1])])

    def strip(self, start: float, end: float, left: float, right: float) -> np.ndarray:
        """Polygon [K, 2] between two distances and two offsets."""
        return np.concatenate([self.along(start, end, right), self.along(end, start, left)])


@dataclass(frozen=True)
class Lane:
    """A driving lane; `order` 0 is next to the centre line, `forward` runs from nodes[0] to nodes[1] of its road."""

    index: int
    road: int
    forward: bool
    order: int
    centre: np.ndarray
    start_node: int
    end_node: int


@dataclass(frozen=True)
class Connector:
    """A path through an intersection between two lanes; `turn` is 'left', 'straight' or 'right'."""

    index: int
    node: int
    source: int
    target: int
    turn: str
    centre: np.ndarray


@dataclass(frozen=True)
class Crossing:
    """A pedestrian crossing at one end of a road, between two distances along the road's centre line."""

    index: int
    road: int
    end: int
    start: float
    stop: float


@dataclass(frozen=True)
class Corner:
    """The kerb between two neighbouring arms of a node: arm A's left end to arm B's right end (seen from the node)."""

    node: int
    arm_a: tuple[int, int]  # road, end
    arm_b: tuple[int, int]
    kerb: np.ndarray
    outer: np.ndarray  # the walkway's far side, same direction


@dataclass
class Town:
    """Everything that the map, the scenery and the traffic need to know."""

    name: str
    seed: int
    size: tuple[float, float]
    nodes: np.ndarray
    arms: list[list[tuple[int, int]]]  # per node (road, end), counter-clockwise
    roads: list[Road] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    connectors: list[Connector] = field(default_factory=list)
    crossings: list[Crossing] = field(default_factory=list)
    corners: list[Corner] = field(default_factory=list)

    def intersection(self, node: int) -> np.ndarray:
        """Polygon [K, 2] of a node's paved area, counter-clockwise."""
        return np.concatenate([corner.kerb for corner in self.corners if corner.node == node])

    def outgoing(self, lane: int) -> list[Connector]:
        return [connector for connector in self.connectors if connector.source == lane]

    def lanes_of(self, road: int, forward: bool) -> list[Lane]:
        return [lane for lane in self.lanes if lane.road == road and lane.forward == forward]


def build_town(name: str, seed: int, columns: int = 4, rows: int = 4) -> Town:
    """The town of a seed: same arguments, same town."""
    rng = np.random.default_rng([seed, 17])
    xs = MARGIN + np.concatenate([[0.0], np.cumsum(rng.uniform(82.0, 118.0, columns - 1))])
    ys = MARGIN + np.concatenate([[0.0], np.cumsum(rng.uniform(82.0, 118.0, rows - 1))])
    nodes = np.stack(np.meshgrid(xs, ys, indexing="ij"), axis=-1).reshape(-1, 2)
    nodes = nodes + rng.uniform(-5.0, 5.0, nodes.shape)
    town = Town(name, seed, (float(xs[-1] + MARGIN), float(ys[-1] + MARGIN)), nodes, [[] for _ in nodes])
    plan = _plan_roads(rng, columns, rows)
    half = [lanes * LANE_WIDTH + CYCLE_STRIP + (PARKING_STRIP if parking else 0.0) for _, _, lanes, parking in plan]
    reach = np.zeros(len(nodes))  # distance of the mouths from the node
    for (a, b, _, _), width in zip(plan, half, strict=True):
        reach[[a, b]] = np.maximum(reach[[a, b]], width + 6.5)
    for index, (a, b, lanes, parking) in enumerate(plan):
        centre = _road_centre(rng, nodes[a], nodes[b], reach[a], reach[b])
        town.roads.append(Road(index, (a, b), lanes, parking, centre))
        town.arms[a].append((index, 0))
        town.arms[b].append((index, 1))
    for node, arms in enumerate(town.arms):
        arms.sort(key=lambda arm: _arm_angle(town, node, arm))
    _add_lanes(town)
    _add_corners(town)
    _add_connectors(town)
    for arms in town.arms:
        for road, end in arms:
            if len(arms) >= 3 and rng.random() < 0.85:
                length = town.roads[road].length
                low, high = (
                    (CROSSING_NEAR, CROSSING_FAR) if end == 0 else (length - CROSSING_FAR, length - CROSSING_NEAR)
                )
                town.crossings.append(Crossing(len(town.crossings), road, end, low, high))
    return town


def _plan_roads(rng: np.random.Generator, columns: int, rows: int) -> list[tuple[int, int, int, bool]]:
    """Which nodes are joined, with lanes per direction and parking: whole streets share a cross-section."""
    wide_column, wide_row = int(rng.integers(1, columns - 1)), int(rng.integers(1, rows - 1))
    parking_columns, parking_rows = rng.random(columns) < 0.92, rng.random(rows) < 0.92
    roads = []
    for i in range(columns):
        lanes, parking = 2 if i == wide_column else 1, bool(parking_columns[i])
        roads += [(i * rows + j, i * rows + j + 1, lanes, parking) for j in range(rows - 1)]
    for j in range(rows):
        lanes, parking = 2 if j == wide_row else 1, bool(parking_rows[j])
        roads += [(i * rows + j, (i + 1) * rows + j, lanes, parking) for i in range(columns - 1)]
    degree = np.bincount(np.array([road[:2] for road in roads]).ravel())
    removed = 0
    for k in rng.permutation(len(roads)):
        a, b, lanes, _ = roads[k]
        if removed < 2 and lanes == 1 and degree[a] == 4 and degree[b] == 4:
            degree[[a, b]] -= 1
            roads[k] = (-1, -1, 0, False)
            removed += 1
    return [road for road in roads if road[0] >= 0]


def _road_centre(rng: np.random.Generator, a: np.ndarray, b: np.ndarray, reach_a: float, reach_b: float) -> np.ndarray:
    """Centre line from mouth to mouth, straight or bowed; both ends point along the line between the nodes."""
    direction = (b - a) / np.linalg.norm(b - a)
    start, end = a + direction * reach_a, b - direction * reach_b
    length = float(np.linalg.norm(end - start))
    bow = rng.choice([-1.0, 1.0]) * rng.uniform(3.0, 0.11 * length) if rng.random() < 0.45 else 0.0
    share = np.linspace(0.0, 1.0, 101)
    # sin^2 has no slope at the ends, so lanes and connectors meet without a kink.
    left = np.array([-direction[1], direction[0]])
    line = start + share[:, None] * (end - start) + (bow * np.sin(np.pi * share) ** 2)[:, None] * left
    return resample(line, 1.0)


def _arm_angle(town: Town, node: int, arm: tuple[int, int]) -> float:
    mouth = town.roads[arm[0]].centre[0 if arm[1] == 0 else -1]
    return float(np.arctan2(*(mouth - town.nodes[node])[::-1]))


def _add_lanes(town: Town) -> None:
    for road in town.roads:
        for forward in (True, False):
            for order in range(road.lanes):
                side = -(order + 0.5) * LANE_WIDTH  # right of the direction of travel
                line = offset_polyline(road.centre if forward else road.centre[::-1], side)
                a, b = road.nodes if forward else road.nodes[::-1]
                town.lanes.append(Lane(len(town.lanes), road.index, forward, order, resample(line, 1.0), a, b))


def arm_frame(town: Town, arm: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Mouth point and unit direction away from the node of a road's end."""
    centre = town.roads[arm[0]].centre
    point, towards = (centre[0], centre[1]) if arm[1] == 0 else (centre[-1], centre[-2])
    step = towards - point
    return point, step / np.linalg.norm(step)


def bezier(a: np.ndarray, control: np.ndarray, b: np.ndarray, count: int = 9) -> np.ndarray:
    """Quadratic Bezier curve [count, 2]."""
    t = np.linspace(0.0, 1.0, count)[:, None]
    return (1 - t) ** 2 * a + 2 * t * (1 - t) * control + t**2 * b


def corner_curve(town: Town, arm_a: tuple[int, int], arm_b: tuple[int, int], beyond_kerb: float) -> np.ndarray:
    """Curve around the corner between arm A's left side and arm B's right side, `beyond_kerb` metres off the road."""
    (point_a, out_a), (point_b, out_b) = arm_frame(town, arm_a), arm_frame(town, arm_b)
    a = point_a + (town.roads[arm_a[0]].half_width + beyond_kerb) * np.array([-out_a[1], out_a[0]])
    b = point_b - (town.roads[arm_b[0]].half_width + beyond_kerb) * np.array([-out_b[1], out_b[0]])
    cross = out_a[0] * out_b[1] - out_a[1] * out_b[0]
    if abs(cross) < 0.35:  # the two arms are one street: straight on
        return bezier(a, (a + b) / 2, b)
    gap = b - a
    along = (gap[0] * out_b[1] - gap[1] * out_b[0]) / cross
    return bezier(a, a + along * out_a, b)


def _add_corners(town: Town) -> None:
    for node, arms in enumerate(town.arms):
        for k, arm_a in enumerate(arms):
            arm_b = arms[(k + 1) % len(arms)]
            kerb, outer = corner_curve(town, arm_a, arm_b, 0.0), corner_curve(town, arm_a, arm_b, WALKWAY)
            town.corners.append(Corner(node, arm_a, arm_b, kerb, outer))


def _turn(source: Lane, target: Lane) -> str:
    a, b = source.centre[-1] - source.centre[-2], target.centre[1] - target.centre[0]
    angle = float(wrap_angle(np.arctan2(b[1], b[0]) - np.arctan2(a[1], a[0])))
    return "straight" if abs(angle) < np.pi / 4 else ("left" if angle > 0 else "right")


def smooth_join(a: np.ndarray, along_a: np.ndarray, b: np.ndarray, along_b: np.ndarray) -> np.ndarray:
    """Cubic Bezier [M, 2] from `a` to `b` with the given unit directions at the ends, vertices about 0.5 m apart."""
    distance = float(np.linalg.norm(b - a))
    angle = abs(float(wrap_angle(np.arctan2(along_b[1], along_b[0]) - np.arctan2(along_a[1], along_a[0]))))
    handle = distance * (1 / 3 + 0.057 * angle / (np.pi / 2))  # 0.39 for a quarter circle
    t = np.linspace(0.0, 1.0, 61)[:, None]
    p1, p2 = a + handle * along_a, b - handle * along_b
    line = (1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * p1 + 3 * t**2 * (1 - t) * p2 + t**3 * b
    return resample(line, 0.5)


def _add_connectors(town: Town) -> None:
    for source in town.lanes:
        options: dict[str, list[Lane]] = {}
        for target in town.lanes:
            if target.start_node == source.end_node and target.road != source.road:
                options.setdefault(_turn(source, target), []).append(target)
        lanes = town.roads[source.road].lanes
        allowed = (
            {"straight"}
            | ({"left"} if source.order == 0 else set())
            | ({"right"} if source.order == lanes - 1 else set())
        )
        turns: list[str] = [turn for turn in ("left", "straight", "right") if turn in options and turn in allowed]
        for turn in turns or sorted(options):
            targets = sorted(options[turn], key=lambda lane: lane.order)
            same = min(source.order, len(targets) - 1)  # a street that only bends keeps its lanes apart
            order = same if len(options) == 1 else {"left": 0, "right": len(targets) - 1, "straight": same}[turn]
            target = targets[order]
            a, b = source.centre[-1] - source.centre[-2], target.centre[1] - target.centre[0]
            line = smooth_join(source.centre[-1], a / np.linalg.norm(a), target.centre[0], b / np.linalg.norm(b))
            town.connectors.append(
                Connector(len(town.connectors), source.end_node, source.index, target.index, turn, line)
            )
