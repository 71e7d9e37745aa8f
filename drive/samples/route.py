"""Where the ego is to drive: the lanes that the recorded drive took, led on beyond its end."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from drive.geometry.angles import angle_difference, wrap_angle
from drive.geometry.polylines import arc_length, heading_at, point_at, project_to_polyline, resample
from drive.samples.lane_graph import direction, without_repeats
from drive.samples.route_match import Stay, match, shortest
from drive.samples.scene import HEADING, STEP_S, Route, SceneMap, X, Y

AHEAD_M, BEHIND_M = 150.0, 30.0
MATCH_EVERY = 5
"""Poses of the drive are matched every so many steps (0.5 s)."""
BLEND_M = 10.0
"""A change of lane begins this far before and ends this far after the place where the drive was matched to change."""
SPACING_M, NEAREST_M = 0.5, 0.05
FAR_M, FAR_SHARE = 2.0, 0.2

COMMANDS = ("left", "straight", "right", "unknown")
LEFT, STRAIGHT, RIGHT, UNKNOWN = range(4)
COMMAND_FROM_M, COMMAND_TO_M, COMMAND_RAD = 5.0, 40.0, np.deg2rad(20.0)


class NoRouteError(Exception):
    """Why a scene has no route; the text is for the scene's notes."""


def find_route(lanes: SceneMap, ego: np.ndarray) -> Route:
    """The route of a recorded drive through states float64 [T, 11] (EGO_COLUMNS, rear axle).

    Matched lanes, the lanes missing in between by the shortest way, then on along the successors that turn least until
    AHEAD_M past the drive's end, and BEHIND_M back before its start.

    Raises:
        NoRouteError: no lanes, a drive outside of them, a centre line that the drive itself keeps FAR_M away from.
    """
    if not lanes.lane_ids:
        raise NoRouteError("the map has no lanes")
    poses = ego[::MATCH_EVERY, [X, Y, HEADING]]
    stays, matched = match(lanes, poses)
    if matched < 0.5 * len(poses):
        raise NoRouteError(f"the recorded drive is in a lane at only {matched} of {len(poses)} instants")
    pieces = _pieces(lanes, stays)
    last, first = pieces[-1].lane, pieces[0].lane
    length = _lengths(lanes)
    end = stays[-1].leave
    ahead = _onwards(lanes, last, AHEAD_M - (length[last] - end), length, {p.lane for p in pieces})
    behind = _backwards(lanes, first, BEHIND_M - stays[0].enter, length, {p.lane for p in pieces})
    pieces = [*(Stay(lane, 0.0, length[lane]) for lane in behind), *pieces]
    pieces += [Stay(lane, 0.0, length[lane]) for lane in ahead]
    centreline = _centreline(lanes, pieces)
    away = np.abs(project_to_polyline(centreline, ego[:, [X, Y]])[1])
    if (away > FAR_M).mean() > FAR_SHARE:
        far = f"more than {FAR_M:g} m from the lanes' middle for {(away > FAR_M).sum() * STEP_S:.1f} s"
        raise NoRouteError(f"the recorded drive is {far}")
    order = list(dict.fromkeys(p.lane for p in pieces))
    return Route(
        lanes=np.array(order, np.int64),
        on_route=_on_route(lanes, order),
        centreline=centreline,
        arc_length=arc_length(centreline),
    )


def path_route(lanes: SceneMap, ego: np.ndarray) -> Route:
    """The recorded drive's own path as the route, straight on for AHEAD_M and BEHIND_M; `Route.lanes` is empty. For
    drives where the map has no lanes (an excerpt that lacks a junction's connectors)."""
    kept = [0]
    for k in range(1, len(ego)):
        if np.hypot(*(ego[k, [X, Y]] - ego[kept[-1], [X, Y]])) >= SPACING_M:
            kept.append(k)
    ends = ego[[kept[0], kept[-1]]][:, [X, Y, HEADING]]
    ahead = np.stack([np.cos(ends[:, 2]), np.sin(ends[:, 2])], axis=1)
    before, after = ends[0, :2] - BEHIND_M * ahead[0], ends[1, :2] + AHEAD_M * ahead[1]
    line = resample(np.concatenate([[before], ego[kept][:, [X, Y]], [after]]), SPACING_M)
    return Route(np.zeros(0, np.int64), np.zeros(len(lanes.lane_ids), bool), line, arc_length(line))


def _lengths(lanes: SceneMap) -> list[float]:
    return [float(arc_length(lanes.lane_line(i))[-1]) for i in range(len(lanes.lane_ids))]


def _pieces(lanes: SceneMap, stays: list[Stay]) -> list[Stay]:
    """Stretches of lanes, one after the other: each from where one comes into the lane to where one leaves it."""
    length = _lengths(lanes)
    pieces = [Stay(stays[0].lane, 0.0, length[stays[0].lane])]
    for before, stay in pairwise(stays):
        between = shortest(lanes, before.lane, stay.lane, AHEAD_M)
        if between is not None:
            pieces += [Stay(lane, 0.0, length[lane]) for lane in (*between, stay.lane)]
            continue
        # A change of lane (or a gap in the map): out of the one before its end, into the other after its start.
        last = pieces[-1]
        leave = np.clip(before.leave - BLEND_M, min(last.enter + 0.1, length[before.lane]), length[before.lane])
        enter = np.clip(stay.enter + BLEND_M, 0.0, max(length[stay.lane] - 0.1, 0.0))
        pieces[-1] = Stay(last.lane, last.enter, float(leave))
        pieces.append(Stay(stay.lane, float(enter), length[stay.lane]))
    return pieces


def _onwards(lanes: SceneMap, lane: int, wanted_m: float, length: list[float], seen: set[int]) -> list[int]:
    """Lanes that follow, always the one that ends most nearly straight on, until they are ``wanted_m`` long."""
    way: list[int] = []
    while wanted_m > 0:
        heading = direction(lanes.lane_line(lane), -1)
        choice = [n for n in lanes.successors_of(lane).tolist() if n not in seen]
        if not choice:
            return way
        lane = min(choice, key=lambda n: abs(float(angle_difference(direction(lanes.lane_line(n), -1), heading))))
        seen.add(lane)
        way.append(lane)
        wanted_m -= length[lane]
    return way


def _backwards(lanes: SceneMap, lane: int, wanted_m: float, length: list[float], seen: set[int]) -> list[int]:
    way: list[int] = []
    while wanted_m > 0:
        heading = direction(lanes.lane_line(lane), 0)
        choice = [n for n in lanes.predecessors_of(lane).tolist() if n not in seen]
        if not choice:
            return way
        lane = min(choice, key=lambda n: abs(float(angle_difference(direction(lanes.lane_line(n), 0), heading))))
        seen.add(lane)
        way.insert(0, lane)
        wanted_m -= length[lane]
    return way


def _centreline(lanes: SceneMap, pieces: list[Stay]) -> np.ndarray:
    parts = []
    for piece in pieces:
        line = lanes.lane_line(piece.lane)
        along = arc_length(line)
        inner = along[(along > piece.enter) & (along < piece.leave)]
        parts.append(point_at(line, np.concatenate([[piece.enter], inner, [piece.leave]])))
    line = without_repeats(np.concatenate(parts), NEAREST_M)
    if len(line) < 2:
        raise NoRouteError("the recorded drive's lanes have no length")
    return resample(line, SPACING_M)


def _on_route(lanes: SceneMap, order: list[int]) -> np.ndarray:
    """bool [L]: the route's lanes, what runs beside them the same way, and connectors from and to such lanes."""
    on = np.zeros(len(lanes.lane_ids), bool)
    front = list(order)
    while front:
        lane = front.pop()
        if on[lane]:
            continue
        on[lane] = True
        front += [int(n) for n in (lanes.left[lane], lanes.right[lane]) if n >= 0 and not on[n]]
    for lane in np.flatnonzero(lanes.lane_is_connector & ~on).tolist():
        before, after = lanes.predecessors_of(lane), lanes.successors_of(lane)
        if len(before) and len(after) and on[before].any() and on[after].any():
            on[lane] = True
    return on


def progress(route: Route, places_xy: np.ndarray) -> np.ndarray:
    """Arc length [Q] of places [Q, 2] along the route's centre line."""
    return project_to_polyline(route.centreline, places_xy)[0]


def command(route: Route | None, place_xy: np.ndarray) -> int:
    """Index into COMMANDS of where the route leads from a place [2]: by how much its centre line turns between
    COMMAND_FROM_M and COMMAND_TO_M ahead. Obstacles and changes of lane do not count; UNKNOWN without a route."""
    if route is None:
        return UNKNOWN
    at = progress(route, place_xy[None])[0]
    reach = np.clip(np.array([at + COMMAND_FROM_M, at + COMMAND_TO_M]), 0.0, route.arc_length[-1])
    first, last = heading_at(route.centreline, reach)
    turn = float(wrap_angle(last - first))
    return LEFT if turn > COMMAND_RAD else RIGHT if turn < -COMMAND_RAD else STRAIGHT
