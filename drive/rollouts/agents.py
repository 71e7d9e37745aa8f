"""One step of everybody but the ego: the recording again, or IDM along each actor's own recorded path."""

from __future__ import annotations

import numpy as np
from numba import njit

from drive.plans.corridor import Idm, advance_along, boxes_touch, idm_numbers, idm_one, nearest_ahead, place_on
from drive.plans.planner import HISTORY
from drive.rollouts.config import ActorConfig
from drive.rollouts.state import Paths, Recording, State, World
from drive.samples.scene import STEP_S

_NOW = HISTORY - 1
END_M = 0.1
REACH_M, REACH_S = 30.0, 3.0
"""Leaders are looked for this far ahead, and this many seconds of driving further [inferred; nuPlan: 20 m at least]."""
START = 5
"""Steps of the recording that tell the speed with which somebody begins to drive by itself."""


def move_actors(
    world: World, state: State, config: ActorConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """box, velocity, valid, along, speed of the others a step later; they see the ego and each other as now."""
    box, velocity, valid = (np.empty_like(v) for v in (state.box, state.velocity, state.valid))
    along, speed = np.empty_like(state.along), np.empty_like(state.speed)
    _move(
        state.step, state.ego, world.vehicle, state.box, state.velocity, state.valid, state.along, state.speed,
        world.recording, world.paths, idm_numbers(config.idm), config.never_ahead_of_log, box, velocity, valid, along,
        speed,
    )  # fmt: skip
    return box, velocity, valid, along, speed


@njit(cache=True, nogil=True)
def _move(  # type: ignore[no-untyped-def]
    step, ego, vehicle, box, velocity, valid, along, speed, recording: Recording, paths: Paths, idm: Idm, bound,
    new_box, new_velocity, new_valid, new_along, new_speed,
):  # fmt: skip
    S, A = valid.shape
    seen, there = np.empty((A + 1, 5)), np.empty(A + 1, np.bool_)
    last = recording.valid.shape[2] - 1
    for s in range(S):
        seen[:A], there[:A] = box[s], valid[s]
        cos, sin = np.cos(ego[s, 2]), np.sin(ego[s, 2])
        seen[A, 0], seen[A, 1] = ego[s, 0] + vehicle[s, 3] * cos, ego[s, 1] + vehicle[s, 3] * sin
        seen[A, 2], seen[A, 3], seen[A, 4] = vehicle[s, 0], vehicle[s, 1], ego[s, 2]
        there[A] = True
        at = min(_NOW + step + 1, last)
        for a in range(A):
            if not paths.drives[s, a]:
                new_box[s, a], new_velocity[s, a] = recording.box[s, a, at], recording.velocity[s, a, at]
                new_valid[s, a] = recording.valid[s, a, at] and _NOW + step + 1 <= last
                new_along[s, a] = 0.0
                new_speed[s, a] = np.hypot(new_velocity[s, a, 0], new_velocity[s, a, 1])
                continue
            new_box[s, a], new_velocity[s, a], new_valid[s, a] = box[s, a], velocity[s, a], valid[s, a]
            new_along[s, a], new_speed[s, a] = along[s, a], speed[s, a]
            if valid[s, a]:
                _drive(
                    s, a, step, seen, there, ego, velocity, paths, idm, bound, new_box, new_velocity, new_valid,
                    new_along, new_speed,
                )  # fmt: skip
            elif step + 1 >= paths.first[s, a] and along[s, a] == 0.0:
                # Whose track begins now waits until nobody is there: those who fell behind their recording may be.
                begin = _NOW + paths.first[s, a]
                new_box[s, a], new_velocity[s, a] = recording.box[s, a, begin], recording.velocity[s, a, begin]
                new_valid[s, a] = _free(new_box[s, a], idm.standstill_gap, seen, there)


@njit(cache=True, nogil=True)
def _free(place, gap, seen, there):  # type: ignore[no-untyped-def]
    """Whether a place [5], ``gap`` longer at both ends, touches nobody."""
    for b in range(there.size):
        x, y, length, width, heading = seen[b, 0], seen[b, 1], seen[b, 2], seen[b, 3], seen[b, 4]
        longer = place[2] + 2.0 * gap
        if there[b] and boxes_touch(place[0], place[1], longer, place[3], place[4], x, y, length, width, heading):
            return False
    return True


@njit(cache=True, nogil=True)
def _drive(  # type: ignore[no-untyped-def]
    s, a, step, seen, there, ego, velocity, paths, idm, bound, new_box, new_velocity, new_valid, new_along, new_speed
):  # fmt: skip
    A = there.size - 1
    first, end = paths.offsets[s * A + a], paths.offsets[s * A + a + 1]
    places, way, headings = paths.places[first:end], paths.along[first:end], paths.heading[first:end]
    here, v = new_along[s, a], new_speed[s, a]
    last = paths.logged.shape[2] - 1
    before, logged = paths.logged[s, a, min(step, last)], paths.logged[s, a, min(step + 1, last)]
    if here == 0.0:
        # Speeds recorded of who has just been seen are often wrong (0, or twice as fast): its way tells.
        begin = paths.first[s, a]
        soon = min(begin + START, last)
        v = (paths.logged[s, a, soon] - paths.logged[s, a, begin]) / (max(soon - begin, 1) * STEP_S)
    length, width = seen[a, 2], seen[a, 3]
    reach = REACH_M + REACH_S * v
    gap, leader, heading = nearest_ahead(places, way, here + 0.5 * length, width, reach, seen, there, a)
    leader_speed = 0.0
    if leader == A:
        leader_speed = max(ego[s, 3] * np.cos(ego[s, 2] - heading), 0.0)
    elif leader >= 0:
        leader_speed = velocity[s, leader, 0] * np.cos(heading) + velocity[s, leader, 1] * np.sin(heading)
        leader_speed = max(leader_speed, 0.0)
    answer = idm_one(v, paths.desired[s, a], gap, leader_speed, idm)
    if bound:
        # Who catches up with the recording brakes for it in time; on it, it has its speed.
        recorded = (logged - before) / STEP_S
        highest = np.sqrt(recorded**2 + 2.0 * idm.comfortable_braking * max(before - here, 0.0))
        answer = min(answer, max((highest - v) / STEP_S, -idm.hardest_braking))
    distance, v = advance_along(v, answer, STEP_S)
    after = here + distance
    if bound and after > logged:
        after = max(logged, here)
        v = (after - here) / STEP_S
    x, y, tangent = place_on(places, way, after)
    # The recorded heading of that place: a path's segments do not turn with the vehicle when it reverses or slips.
    turned = (np.interp(after, way, headings) + np.pi) % (2 * np.pi) - np.pi
    new_box[s, a, 0], new_box[s, a, 1], new_box[s, a, 4] = x, y, turned
    new_velocity[s, a, 0], new_velocity[s, a, 1] = v * np.cos(tangent), v * np.sin(tangent)
    new_along[s, a], new_speed[s, a] = after, v
    # It leaves where its recording ends.
    if after >= way[-1] - END_M and step + 1 > paths.last[s, a]:
        new_valid[s, a] = False
