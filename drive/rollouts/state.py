"""The world of S drives that run side by side, and where everything in it is at an instant.

Actors are padded to the scene that has most of them (A), times to the longest drive (N steps); masks say what is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from drive.plans.corridor import project
from drive.plans.planner import HISTORY
from drive.rollouts.config import SimulationConfig
from drive.rollouts.ground import Ground, ground_of
from drive.samples.scene import CYCLIST, HEADING, RED, STEP_S, VEHICLE, Lights, Route, Scene, X, Y

FORGET_M = 0.25
"""Recorded places nearer than this to the one before are no part of an actor's path: they are noise."""


class Recording(NamedTuple):
    """What the others were recorded to do, from HISTORY - 1 instants before the start: H + N instants."""

    box: np.ndarray  # float64 [S, A, H + N, 5]
    velocity: np.ndarray  # float64 [S, A, H + N, 2]
    valid: np.ndarray  # bool [S, A, H + N]
    ground_z: np.ndarray  # float64 [S, A, H + N] global, held where nothing was recorded


class Paths(NamedTuple):
    """Recorded paths of actors that drive by themselves; row s * A + a of offsets."""

    drives: np.ndarray  # bool [S, A]
    offsets: np.ndarray  # int64 [S * A + 1]
    places: np.ndarray  # float64 [M, 2]
    along: np.ndarray  # float64 [M] arc length
    heading: np.ndarray  # float64 [M] unwrapped
    logged: np.ndarray  # float64 [S, A, N + 1] arc length at which the recording was
    first: np.ndarray  # int64 [S, A] step at which it appears
    last: np.ndarray  # int64 [S, A] last step at which it was recorded
    desired: np.ndarray  # float64 [S, A] m/s


class Routes(NamedTuple):
    """Centre lines and red lights of S scenes; a scene without a route has no points."""

    offsets: np.ndarray  # int64 [S + 1]
    places: np.ndarray  # float64 [C, 2]
    along: np.ndarray  # float64 [C]
    light_offsets: np.ndarray  # int64 [S + 1], signals on the route
    light_along: np.ndarray  # float64 [K] arc length of the stop
    light_red: np.ndarray  # bool [K, N + 1]


@dataclass(frozen=True)
class World:
    """What does not change while the drives run.

    Attributes:
        scenes: the S scenes.
        steps: int64 [S], steps that each drive can take.
        vehicle: float64 [S, 4] length, width, rear axle to front bumper, rear axle to the middle.
        ground_z: float64 [S, N + 1] height under the recorded ego.
    """

    scenes: tuple[Scene, ...]
    steps: np.ndarray
    kind: np.ndarray
    recording: Recording
    paths: Paths
    routes: Routes
    ground: Ground
    vehicle: np.ndarray
    ground_z: np.ndarray


@dataclass(frozen=True)
class State:
    """An instant of all drives.

    Attributes:
        step: since the start.
        ego: float64 [S, 11], EGO_COLUMNS.
        box, velocity, valid: float64 [S, A, 5], [S, A, 2], bool [S, A] of the others.
        along, speed: float64 [S, A] of those that drive by themselves.
    """

    step: int
    ego: np.ndarray
    box: np.ndarray
    velocity: np.ndarray
    valid: np.ndarray
    along: np.ndarray
    speed: np.ndarray


def build_world(scenes: Sequence[Scene], config: SimulationConfig) -> World:
    """The world of some scenes. ValueError: no scenes."""
    if not scenes:
        raise ValueError("a world needs scenes")
    longest = np.inf if config.longest_s is None else round(config.longest_s / STEP_S)
    steps = np.array([min(s.steps_ahead, longest) for s in scenes], np.int64)
    count, most = int(steps.max()), max(len(s.actors) for s in scenes)
    kind = np.zeros((len(scenes), most), np.int64)
    ground_z = np.zeros((len(scenes), count + 1))
    for i, scene in enumerate(scenes):
        kind[i, : len(scene.actors)] = scene.actors.kind
        rows = np.minimum(scene.now + np.arange(count + 1), len(scene.ego_z) - 1)
        ground_z[i] = scene.ego_z[rows]
    recording = _recording(scenes, most, count)
    return World(
        scenes=tuple(scenes),
        steps=steps,
        kind=kind,
        recording=recording,
        paths=_paths(scenes, recording, kind, config),
        routes=_routes(scenes, count),
        ground=ground_of(scenes),
        vehicle=np.array([(v.length, v.width, v.front, v.centre) for v in (s.vehicle for s in scenes)]),
        ground_z=ground_z,
    )


def start_state(world: World) -> State:
    """The recorded instant at which the drives start."""
    at, shape = HISTORY - 1, world.kind.shape
    velocity = world.recording.velocity[:, :, at]
    return State(
        step=0,
        ego=np.stack([s.ego[s.now] for s in world.scenes]),
        box=world.recording.box[:, :, at].copy(),
        velocity=velocity.copy(),
        valid=world.recording.valid[:, :, at].copy(),
        along=np.zeros(shape),
        speed=np.linalg.norm(velocity, axis=-1),
    )


def _recording(scenes: Sequence[Scene], most: int, count: int) -> Recording:
    shape = (len(scenes), most, HISTORY + count)
    box, velocity, valid = np.zeros((*shape, 5)), np.zeros((*shape, 2)), np.zeros(shape, bool)
    ground_z = np.zeros(shape)
    for i, scene in enumerate(scenes):
        first = scene.now - (HISTORY - 1)
        have = slice(max(first, 0), min(scene.now + count + 1, len(scene.timestamps_ns)))
        into = slice(have.start - first, have.stop - first)
        actors = scene.actors
        for whole, own in (
            (box, actors.box), (velocity, actors.velocity), (valid, actors.valid), (ground_z, actors.ground_z),
        ):  # fmt: skip
            whole[i, : len(actors), into] = own[:, have]
    return Recording(box, velocity, valid, _held(ground_z, valid))


def _held(z: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Heights [S, A, T] with those that were not recorded taken from the instant before (the first one's, before it):
    who drives by itself may be there longer than its recording."""
    at = np.maximum.accumulate(np.where(valid, np.arange(valid.shape[2]), -1), axis=2)
    at = np.where(at < 0, valid.argmax(axis=2)[..., None], at)
    return np.take_along_axis(z, at, axis=2)


def _paths(scenes: Sequence[Scene], recording: Recording, kind: np.ndarray, config: SimulationConfig) -> Paths:
    box, valid = recording.box[:, :, HISTORY - 1 :], recording.valid[:, :, HISTORY - 1 :]
    count, most, times = valid.shape
    drives = np.zeros((count, most), bool)
    logged = np.zeros((count, most, times))
    desired = np.zeros((count, most))
    places, along, headings, lengths = [], [], [], []
    for s in range(count):
        behind = _behind(scenes[s], box[s, :, 0], config) if config.actors.mode == "idm_behind" else None
        for a in range(most):
            found = np.zeros((0, 4))
            wanted = config.actors.mode != "log" and kind[s, a] in (VEHICLE, CYCLIST)
            if wanted and (behind is None or (behind[a] and valid[s, a, 0])):
                found, way = _path(box[s, a], valid[s, a])
                if len(found) > 1 and found[-1, 3] >= config.actors.least_way_m:
                    drives[s, a], logged[s, a] = True, way
                    fastest = (way[1:] - way[:-1]).max() / STEP_S
                    desired[s, a] = config.actors.desired_speed_mps or max(fastest, 1.0)
                else:
                    found = found[:0]
            places.append(found[:, :2])
            headings.append(found[:, 2])
            along.append(found[:, 3])
            lengths.append(len(found))
    return Paths(
        drives=drives,
        offsets=np.cumsum([0, *lengths]).astype(np.int64),
        places=np.concatenate(places) if places else np.zeros((0, 2)),
        along=np.concatenate(along) if along else np.zeros(0),
        heading=np.concatenate(headings) if headings else np.zeros(0),
        logged=logged,
        first=valid.argmax(axis=2).astype(np.int64),
        last=(times - 1 - valid[:, :, ::-1].argmax(axis=2)).astype(np.int64),
        desired=desired,
    )


def _path(box: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recorded path [K, 4] (x, y, unwrapped heading, arc length) of boxes [T, 5], and the arc length at each time."""
    way, kept = np.zeros(len(box)), np.zeros(len(box), np.int64)
    kept = kept[: _walk(box, valid, way, kept)]
    if not len(kept):
        return np.zeros((0, 4)), way
    way = np.interp(np.arange(len(box)), kept, way[kept])  # between kept places it moved on evenly
    rows = box[kept]
    return np.column_stack([rows[:, :2], np.unwrap(rows[:, 4]), way[kept]]), way


@njit(cache=True, nogil=True)
def _walk(box, valid, way, kept):  # type: ignore[no-untyped-def]
    """Which instants of boxes [T, 5] are far enough from the kept one before: their number, `kept` and `way` [T]."""
    count, end, rest = 0, 0, 0.0
    for t in range(valid.size):
        if not valid[t]:
            continue
        if count == 0:
            kept[0], count = t, 1
            continue
        last = kept[count - 1]
        step = np.hypot(box[t, 0] - box[last, 0], box[t, 1] - box[last, 1])
        way[t] = way[last]
        if step >= FORGET_M:
            way[t] += step
            kept[count] = t
            count += 1
        end, rest = t, step
    if count > 0 and end != kept[count - 1] and rest > 0.0:  # the last piece counts, however short
        way[end] = way[kept[count - 1]] + rest
        kept[count] = end
        count += 1
    return count


def _behind(scene: Scene, box: np.ndarray, config: SimulationConfig) -> np.ndarray:
    x, y, heading = scene.ego[scene.now, [X, Y, HEADING]]
    dx, dy = box[:, 0] - x, box[:, 1] - y
    ahead, left = dx * np.cos(heading) + dy * np.sin(heading), dy * np.cos(heading) - dx * np.sin(heading)
    return np.asarray((ahead < -config.actors.behind_m) & (np.abs(left) < config.actors.beside_m))


def _routes(scenes: Sequence[Scene], count: int) -> Routes:
    places, along, lights, red = [], [], [], []
    for scene in scenes:
        route: Route | None = scene.route
        own = []
        if route is None:
            places.append(np.zeros((0, 2)))
            along.append(np.zeros(0))
        else:
            places.append(route.centreline)
            along.append(route.arc_length)
            signals: Lights = scene.lights
            rows = np.minimum(scene.now + np.arange(count + 1), len(signals.state) - 1)
            for k in np.flatnonzero(np.isin(signals.lane, route.lanes) & (signals.lane >= 0)):
                at, aside = project(route.centreline, route.arc_length, *signals.stop_xy[k])
                if abs(aside) < 3.0:
                    own.append(at)
                    red.append(signals.state[rows, k] == RED)
        lights.append(np.array(own))
    return Routes(
        offsets=np.cumsum([0, *(len(p) for p in places)]).astype(np.int64),
        places=np.concatenate(places),
        along=np.concatenate(along),
        light_offsets=np.cumsum([0, *(len(k) for k in lights)]).astype(np.int64),
        light_along=np.concatenate(lights),
        light_red=np.stack(red) if red else np.zeros((0, count + 1), bool),
    )
