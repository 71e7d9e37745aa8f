"""A replay as the page keeps it: whole numbers, differences from row to row, deflated.

Lengths in centimetres (the map in units of 5 cm), headings in milliradians, speeds in centimetres a second. What all
planners share (map, signals, the others as recorded) is there once; of the others only those are kept beside it that
moved otherwise in a drive.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import numpy as np

from drive.rollouts.infractions import Infraction
from drive.rollouts.rollout import Rollout
from drive.samples.scene import HEADING, VX, Actors, Scene, X, Y
from drive.view.replay import Replay
from drive.view.replay_map import ReplayMap

MAP_UNIT_M = 0.05
SEEN_M = 90.0
"""Others that never come so close to a drive's place are left out."""
MOVED_M, TURNED_RAD = 0.02, 0.01
"""An actor moved otherwise than recorded from here on."""
PLAN_STEP_S = 0.5
"""Plans are kept at about these times."""
MODE_POINTS = 8
"""About so many places of each mode are kept, its last one among them."""


def packed(document: Any) -> str:
    """JSON, deflated (zlib), in base64."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode("ascii")


def replay_document(replay: Replay, colours: dict[str, int]) -> dict[str, Any]:
    """All that the page draws of a replay. colours: each planner's number."""
    actors = replay.actors() if replay.drives else Actors.none(1)
    kept = near(actors, replay)
    number = {int(row): i for i, row in enumerate(kept)}
    scene = replay.scene
    recorded = replay.recorded()
    vehicle = scene.vehicle if scene is not None else (replay.drives[0].vehicle if replay.drives else None)
    return {
        "name": replay.name,
        "missing": replay.missing,
        "notes": list(scene.notes) if scene is not None else [],
        "road": scene.map.drivable_from if scene is not None else "",
        "origin": [] if not replay.drives else np.round(replay.drives[0].origin_xy, 3).tolist(),
        "car": [] if vehicle is None else cm([vehicle.length, vehicle.width, vehicle.centre]),
        "steps": replay.steps,
        "map": _map(replay.map()),
        "lights": [] if scene is None else _lights(scene, replay.steps),
        "recorded": None if recorded is None else _poses(recorded),
        "actors": [
            [int(actors.kind[row]), *_size(actors, row), str(actors.token[row]), _stretches(actors, row)]
            for row in kept.tolist()
        ],
        "drives": [_drive(drive, actors, kept, number, colours[drive.planner]) for drive in replay.drives],
    }


def cm(values: Any) -> Any:
    """Metres as whole centimetres (lists)."""
    return np.rint(np.asarray(values, np.float64) * 100).astype(np.int64).tolist()


def differences(rows: np.ndarray) -> list[int]:
    """The first row of whole numbers [N, C], then each one's difference to that before it, flat."""
    rows = np.rint(rows).astype(np.int64)
    return np.asarray(np.diff(rows, axis=0, prepend=np.zeros((1, rows.shape[1]), np.int64))).ravel().tolist()


def near(actors: Actors, replay: Replay) -> np.ndarray:
    """Rows int64 of the actors that come within SEEN_M of a place of a drive at any time."""
    places = [drive.ego[:: max(1, len(drive.ego) // 40), [X, Y]] for drive in replay.drives if len(drive.ego)]
    if not len(actors) or not places:
        return np.zeros(0, np.int64)
    every = np.concatenate(places)
    times = slice(None, None, 5)
    xy, valid = actors.box[:, times, :2], actors.valid[:, times]
    away = np.linalg.norm(xy[:, :, None] - every, axis=3).min(axis=2)
    return np.flatnonzero(((away < SEEN_M) & valid).any(axis=1))


def _size(actors: Actors, row: int) -> list[int]:
    size = np.median(actors.box[row][actors.valid[row]][:, 2:4], axis=0)
    return [int(v) for v in cm(size)]


def _stretches(actors: Actors, row: int) -> list[list[Any]]:
    """[first step, x, y, heading as differences] of each stretch without a gap."""
    valid = np.concatenate([[False], actors.valid[row], [False]])
    cuts = np.flatnonzero(np.diff(valid.astype(np.int8)))
    found = []
    for a, b in zip(cuts[::2].tolist(), cuts[1::2].tolist(), strict=True):
        box = actors.box[row, a:b]
        found.append([a, _poses(box[:, [0, 1, 4]])])
    return found


def _poses(poses: np.ndarray) -> list[int]:
    """x, y, heading [N, 3] as differences: centimetres, milliradians."""
    if not len(poses):
        return []
    return differences(np.column_stack([poses[:, :2] * 100, np.unwrap(poses[:, 2]) * 1000]))


def _drive(drive: Rollout, actors: Actors, kept: np.ndarray, number: dict[int, int], colour: int) -> dict[str, Any]:
    tokens = {token: number[row] for row, token in enumerate(actors.token) if row in number}
    ego = drive.ego
    line = np.column_stack([ego[:, [X, Y]] * 100, np.unwrap(ego[:, HEADING]) * 1000, ego[:, VX] * 100])
    beside = np.column_stack([drive.off_road_m * 100, drive.along_m * 10, drive.aside_m * 100])
    return {
        "planner": colour,
        "end": drive.end,
        "failure": drive.failure,
        "known": [int(drive.road_known), int(drive.route_known)],
        "ego": differences(line) if len(ego) else [],
        "beside": differences(beside) if len(ego) else [],
        "plans": [_plan(drive, c) for c in range(len(drive.plans))],
        "moved": _moved(drive, actors, kept),
        "infractions": [_infraction(found, tokens) for found in drive.infractions],
    }


def _moved(drive: Rollout, actors: Actors, kept: np.ndarray) -> list[list[Any]]:
    """[number, stretches] of the actors that moved otherwise than recorded."""
    own, times = drive.actors, slice(0, drive.actors.valid.shape[1])
    if own is actors or not len(kept) or not len(own):  # nobody: a drive that was not simulated
        return []
    box, was = own.box[kept], actors.box[kept, times]
    both = own.valid[kept] & actors.valid[kept, times]
    apart = (np.abs(box[..., :2] - was[..., :2]).max(axis=2) > MOVED_M) | (
        np.abs(np.angle(np.exp(1j * (box[..., 4] - was[..., 4])))) > TURNED_RAD
    )
    other = (apart & both).any(axis=1) | (own.valid[kept] != actors.valid[kept, times]).any(axis=1)
    return [[int(i), _stretches(own, int(kept[i]))] for i in np.flatnonzero(other)]


def _plan(drive: Rollout, c: int) -> list[Any]:
    """[step, x, y of the plan as differences, milliseconds, points a mode, scores, x, y of all modes]."""
    plans = drive.plans
    rows = slice(int(plans.offsets[c]), int(plans.offsets[c + 1]))
    poses, times = plans.poses[rows], plans.times_s[rows]
    shown = thinned(times)
    modes = plans.modes_of(c)
    step = int(plans.step[c])
    own = [step, differences(poses[shown][:, :2] * 100), int(np.rint(plans.seconds[c] * 1000))]
    if modes is None:
        return own
    points = modes.poses.shape[1]
    few = modes.poses[:, np.arange(points - 1, -1, -max(1, points // MODE_POINTS))[::-1], :2]
    scores = [float(f"{score:.3g}") for score in modes.scores.tolist()]
    return [*own, few.shape[1], scores, differences(few.reshape(-1, 2) * 100)]


def thinned(times_s: np.ndarray) -> np.ndarray:
    """Rows of times [N] that are about PLAN_STEP_S apart, the last one included."""
    number = np.floor(times_s / PLAN_STEP_S + 1e-6)
    kept = np.diff(number, prepend=0.0) > 0
    kept[-1:] = True
    return np.flatnonzero(kept)


def _infraction(found: Infraction, tokens: dict[str, int]) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "step": found.step,
        "at": cm([found.x, found.y]),
        "global": [round(found.global_x, 1), round(found.global_y, 1)],
        "fault": int(found.at_fault),
        "what": found.what,
        "who": tokens.get(found.counterpart or "", -1),
        "whose": found.counterpart_kind or "",
        "amount": round(found.amount, 2),
        "lasted": found.duration_s,
    }


def _map(m: ReplayMap) -> dict[str, Any]:
    def line(points: np.ndarray) -> list[int]:
        return differences(points / MAP_UNIT_M)

    return {
        "areas": [[layer, [line(ring) for ring in rings]] for layer, rings in m.areas],
        "lanes": [[lane, int(connector), line(points)] for lane, connector, points in m.lanes],
        "edges": [line(points) for points in m.edges],
        "route": None if m.route is None else line(m.route),
    }


def _lights(scene: Scene, steps: int) -> list[list[Any]]:
    """[x, y, lane, states as runs: state, count, ...] of the signals that show anything, from the start on."""
    lights, found = scene.lights, []
    for k in range(len(lights.lane)):
        state = lights.state[scene.now : scene.now + steps + 1, k]
        if not state.any():
            continue
        cuts = np.flatnonzero(np.diff(state, prepend=-1))
        counts = np.diff(np.append(cuts, len(state)))
        runs = np.column_stack([state[cuts], counts]).ravel()
        found.append([*cm(lights.stop_xy[k]), int(lights.lane[k]), [int(v) for v in runs]])
    return found
