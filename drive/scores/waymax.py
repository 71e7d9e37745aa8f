"""Waymax-style metrics of simulated traffic: overlap, off-road, wrong way, route progress, kinematic infeasibility, log
divergence.

Source: waymo-research/waymax ``metrics``, from their description; segments of road edges instead of sampled points,
which are up to a quarter of a metre off. All float64, one frame, 10 Hz; T instants, A objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from drive.rollouts.ground import Ground, off_road
from ops.box_collision.cpu import prepare, rows_touch

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class WaymaxConfig:
    """Limits of the metrics."""

    step_s: float = 0.1
    most_acceleration_mps2: float = 10.4
    most_curvature_1pm: float = 0.3
    standing_mps: float = 0.6
    """Below this speed the curvature says nothing and is taken as 0."""
    wrong_way_m: float = 3.5
    off_route_m: float = 5.0
    other_path_m: float = 2.0


def overlaps(boxes: Floats, valid: Bools) -> Bools:
    """Whether each object touches another: boxes [T, A, 5] x y length width heading, valid [T, A] -> bool [T, A]."""
    boxes = np.ascontiguousarray(boxes, dtype=np.float64)
    T, A = _checked(boxes, valid)
    out = np.zeros((T, A), np.bool_)
    there = np.where(valid[..., None], boxes, np.nan).reshape(T * A, 5)
    _overlaps(prepare(there), T, A, out)
    return out


@njit(cache=True, nogil=True)
def _overlaps(rows, T, A, out):  # type: ignore[no-untyped-def]
    for t in range(T):
        for a in range(A):
            for b in range(a + 1, A):
                if not (out[t, a] and out[t, b]) and rows_touch(rows, t * A + a, rows, t * A + b):
                    out[t, a], out[t, b] = True, True


def off_roads(boxes: Floats, valid: Bools, ground: Ground, ground_z: Floats) -> tuple[Floats, Bools]:
    """(metres by which the outermost corner is beyond the road's edge, float64 [T, A], negative: on the road; whether
    that is above 0, bool [T, A]); both 0 and False where an object is not there.

    ground: `drive.rollouts.ground.ground_of` of the one scene; ground_z float64 [T, A], global height of the objects.
    """
    boxes = np.ascontiguousarray(boxes, dtype=np.float64)
    T, A = _checked(boxes, valid)
    out = np.zeros((T, A))
    _off_roads(boxes, valid, ground, np.ascontiguousarray(ground_z, dtype=np.float64), out)
    return out, (out > 0) & valid


@njit(cache=True, nogil=True)
def _off_roads(boxes, valid, ground, ground_z, out):  # type: ignore[no-untyped-def]
    for t in range(valid.shape[0]):
        for a in range(valid.shape[1]):
            if not valid[t, a]:
                continue
            cos, sin = np.cos(boxes[t, a, 4]), np.sin(boxes[t, a, 4])
            worst = -np.inf
            for corner in range(4):
                ahead = boxes[t, a, 2] / 2 if corner < 2 else -boxes[t, a, 2] / 2
                left = boxes[t, a, 3] / 2 if corner % 2 else -boxes[t, a, 3] / 2
                x, y = boxes[t, a, 0] + ahead * cos - left * sin, boxes[t, a, 1] + ahead * sin + left * cos
                worst = max(worst, off_road(ground, 0, x, y, ground_z[t, a]))
            out[t, a] = worst


def log_divergence(xy: Floats, valid: Bools, logged_xy: Floats, logged_valid: Bools) -> tuple[Floats, Bools]:
    """(metres between each object and where the log has it, float64 [T, A]; where both are known, bool [T, A])."""
    both = valid & logged_valid
    away = np.hypot(*np.moveaxis(np.asarray(xy, float) - logged_xy, -1, 0))
    return np.where(both, away, 0.0), both


@dataclass(frozen=True)
class Kinematics:
    """What a bicycle would have had to do between two instants.

    Attributes:
        acceleration_mps2, curvature_1pm: float64 [T - 1, A]; 0 where unknown.
        infeasible: bool [T - 1, A].
        known: bool [T - 1, A]: the object is there at both instants.
    """

    acceleration_mps2: Floats
    curvature_1pm: Floats
    infeasible: Bools
    known: Bools


def kinematics(speed: Floats, heading: Floats, valid: Bools, config: WaymaxConfig | None = None) -> Kinematics:
    """The inverse bicycle of speed [T, A] m/s and heading [T, A] rad: a = dv / dt, curvature = turn / way."""
    config = config or WaymaxConfig()
    dt, known = config.step_s, valid[1:] & valid[:-1]
    acceleration = np.diff(speed, axis=0) / dt
    way = speed[:-1] * dt + 0.5 * acceleration * dt * dt
    turn = (np.diff(heading, axis=0) + np.pi) % (2 * np.pi) - np.pi
    moving = known & (np.abs(speed[:-1]) >= config.standing_mps) & (np.abs(way) > 1e-9)
    curvature = np.where(moving, turn / np.where(moving, way, 1.0), 0.0)
    acceleration = np.where(known, acceleration, 0.0)
    # The last digits of a difference quotient must not make a drive at the limit infeasible.
    infeasible = np.abs(acceleration) > config.most_acceleration_mps2 + 1e-9
    infeasible |= np.abs(curvature) > config.most_curvature_1pm + 1e-9
    return Kinematics(acceleration, curvature, infeasible & known, known)


def route_progress(xy: Floats, path: Floats, destination_xy: Floats) -> Floats:
    """Arc length of places [T, 2] along a path [N, 2] as a share of that of the destination [2]: float64 [T].

    0 at the start of the path, 1 at the destination, more beyond it. ValueError: a path without length up to there.
    """
    path = np.ascontiguousarray(path, dtype=np.float64)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    goal, _ = _project(path, along, np.asarray(destination_xy, float)[None])
    if not len(path) > 1 or not goal[0] > 0:
        raise ValueError("the destination lies at the start of the path")
    return np.asarray(_project(path, along, np.asarray(xy, float))[0] / goal[0])


def wrong_way(xy: Floats, paths: tuple[Floats, ...], config: WaymaxConfig | None = None) -> Bools:
    """bool [T]: further than 3.5 m from every path [N, 2] that the ego may take."""
    return _nearest(xy, paths) > (config or WaymaxConfig()).wrong_way_m


def off_route(
    xy: Floats, route: tuple[Floats, ...], others: tuple[Floats, ...] = (), config: WaymaxConfig | None = None
) -> Bools:
    """bool [T]: further than 5 m from the route's paths, or nearer to another path by 2 m or more."""
    config = config or WaymaxConfig()
    away = _nearest(xy, route)
    return np.asarray((away > config.off_route_m) | (away - _nearest(xy, others) > config.other_path_m))


def _nearest(xy: Floats, paths: tuple[Floats, ...]) -> Floats:
    """Distance [T] to the nearest of some paths; inf without any."""
    xy = np.asarray(xy, dtype=np.float64)
    best = np.full(len(xy), np.inf)
    for path in paths:
        path = np.ascontiguousarray(path, dtype=np.float64)
        best = np.minimum(best, _project(path, np.zeros(len(path)), xy)[1])
    return best


@njit(cache=True, nogil=True)
def _project(path, along, xy):  # type: ignore[no-untyped-def]
    """(arc length [T], distance [T]) of the nearest points of a path [N, 2]."""
    places, distances = np.zeros(xy.shape[0]), np.full(xy.shape[0], np.inf)
    for t in range(xy.shape[0]):
        for s in range(path.shape[0] - 1):
            dx, dy = path[s + 1, 0] - path[s, 0], path[s + 1, 1] - path[s, 1]
            ox, oy = xy[t, 0] - path[s, 0], xy[t, 1] - path[s, 1]
            length = dx * dx + dy * dy
            share = min(max((ox * dx + oy * dy) / length, 0.0), 1.0) if length > 0 else 0.0
            away = np.hypot(ox - share * dx, oy - share * dy)
            if away < distances[t]:
                distances[t], places[t] = away, along[s] + share * (along[s + 1] - along[s])
    return places, distances


def _checked(boxes: Floats, valid: Bools) -> tuple[int, int]:
    if boxes.ndim != 3 or boxes.shape[2] != 5 or valid.shape != boxes.shape[:2]:
        raise ValueError(f"boxes must be [T, A, 5] and valid [T, A], got {boxes.shape} and {valid.shape}")
    return valid.shape[0], valid.shape[1]
