"""Paths for everything that moves: lanes and connectors for vehicles, walkways and crossings for pedestrians."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_tools.town.layout import CYCLE_STRIP, LANE_WIDTH, STOP_LINE, Connector, Crossing, Lane, Town, corner_curve
from drive.geometry.polylines import arc_length, offset_polyline, point_at

SPACING = 0.5  # metres between a path's points
WALK_OFFSET = 1.45  # pedestrians' middle line, from the kerb
CROSSING_MIDDLE = 2.5
LATERAL_ACCELERATION = 2.2  # m/s^2 that a driver accepts in a bend
COMFORTABLE_BRAKING = 1.8


@dataclass(frozen=True)
class Junction:
    """One passage of an intersection on a path: arc lengths of the stop line, the way in and the way out."""

    node: int
    stop: float
    enter: float
    leave: float
    line: np.ndarray  # [K, 2] the path between enter and leave


@dataclass(frozen=True)
class Passage:
    """A stretch of a path that lies on a pedestrian crossing."""

    crossing: int
    start: float
    stop: float


@dataclass(frozen=True)
class Path:
    """A line [M, 2] with points every `SPACING` metres, and what is on it in order of arc length."""

    points: np.ndarray
    speed_limit: np.ndarray  # [M] m/s, from the bends ahead
    junctions: tuple[Junction, ...]
    passages: tuple[Passage, ...]

    @property
    def length(self) -> float:
        return (len(self.points) - 1) * SPACING


def lane_crossings(town: Town, lane: Lane) -> list[tuple[Crossing, float, float]]:
    """The crossings over a lane with their interval of the lane's arc length, first met first."""
    road = town.roads[lane.road]
    scale = float(arc_length(lane.centre)[-1]) / road.length
    found = []
    for crossing in town.crossings:
        if crossing.road == lane.road:
            a, b = crossing.start, crossing.stop
            if not lane.forward:
                a, b = road.length - b, road.length - a
            found.append((crossing, a * scale, b * scale))
    return sorted(found, key=lambda item: item[1])


def choose_lanes(
    town: Town, rng: np.random.Generator, lane: Lane, length: float, straight: float, cyclist: bool
) -> list[Lane | Connector]:
    """Lanes and connectors in turn, at least `length` metres, from the start of `lane`."""
    way: list[Lane | Connector] = [lane]
    total = float(arc_length(lane.centre)[-1])
    while total < length:
        options = town.outgoing(lane.index)
        if cyclist:  # cyclists keep to the outermost lane, where the strip beside it is
            options = [o for o in options if _outermost(town, town.lanes[o.target])] or options
        weights = np.array([straight if option.turn == "straight" else (1.0 - straight) for option in options]) + 1e-3
        option = options[int(rng.choice(len(options), p=weights / weights.sum()))]
        lane = town.lanes[option.target]
        way += [option, lane]
        total += float(arc_length(option.centre)[-1]) + float(arc_length(lane.centre)[-1])
    return way


def _outermost(town: Town, lane: Lane) -> bool:
    return lane.order == town.roads[lane.road].lanes - 1


def vehicle_path(town: Town, way: list[Lane | Connector], cyclist: bool) -> Path:
    """The path along `way`; a cyclist rides on the strip right of the lane."""
    pieces: list[np.ndarray] = []
    marks: list[tuple[str, int, float, float]] = []
    start = 0.0
    for piece in way:
        length = float(arc_length(piece.centre)[-1])
        if isinstance(piece, Connector):
            marks.append(("junction", piece.node, start, start + length))
        else:
            marks += [("passage", c.index, start + a, start + b) for c, a, b in lane_crossings(town, piece)]
        pieces.append(piece.centre if not pieces else piece.centre[1:])
        start += length
    raw = np.concatenate(pieces)
    raw_length = arc_length(raw)
    line = offset_polyline(raw, -(LANE_WIDTH + CYCLE_STRIP) / 2) if cyclist else raw
    along = arc_length(line)
    points = point_at(line, np.arange(0.0, along[-1], SPACING))
    junctions, passages = [], []
    for kind, index, low, high in marks:
        a, b = np.interp([low, high], raw_length, along)
        if kind == "passage":
            passages.append(Passage(index, float(a), float(b)))
        else:
            inside = points[int(a / SPACING) : int(np.ceil(b / SPACING)) + 1]
            junctions.append(Junction(index, float(a) - STOP_LINE - 0.3, float(a), float(b), inside))
    return Path(points, _speed_limit(points), tuple(junctions), tuple(passages))


def _speed_limit(points: np.ndarray) -> np.ndarray:
    """Speed for the bend at each point, and braking in time for the bends after it."""
    step = np.diff(points, axis=0)
    heading = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    curvature = np.zeros(len(points))
    curvature[1:-1] = np.abs(np.diff(heading)) / SPACING
    smooth = np.convolve(curvature, np.ones(7) / 7, mode="same")
    limit = np.sqrt(LATERAL_ACCELERATION / np.maximum(smooth, 1e-4))
    for k in range(len(limit) - 2, -1, -1):
        limit[k] = min(limit[k], np.sqrt(limit[k + 1] ** 2 + 2 * COMFORTABLE_BRAKING * SPACING))
    return limit


def rolling_headings(points: np.ndarray, lead: float) -> np.ndarray:
    """Headings [M], unwrapped, of a vehicle whose reference follows points [M, 2] and whose rear axle, `lead` metres
    behind that, is pulled after it without ever slipping sideways.

    The pulled point's curve is a tractrix: over a straight step of length h the angle a between heading and step
    shrinks as tan(a / 2) exp(-h / lead).
    """
    step = np.diff(points, axis=0)
    direction = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    shrink = np.exp(-np.hypot(step[:, 0], step[:, 1]) / lead)
    headings = np.empty(len(points))
    headings[0] = direction[0]
    for k in range(len(step)):
        headings[k + 1] = direction[k] + 2 * np.arctan(np.tan((headings[k] - direction[k]) / 2) * shrink[k])
    return headings


# A pedestrian's graph: a place is a road's end on one side of it, at the middle of where its crossing is or would be.
Place = tuple[int, int, int]  # road, end, side (+1 left, -1 right of the road's own direction)


def walk_position(town: Town, place: Place) -> float:
    """Distance along the place's road."""
    road = town.roads[place[0]]
    return CROSSING_MIDDLE if place[1] == 0 else road.length - CROSSING_MIDDLE


def walk_links(town: Town) -> dict[Place, list[tuple[Place, int, np.ndarray]]]:
    """For each place the places reachable from it: (place, crossing index or -1, line [K, 2])."""
    links: dict[Place, list[tuple[Place, int, np.ndarray]]] = {}

    def join(a: Place, b: Place, crossing: int, line: np.ndarray) -> None:
        links.setdefault(a, []).append((b, crossing, line))
        links.setdefault(b, []).append((a, crossing, line[::-1]))

    for road in town.roads:
        for side in (1, -1):
            a, b = (road.index, 0, side), (road.index, 1, side)
            offset = side * (road.half_width + WALK_OFFSET)
            join(a, b, -1, road.along(walk_position(town, a), walk_position(town, b), offset))
    for crossing in town.crossings:
        road = town.roads[crossing.road]
        a, b = (crossing.road, crossing.end, 1), (crossing.road, crossing.end, -1)
        at, offset = walk_position(town, a), road.half_width + WALK_OFFSET
        ends = [road.along(at - 0.5, at + 0.5, side * offset).mean(axis=0) for side in (1, -1)]
        join(a, b, crossing.index, np.linspace(ends[0], ends[1], 12))
    for corner in town.corners:
        a = (*corner.arm_a, 1 if corner.arm_a[1] == 0 else -1)
        b = (*corner.arm_b, -1 if corner.arm_b[1] == 0 else 1)
        curve = corner_curve(town, corner.arm_a, corner.arm_b, WALK_OFFSET)
        join(a, b, -1, np.concatenate([_to_mouth(town, a), curve[1:-1], _to_mouth(town, b)[::-1]]))
    return links


def _to_mouth(town: Town, place: Place) -> np.ndarray:
    road = town.roads[place[0]]
    end = 0.0 if place[1] == 0 else road.length
    return road.along(walk_position(town, place), end, place[2] * (road.half_width + WALK_OFFSET))


def pedestrian_path(
    town: Town,
    links: dict[Place, list[tuple[Place, int, np.ndarray]]],
    rng: np.random.Generator,
    start: Place,
    length: float,
    right: float,
) -> Path:
    """A walk of at least `length` metres, `right` metres right of the walkways' middle; starts along the road."""
    place, crossing, line = next(link for link in links[start] if link[0][0] == start[0] and link[1] < 0)
    pieces, marks = [line], []
    before, total = start, float(arc_length(line)[-1])
    while total < length:
        options = [link for link in links[place] if link[0] != before]
        if not options:
            options = links[place]
        weights = np.array([0.7 if link[1] >= 0 else 1.0 for link in options])
        following, crossing, line = options[int(rng.choice(len(options), p=weights / weights.sum()))]
        step = float(arc_length(line)[-1])
        if crossing >= 0:
            marks.append((crossing, total + WALK_OFFSET - 0.3, total + step - WALK_OFFSET + 0.3))
        pieces.append(line[1:])
        before, place, total = place, following, total + step
    raw = np.concatenate(pieces)
    line = offset_polyline(raw, -right)
    along, raw_length = arc_length(line), arc_length(raw)
    passages = tuple(
        Passage(index, *(float(v) for v in np.interp([low, high], raw_length, along))) for index, low, high in marks
    )
    points = point_at(line, np.arange(0.0, along[-1], SPACING))
    return Path(points, np.full(len(points), 10.0), (), passages)
