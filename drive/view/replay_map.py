"""The part of a scene's map that a replay shows: near the drives, and with no more points than one can see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drive.samples.scene import CROSSING, ON_ROAD, Scene

REACH_M = 75.0
"""Of the map around the drives' places; a replay shows 60 m around the ego at most, unless it shows everything."""
TOLERANCE_M = 0.08
"""A line may be so far beside what it was."""


@dataclass(frozen=True)
class ReplayMap:
    """What is drawn of a map; places float64 [N, 2] in the scene's frame.

    Attributes:
        areas: (SceneMap.polygon_layer's bits, rings) of what counts as road and of crossings; the first ring of each is
            its outline, the others are holes (even-odd).
        lanes: (row of the lane in the scene's map, whether it is a connector, centre line), pieces of lanes.
        edges: road edges, pieces.
        route: the route's centre line, or None.
    """

    areas: tuple[tuple[int, tuple[np.ndarray, ...]], ...] = ()
    lanes: tuple[tuple[int, bool, np.ndarray], ...] = ()
    edges: tuple[np.ndarray, ...] = ()
    route: np.ndarray | None = None


def replay_map(scene: Scene, places: np.ndarray) -> ReplayMap:
    """What of the scene's map lies within REACH_M of a box around places [P, 2], P > 0."""
    low, high = places.min(axis=0) - REACH_M, places.max(axis=0) + REACH_M
    m = scene.map
    areas = []
    for g in np.flatnonzero(m.polygon_layer & (ON_ROAD | CROSSING)):
        rings = []
        for r in range(m.polygon_offsets[g], m.polygon_offsets[g + 1]):
            ring = clip_ring(m.vertices[m.ring_offsets[r] : m.ring_offsets[r + 1]], low, high)
            if len(ring) > 2:
                rings.append(simplified(np.concatenate([ring, ring[:1]]), TOLERANCE_M)[:-1])
        if rings and len(rings[0]) > 2:
            areas.append((int(m.polygon_layer[g]), tuple(rings)))
    lanes = [
        (lane, bool(m.lane_is_connector[lane]), simplified(piece, TOLERANCE_M))
        for lane in range(len(m.lane_ids))
        for piece in clip_line(m.lane_line(lane), low, high)
    ]
    edges = [
        simplified(piece, TOLERANCE_M)
        for e in range(len(m.edge_offsets) - 1)
        for piece in clip_line(m.edge_vertices[m.edge_offsets[e] : m.edge_offsets[e + 1]], low, high)
    ]
    route = None
    if scene.route is not None:
        near = clip_line(scene.route.centreline, low, high)
        route = simplified(near[0], TOLERANCE_M) if near else None
    return ReplayMap(tuple(areas), tuple(lanes), tuple(edges), route)


def simplified(line: np.ndarray, tolerance_m: float) -> np.ndarray:
    """The line [N, 2] with as few of its points as keep it within the tolerance (Douglas and Peucker); both ends stay.

    Source: Douglas, Peucker, "Algorithms for the reduction of the number of points required to represent a digitized
    line" (1973).
    """
    if len(line) < 3:
        return line
    kept = np.zeros(len(line), bool)
    kept[[0, -1]] = True
    waiting = [(0, len(line) - 1)]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        a, way = line[first], line[last] - line[first]
        between = line[first + 1 : last] - a
        square = float(way @ way)
        share = np.clip(between @ way / square, 0.0, 1.0) if square > 0 else np.zeros(len(between))
        away = np.linalg.norm(between - share[:, None] * way, axis=1)
        furthest = int(np.argmax(away))
        if away[furthest] > tolerance_m:
            middle = first + 1 + furthest
            kept[middle] = True
            waiting += [(first, middle), (middle, last)]
    return line[kept]


def clip_line(line: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
    """The pieces of a line [N, 2] that touch the box low..high: its points inside and one beyond at each end."""
    if len(line) < 2:
        return []
    inside: np.ndarray = np.asarray(((line >= low) & (line <= high)).all(axis=1))
    near = inside.copy()
    near[1:] |= inside[:-1]
    near[:-1] |= inside[1:]
    cuts = np.flatnonzero(np.diff(np.concatenate([[False], near, [False]]).astype(np.int8)))
    return [line[a:b] for a, b in zip(cuts[::2], cuts[1::2], strict=True) if b - a > 1]


def clip_ring(ring: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The part of a ring [N, 2] in the box low..high (Sutherland and Hodgman); [0, 2] where there is none.

    Where the ring leaves the box and comes back, the pieces hang together along the box's side, which does not show.
    """
    for axis, limit, above in ((0, low[0], True), (0, high[0], False), (1, low[1], True), (1, high[1], False)):
        if not len(ring):
            break
        inside = ring[:, axis] >= limit if above else ring[:, axis] <= limit
        if inside.all():
            continue
        following = np.roll(ring, -1, axis=0)
        crosses = inside != np.roll(inside, -1)
        step = np.where(crosses, following[:, axis] - ring[:, axis], 1.0)
        cut = ring + ((limit - ring[:, axis]) / step)[:, None] * (following - ring)
        # Each vertex that is inside, then the place where its side crosses the limit.
        both = np.stack([ring, cut], axis=1).reshape(-1, 2)
        ring = both[np.stack([inside, crosses], axis=1).ravel()]
    return ring


def bounds_of(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest x, y of arrays [N, 2]; (0, 0) twice where they are empty."""
    places = np.concatenate([*parts, np.zeros((0, 2))])
    return (places.min(axis=0), places.max(axis=0)) if len(places) else (np.zeros(2), np.zeros(2))
