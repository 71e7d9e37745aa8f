"""How a drive got on: against its lanes, not at all while the log's driver did, or hardly.

After nuPlan's closed-loop metrics "driving direction compliance" (way made against the lanes in a second) and "ego is
making progress" (a fifth of the expert's); standing is ours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from drive.plans.corridor import project
from drive.rollouts.cells import cell_of
from drive.rollouts.ground import Ground
from drive.samples.scene import CONNECTOR, LANE, STEP_S, Scene, SceneMap, X, Y
from ops.polygon_queries.cpu import inside


class Standing(NamedTuple):
    """A stretch of standing: its first and last step, and metres that the log's driver made meanwhile."""

    first: int
    last: int
    missed_m: float


def metres_against(ground: Ground, s: int, lanes: SceneMap, places: np.ndarray, window: int) -> np.ndarray:
    """float64 [N + 1]: way against the lanes in the ``window`` steps before each instant.

    places [N + 1, 2] of the vehicle's middle in scene s, whose map is `lanes`. A step counts as far as it leads back
    along the lane that it is in; where several lanes lie over each other (a junction) the one that it agrees with
    best is asked, and where there is none, none.
    """
    against = np.zeros(len(places))
    _against(
        ground, s, lanes.polygon_lane, lanes.lane_vertices, lanes.lane_offsets, np.ascontiguousarray(places), against
    )
    total = np.cumsum(against)
    before = np.concatenate([np.zeros(window), total])[: len(total)]
    return np.asarray(total - before)


def standing(speed: np.ndarray, logged: np.ndarray, seconds: float, below_mps: float, way_m: float) -> list[Standing]:
    """Stretches of at least so many seconds below a speed in which the log's driver made ``way_m`` or more.

    speed float64 [N + 1] of the drive; logged float64 [N + 1], way that the log's driver had made by then, from any
    start.
    """
    found = []
    for first, end in runs(np.abs(speed) < below_mps):
        missed = float(logged[end - 1] - logged[first])
        if (end - 1 - first) * STEP_S >= seconds - 1e-9 and missed >= way_m:
            found.append(Standing(first, end - 1, missed))
    return found


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Stretches [start, end) in which flags bool [N] are true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def logged_way(scene: Scene, steps: int) -> np.ndarray:
    """float64 [steps + 1]: metres that the log's driver had gone at each instant of a drive; where the log has no ego,
    as many as before."""
    rows = slice(scene.now, scene.now + steps + 1)
    moved = np.linalg.norm(np.diff(scene.ego[rows][:, [X, Y]], axis=0), axis=1)
    known = scene.ego_valid[rows]
    return np.concatenate([[0.0], np.cumsum(np.where(known[1:] & known[:-1], moved, 0.0))])


def logged_progress(scene: Scene, steps: int) -> float:
    """Metres along the route that the log's driver got in so many steps; 0 without a route."""
    known = np.flatnonzero(scene.ego_valid[scene.now : scene.now + steps + 1])
    if scene.route is None or not len(known):
        return 0.0
    line, along = scene.route.centreline, scene.route.arc_length
    first, last = (project(line, along, *scene.ego[scene.now + k, [X, Y]])[0] for k in known[[0, -1]])
    return float(last - first)


@njit(cache=True, nogil=True)
def _against(ground, s, polygon_lane, vertices, offsets, places, against):  # type: ignore[no-untyped-def]
    place, base, own = ground.place[s], ground.starts_at[s], ground.scene_polygons[s]
    nx, ny = int(place[3]), int(place[4])
    for k in range(1, places.shape[0]):
        x, y = places[k, 0], places[k, 1]
        dx, dy = x - places[k - 1, 0], y - places[k - 1, 1]
        best = -np.inf
        cell = cell_of(y, place[1], place[2], ny) * nx + cell_of(x, place[0], place[2], nx)
        for m in range(ground.starts[base + cell], ground.starts[base + cell + 1]):
            g = ground.members[m]
            lane = polygon_lane[g - own]
            if not ground.layer[g] & (LANE | CONNECTOR) or lane < 0:
                continue
            if inside(x, y, ground.vertices, ground.rings, ground.polygons[g], ground.polygons[g + 1]):
                best = max(best, _along_lane(vertices, offsets[lane], offsets[lane + 1], x, y, dx, dy))
        if -np.inf < best < 0.0:
            against[k] = -best


@njit(cache=True, nogil=True)
def _along_lane(vertices, first, last, x, y, dx, dy):  # type: ignore[no-untyped-def]
    """The part of a step that leads along a lane, there where the lane is nearest."""
    nearest, found = np.inf, 0.0
    for k in range(first, last - 1):
        ax, ay = vertices[k + 1, 0] - vertices[k, 0], vertices[k + 1, 1] - vertices[k, 1]
        square = ax * ax + ay * ay
        if square < 1e-12:
            continue
        ox, oy = x - vertices[k, 0], y - vertices[k, 1]
        share = min(max((ox * ax + oy * ay) / square, 0.0), 1.0)
        gap = (ox - share * ax) ** 2 + (oy - share * ay) ** 2
        if gap < nearest:
            nearest, found = gap, (dx * ax + dy * ay) / np.sqrt(square)
    return found
