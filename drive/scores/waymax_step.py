"""Waymax's four metrics of one simulated step, of all objects of many drives at once: overlap, off-road, log
divergence, kinematic infeasibility.

The same numbers as `drive.scores.waymax` gives for one scene over time; here one instant of S drives, the ego among the
objects, in one compiled loop. Source: waymo-research/waymax ``metrics``, from their description.

Shape letters: S drives, O objects (the others in their order, the ego last).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from drive.dynamics.bicycle import wrap
from drive.plans.planner import HISTORY
from drive.rollouts.ground import Ground, off_road
from drive.rollouts.state import State, World
from drive.samples.scene import HEADING, VX, X, Y
from drive.scores.waymax import WaymaxConfig
from ops.box_collision.cpu import prepare, rows_touch

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SLACK = 1e-3
"""Beyond the limits: what Waymax forgives, so that rounding makes nobody infeasible."""


class Instant(NamedTuple):
    """Where S x O objects are: box float64 [S, O, 5] (x, y, length, width, heading), velocity float64 [S, O, 2] in the
    scene's frame, valid bool [S, O]."""

    box: Floats
    velocity: Floats
    valid: Bools


class StepMetrics(NamedTuple):
    """The metrics of an instant. Attributes [S, O]; 0 and False where an object is not there.

    overlap: bool, touches another object.
    off_road_m: float64, metres by which its outermost corner is beyond the road's edge (negative: on the road).
    divergence_m: float64, metres between its middle and the recorded one; 0 where it was not recorded.
    infeasible: bool, no car could have come here from the instant before.
    """

    overlap: Bools
    off_road_m: Floats
    divergence_m: Floats
    infeasible: Bools


def instant_of(world: World, state: State) -> Instant:
    """All objects of a state, the ego last: its velocity is that of the rear axle."""
    x, y, heading, speed = (state.ego[:, c] for c in (X, Y, HEADING, VX))
    length, width, _, centre = world.vehicle.T
    cos, sin = np.cos(heading), np.sin(heading)
    ego = np.stack([x + centre * cos, y + centre * sin, length, width, heading], axis=-1)
    velocity = np.stack([speed * cos, speed * sin], axis=-1)
    return Instant(
        np.concatenate([state.box, ego[:, None]], axis=1),
        np.concatenate([state.velocity, velocity[:, None]], axis=1),
        np.concatenate([state.valid, np.ones((len(ego), 1), bool)], axis=1),
    )


def recorded(world: World, step: int) -> tuple[Floats, Bools, Floats]:
    """xy [S, O, 2], valid [S, O] and global height of the ground [S, O] of all objects as recorded at a step."""
    at = min(HISTORY - 1 + step, world.recording.valid.shape[2] - 1)
    rows = [min(scene.now + step, len(scene.ego) - 1) for scene in world.scenes]
    ego = np.stack([scene.ego[row] for scene, row in zip(world.scenes, rows, strict=True)])
    known = np.array([scene.ego_valid[row] for scene, row in zip(world.scenes, rows, strict=True)])
    centre = world.vehicle[:, 3]
    xy = np.stack([ego[:, X] + centre * np.cos(ego[:, HEADING]), ego[:, Y] + centre * np.sin(ego[:, HEADING])], axis=-1)
    z = world.ground_z[:, min(step, world.ground_z.shape[1] - 1)]
    return (
        np.concatenate([world.recording.box[:, :, at, :2], xy[:, None]], axis=1),
        np.concatenate([world.recording.valid[:, :, at], known[:, None]], axis=1),
        np.concatenate([world.recording.ground_z[:, :, at], z[:, None]], axis=1),
    )


def step_metrics(world: World, before: State, after: State, config: WaymaxConfig | None = None) -> StepMetrics:
    """The metrics of the state `after`, one step behind `before`."""
    logged_xy, logged_valid, z = recorded(world, after.step)
    return instant_metrics(
        world.ground, instant_of(world, before), instant_of(world, after), logged_xy, logged_valid, z, config
    )


def instant_metrics(
    ground: Ground,
    before: Instant,
    after: Instant,
    logged_xy: Floats,
    logged_valid: Bools,
    ground_z: Floats,
    config: WaymaxConfig | None = None,
) -> StepMetrics:
    """The metrics of an instant: logged_xy [S, O, 2], logged_valid [S, O], ground_z [S, O] (global height).

    A turn is measured from the heading before to the direction of the velocity now (to the heading where it stands
    now), as Waymax does. ValueError: shapes that do not fit.
    """
    shape = after.valid.shape
    for given, wanted in (
        (after.box, (*shape, 5)), (after.velocity, (*shape, 2)), (before.box, (*shape, 5)),
        (before.velocity, (*shape, 2)), (before.valid, shape), (logged_xy, (*shape, 2)), (logged_valid, shape),
        (ground_z, shape), (ground.kind, shape[:1]),
    ):  # fmt: skip
        if given.shape != wanted:
            raise ValueError(f"an array of shape {given.shape} where {wanted} is wanted")
    config = config or WaymaxConfig()
    out = StepMetrics(np.zeros(shape, bool), np.zeros(shape), np.zeros(shape), np.zeros(shape, bool))
    limits = (config.step_s, config.most_acceleration_mps2, config.most_curvature_1pm, config.standing_mps)
    _metrics(ground, before, after, logged_xy, logged_valid, ground_z, limits, out)
    return out


@njit(cache=True, nogil=True)
def _metrics(ground, before, after, logged_xy, logged_valid, ground_z, limits, out):  # type: ignore[no-untyped-def]
    S, objects = after.valid.shape
    for s in range(S):
        box, valid = after.box[s], after.valid[s]
        _overlaps(box, valid, out.overlap[s])
        for o in range(objects):
            if not valid[o]:
                continue
            out.off_road_m[s, o] = outermost_corner(ground, s, box[o], ground_z[s, o])
            if logged_valid[s, o]:
                dx, dy = box[o, 0] - logged_xy[s, o, 0], box[o, 1] - logged_xy[s, o, 1]
                out.divergence_m[s, o] = np.sqrt(dx * dx + dy * dy)
            if before.valid[s, o]:
                out.infeasible[s, o] = _infeasible(
                    before.box[s, o, 4], before.velocity[s, o], box[o, 4], after.velocity[s, o], limits
                )


@njit(cache=True, nogil=True)
def outermost_corner(ground, s, box, z):  # type: ignore[no-untyped-def]
    """`off_road` of that corner of a box [5] in scene s that is furthest out."""
    cos, sin = np.cos(box[4]), np.sin(box[4])
    worst = -np.inf
    for corner in range(4):
        ahead = 0.5 * box[2] if corner < 2 else -0.5 * box[2]
        left = 0.5 * box[3] if corner % 2 else -0.5 * box[3]
        x, y = box[0] + ahead * cos - left * sin, box[1] + ahead * sin + left * cos
        worst = max(worst, off_road(ground, s, x, y, z))
    return worst


@njit(cache=True, nogil=True)
def _overlaps(box, valid, out):  # type: ignore[no-untyped-def]
    """Objects sorted along x: only those whose circles' shadows meet are looked at."""
    rows = prepare(box)
    low = np.where(valid, rows[:, 0] - rows[:, 6], np.inf)
    order = np.argsort(low)
    for i in range(order.size):
        a = order[i]
        if not low[a] < np.inf:
            break
        end = rows[a, 0] + rows[a, 6]
        for j in range(i + 1, order.size):
            b = order[j]
            if not low[b] <= end:
                break
            if not (out[a] and out[b]) and rows_touch(rows, a, rows, b):
                out[a], out[b] = True, True


@njit(cache=True, nogil=True)
def _infeasible(heading, velocity, new_heading, new_velocity, limits):  # type: ignore[no-untyped-def]
    step, most_acceleration, most_curvature, standing = limits
    speed = np.sqrt(velocity[0] ** 2 + velocity[1] ** 2)
    new_speed = np.sqrt(new_velocity[0] ** 2 + new_velocity[1] ** 2)
    acceleration = (new_speed - speed) / step
    if abs(acceleration) > most_acceleration + SLACK:
        return True
    if speed < standing or new_speed < standing:
        return False
    course = np.arctan2(new_velocity[1], new_velocity[0]) if new_speed > standing else new_heading
    way = speed * step + 0.5 * acceleration * step * step
    return abs(wrap(course - heading)) > (most_curvature + SLACK) * abs(way)
