"""Contacts of simulated vehicles with traffic and red lights: whose fault, when, and how soon at this speed.

Each kernel goes through time once a proposal. An object that is touched without fault is ignored for the rest of that
proposal; the list only grows, so that within one instant the objects' order does not matter.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from drive.dynamics.bicycle import HEADING, VX, VY, X, Y
from drive.scores.pdm_areas import ACROSS_LANES, AXLE_IN_INTERSECTION, OFF_ROAD
from ops.box_collision.cpu import prepare, rows_touch

Floats = npt.NDArray[np.float64]

NEVER = -1
"""Step of an event that does not happen."""


class Traffic(NamedTuple):
    """A objects over B times S instants, ready for the kernels: B starts, each with its own traffic.

    Attributes:
        rows: float64 [B * S * A, 7] of ops.box_collision; NaN reach where an object is not there.
        bounds: float64 [B, A, 4] x low, y low, x high, y high of everything that an object covers after a start.
        speed: float64 [B, S, A], the speed by which it is judged at a contact.
        blame: float64 [A], the score that is left after a collision with it by own fault: 0, or 1/2 for things.
    """

    rows: Floats
    bounds: Floats
    speed: Floats
    blame: Floats


def make_traffic(
    boxes: Floats, valid: npt.NDArray[np.bool_], speed: Floats, is_thing: npt.NDArray[np.bool_], first_appearance: bool
) -> Traffic:
    """boxes [B, S, A, 5] (x y length width heading), valid [B, S, A], speed [B, S, A] m/s, is_thing [A] (no road user).

    Things always stand. With `first_appearance` a road user's speed is that of its first valid instant after the start.
    """
    B, S, A = valid.shape
    there = np.where(valid[..., None], boxes, np.nan)
    rows = prepare(np.ascontiguousarray(there.reshape(B * S * A, 5)))
    by_time = rows.reshape(B, S, A, 7)
    reach, known = by_time[..., 6:], ~np.isnan(by_time[..., 6:])
    low = np.where(known, by_time[..., :2] - reach, np.inf).min(axis=1, initial=np.inf)
    high = np.where(known, by_time[..., :2] + reach, -np.inf).max(axis=1, initial=-np.inf)
    judged = np.take_along_axis(speed, valid.argmax(axis=1)[:, None], axis=1) if first_appearance and S else speed
    judged = np.ascontiguousarray(np.where(is_thing, 0.0, np.broadcast_to(judged, (B, S, A))))
    return Traffic(rows, np.concatenate([low, high], axis=2), judged, np.where(is_thing, 0.5, 0.0))


class Rules(NamedTuple):
    """Thresholds of the kernels; angles as cosines."""

    length: float
    width: float
    centre: float
    stopped: float
    ttc_stopped: float
    cos_ahead: float
    cos_behind: float
    step: float


@njit(cache=True, nogil=True)
def _near(states, p, rules, ahead, bounds, near):  # type: ignore[no-untyped-def]
    """Objects whose bounds meet those of the proposal's way, `ahead` seconds of it included: how many, near filled."""
    reach = np.sqrt(rules.length * rules.length + rules.width * rules.width) * 0.5 + 1e-6
    low_x, low_y, high_x, high_y = np.inf, np.inf, -np.inf, -np.inf
    for t in range(states.shape[1]):
        cos, sin = np.cos(states[p, t, HEADING]), np.sin(states[p, t, HEADING])
        go = np.hypot(states[p, t, VX], states[p, t, VY]) * ahead
        x0, y0 = states[p, t, X] + rules.centre * cos, states[p, t, Y] + rules.centre * sin
        x1, y1 = x0 + go * cos, y0 + go * sin
        low_x, high_x = min(low_x, x0, x1), max(high_x, x0, x1)
        low_y, high_y = min(low_y, y0, y1), max(high_y, y0, y1)
    count = 0
    for a in range(bounds.shape[0]):
        if (
            (bounds[a, 0] <= high_x + reach)
            & (bounds[a, 2] >= low_x - reach)
            & (bounds[a, 1] <= high_y + reach)
            & (bounds[a, 3] >= low_y - reach)
        ):
            near[count] = a
            count += 1
    return count


@njit(cache=True, nogil=True)
def _place(row, x, y, cos, sin, half_length, half_width):  # type: ignore[no-untyped-def]
    row[0, 0], row[0, 1], row[0, 2], row[0, 3], row[0, 4], row[0, 5] = x, y, cos, sin, half_length, half_width
    row[0, 6] = np.sqrt(half_length * half_length + half_width * half_width) * (1 + 2e-9) + 1e-9


@njit(cache=True, nogil=True)
def _bearing(x, y, cos, sin, row):  # type: ignore[no-untyped-def]
    """Cosine of the angle from the heading to the middle of `row`; NaN at the same place."""
    dx, dy = row[0] - x, row[1] - y
    distance = np.sqrt(dx * dx + dy * dy)
    return (cos * dx + sin * dy) / distance if distance > 0 else np.nan


@njit(cache=True, nogil=True)
def collisions(states, flags, traffic, block, rules, score, step, who):  # type: ignore[no-untyped-def]
    """No at-fault collision: score [P] in {0, 1/2, 1}; step [P] of the first at fault or NEVER; who [P] it was or -1.

    states [P, T, 11], flags [P, T] of `pdm_areas`; traffic of at least T instants, block [P]: which start's.
    """
    P, T = states.shape[:2]
    S, A = traffic.speed.shape[1:]
    ego, bumper = np.empty((1, 7)), np.empty((1, 7))
    near, ignored = np.empty(A, np.int64), np.empty(A, np.bool_)
    for p in range(P):
        score[p], step[p], who[p] = 1.0, NEVER, -1
        count, first = _near(states, p, rules, 0.0, traffic.bounds[block[p]], near), block[p] * S
        ignored[:] = False
        for t in range(T if count else 0):
            x, y = states[p, t, X], states[p, t, Y]
            cos, sin = np.cos(states[p, t, HEADING]), np.sin(states[p, t, HEADING])
            _place(ego, x + rules.centre * cos, y + rules.centre * sin, cos, sin, rules.length / 2, rules.width / 2)
            stands = np.hypot(states[p, t, VX], states[p, t, VY]) <= rules.stopped
            for k in range(count):
                a = near[k]
                row = (first + t) * A + a
                if ignored[a] or not rows_touch(ego, 0, traffic.rows, row):
                    continue
                if stands:
                    fault = False
                elif traffic.speed[block[p], t, a] <= rules.stopped:
                    fault = True
                elif _bearing(x, y, cos, sin, traffic.rows[row]) < rules.cos_behind:
                    fault = False
                else:
                    front = rules.centre + rules.length / 2
                    _place(bumper, x + front * cos, y + front * sin, cos, sin, 0.0, rules.width / 2)
                    fault = rows_touch(bumper, 0, traffic.rows, row) or (flags[p, t] & (ACROSS_LANES | OFF_ROAD)) != 0
                if fault:
                    score[p] = min(score[p], traffic.blame[a])
                    if step[p] == NEVER:
                        step[p], who[p] = t, a
                else:
                    ignored[a] = True


@njit(cache=True, nogil=True)
def times_to_collision(states, flags, traffic, block, rules, last, ahead_steps, score, step, who):  # type: ignore[no-untyped-def]
    """Time to collision within bound: score [P] in {0, 1}, step and who [P] as `collisions`.

    Judged at steps 0..last, each with the footprint moved on at constant velocity by ahead_steps [D] steps.
    """
    S, A = traffic.speed.shape[1:]
    ego = np.empty((1, 7))
    near, ignored = np.empty(A, np.int64), np.empty(A, np.bool_)
    for p in range(states.shape[0]):
        score[p], step[p], who[p] = 1.0, NEVER, -1
        count = _near(states, p, rules, ahead_steps[-1] * rules.step, traffic.bounds[block[p]], near)
        first = block[p] * S
        ignored[:] = False
        for t in range(last + 1 if count else 0):
            speed = np.hypot(states[p, t, VX], states[p, t, VY])
            if not speed >= rules.ttc_stopped:
                continue
            x, y = states[p, t, X], states[p, t, Y]
            cos, sin = np.cos(states[p, t, HEADING]), np.sin(states[p, t, HEADING])
            loose = (flags[p, t] & (ACROSS_LANES | OFF_ROAD | AXLE_IN_INTERSECTION)) != 0
            for d in range(ahead_steps.size):
                far = rules.centre + speed * rules.step * ahead_steps[d]
                _place(ego, x + far * cos, y + far * sin, cos, sin, rules.length / 2, rules.width / 2)
                for k in range(count):
                    a = near[k]
                    row = (first + t + ahead_steps[d]) * A + a
                    if ignored[a] or not rows_touch(ego, 0, traffic.rows, row):
                        continue
                    bearing = _bearing(x, y, cos, sin, traffic.rows[row])
                    if bearing > rules.cos_ahead or (loose and not bearing < rules.cos_behind):
                        score[p], step[p], who[p] = 0.0, t, a
                        break
                    ignored[a] = True
                if step[p] != NEVER:
                    break
            if step[p] != NEVER:
                break


@njit(cache=True, nogil=True)
def _box_meets_polygon(row, vertices, rings, first, last):  # type: ignore[no-untyped-def]
    """Whether the box `row` [7] and a polygon (rings first..last, even-odd) have a point in common."""
    cos, sin, half_length, half_width = row[2], row[3], row[4], row[5]
    odd = False
    for r in range(first, last):
        for k in range(rings[r], rings[r + 1]):
            following = k + 1 if k + 1 < rings[r + 1] else rings[r]
            ox, oy = vertices[k, 0] - row[0], vertices[k, 1] - row[1]
            px, py = vertices[following, 0] - row[0], vertices[following, 1] - row[1]
            x0, y0, x1, y1 = cos * ox + sin * oy, cos * oy - sin * ox, cos * px + sin * py, cos * py - sin * px
            # The segment, in the box's axes, clipped by its two slabs.
            low, high = 0.0, 1.0
            for start, change, half in ((x0, x1 - x0, half_length), (y0, y1 - y0, half_width)):
                if change == 0:
                    if abs(start) > half:
                        low, high = 1.0, 0.0
                else:
                    enter, leave = (-half - start) / change, (half - start) / change
                    low, high = max(low, min(enter, leave)), min(high, max(enter, leave))
            if low <= high:
                return True
            if (y0 > 0) != (y1 > 0):
                odd ^= ((x1 - x0) * -y0 + (y1 - y0) * x0 > 0) == (y1 > y0)
    return odd


@njit(cache=True, nogil=True)
def red_lights(states, block, rules, red, polygon, bounds, vertices, rings, polygons, step, which):  # type: ignore[no-untyped-def]
    """First step [P] at which the footprint meets a lane whose light is red then (or NEVER), and which light [P].

    red bool [B, S, R], block [P] which start's, polygon int64 [R] the lane's polygon of each light, bounds [R, 4] of
    those polygons.
    """
    T, R = states.shape[1], polygon.size
    ego = np.empty((1, 7))
    for p in range(states.shape[0]):
        step[p], which[p] = NEVER, -1
        for t in range(T if R else 0):
            cos, sin = np.cos(states[p, t, HEADING]), np.sin(states[p, t, HEADING])
            x, y = states[p, t, X] + rules.centre * cos, states[p, t, Y] + rules.centre * sin
            _place(ego, x, y, cos, sin, rules.length / 2, rules.width / 2)
            reach = ego[0, 6]
            for r in range(R):
                near = (bounds[r, 0] <= x + reach) & (bounds[r, 2] >= x - reach)
                near &= (bounds[r, 1] <= y + reach) & (bounds[r, 3] >= y - reach)
                if red[block[p], t, r] and near:
                    g = polygon[r]
                    if _box_meets_polygon(ego[0], vertices, rings, polygons[g], polygons[g + 1]):
                        step[p], which[p] = t, r
                        break
            if step[p] != NEVER:
                break
