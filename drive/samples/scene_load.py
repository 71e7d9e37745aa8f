"""Scenes of converted logs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drive.dynamics.vehicle import Vehicle
from drive.errors import UserError
from drive.logs.store import Log
from drive.samples.route import NoRouteError, find_route, path_route
from drive.samples.scene import VX, Lights, Scene, SceneMap, X, Y
from drive.samples.scene_kinds import LIGHT_OF_STATE, ego_vehicle
from drive.samples.scene_labels import SLACK_NS, longest_drive, track_vehicle
from drive.samples.scene_map import local_map, log_map
from drive.samples.scene_motion import actor_motion, ego_motion

STEP_NS = 100_000_000
HOLD_NS = 2_000_000_000
"""A signal that is unknown or missing keeps its last colour for so long: recorded states drop out for a second or so
[inferred from the excerpts looked at]."""


@dataclass(frozen=True)
class SceneConfig:
    """What a scene takes of a log.

    `vehicle` None: the measures of the vehicle that recorded the log. `future_s` None: up to the log's end. `ego`: ""
    is the recording vehicle; a track's token puts that vehicle in its place (the recording one is then one of the
    others, where it is labelled); "longest" takes the other vehicle that drives furthest.
    """

    history_s: float = 2.0
    future_s: float | None = None
    map_radius_m: float = 150.0
    vehicle: Vehicle | None = None
    ego: str = ""
    with_route: bool = True


def load_scene(log: Log, start: float, config: SceneConfig | None = None) -> Scene:
    """The scene that starts ``start`` seconds after the log's first instant (in tenths of a second).

    History is as long as the log has it, `config.history_s` at most. A scene without a map or a route is a scene:
    its `notes` say so.

    Raises:
        UserError: the log ends before, or has no pose of the ego at the start.
    """
    config = config or SceneConfig()
    if not log.num_frames:
        raise UserError(log.path, "the log has no frames", "simulate in logs that have boxes")
    stamps = log.frame_timestamps_ns
    last = int(stamps[-1] - stamps[0] + SLACK_NS) // STEP_NS
    now = round(start * 10)
    if not 0 <= now < last:
        raise UserError(
            f"{log.name}, start {start:g} s", f"the log has starts from 0 to {(last - 1) / 10:g} s", "give one of them"
        )
    first = max(0, now - round(config.history_s * 10))
    end = last if config.future_s is None else min(last, now + round(config.future_s * 10))
    grid = stamps[0] + STEP_NS * np.arange(first, end + 1, dtype=np.int64)
    track = longest_drive(log, int(grid[now - first])) if config.ego == "longest" else config.ego
    vehicle = config.vehicle or (track_vehicle(log, track) if track else ego_vehicle(log))
    here = log.frame(int(np.searchsorted(stamps, grid[now - first] + SLACK_NS, side="right")) - 1)
    origin = np.round(here.global_from_ego[:2, 3])
    ego, ego_valid, ego_z = ego_motion(log, grid, vehicle, origin, track)
    name = f"{log.path.name}@{now}"  # the folder's name: who renames a log finds its scenes under the new one
    if not ego_valid[now - first]:
        mend = "choose another start, or another vehicle as the ego (a track, or 'longest')"
        raise UserError(name, "the log has no pose of the ego there", mend)
    actors, unknown = actor_motion(log, grid, origin, track)
    whole, notes = log_map(log)
    around = local_map(whole, ego[ego_valid][:, [X, Y]] + origin, config.map_radius_m, origin)
    lights = _lights(log, grid, around, origin)
    route = None
    if config.with_route:
        drive = ego[now - first :][ego_valid[now - first :]]
        try:
            route = find_route(around, drive)
        except NoRouteError as reason:
            if around.lane_ids:
                route = path_route(around, drive)
                notes = (*notes, f"route is the recorded path itself: {reason}")
            else:
                notes = (*notes, f"no route: {reason}")
    if track:
        notes = (*notes, f"the ego is track {track}, not the recording vehicle")
    if unknown:
        notes = (*notes, f"left out, their category names no kind of actor: {', '.join(unknown)}")
    return Scene(
        name=name,
        log=log.path.name,
        timestamps_ns=grid,
        now=now - first,
        origin_xy=origin,
        ego=ego,
        ego_valid=ego_valid,
        ego_z=ego_z,
        vehicle=vehicle,
        actors=actors,
        map=around,
        route=route,
        lights=lights,
        notes=notes,
    )


def scene_starts(log: Log, *, every_s: float, future_s: float, history_s: float = 0.0) -> list[float]:
    """Seconds of all starts, ``every_s`` apart, that have ``history_s`` before and ``future_s`` after them."""
    if not log.num_frames:
        return []
    stamps = log.frame_timestamps_ns
    last = int(stamps[-1] - stamps[0] + SLACK_NS) // STEP_NS
    starts = range(round(history_s * 10), last - round(future_s * 10) + 1, max(1, round(every_s * 10)))
    return [at / 10 for at in starts if at < last]


def load_named(logs: Path, name: str, config: SceneConfig | None = None) -> Scene:
    """The scene of a name (``<log>@<tenths>``) among the logs in a folder: one failed scene again.

    Raises:
        UserError: not a name of a scene, no such log.
    """
    log, at, tenths = name.rpartition("@")
    if not at or not tenths.isdigit():
        raise UserError(name, "not the name of a scene", "names are <log>@<start in tenths of a second>")
    return load_scene(Log.open(Path(logs) / log), int(tenths) / 10, config)


def _lights(log: Log, grid: np.ndarray, around: SceneMap, origin: np.ndarray) -> Lights:
    """What the signals show at each instant: the last colour that the log gives, of HOLD_NS ago at most."""
    if not log.has_table("lights"):
        return Lights.none(len(grid))
    table = log.table("lights")
    frames, ids = table["frame"].to_numpy(), table["feature_id"].to_pylist()
    states, stops = table["state"].to_pylist(), table["stop_point"].to_pylist()
    lane_of = {key: i for i, key in enumerate(around.lane_ids)}
    place: dict[str, np.ndarray] = {}
    for key, stop in zip(ids, stops, strict=True):
        if stop is not None and key not in place:
            place[key] = np.array(stop[:2], np.float64) - origin
        elif key not in place and key in lane_of:
            place[key] = around.lane_line(lane_of[key])[0]  # signals stand where the lane that they govern begins
    names = sorted(place)
    column = {key: k for k, key in enumerate(names)}
    shown = np.zeros((log.num_frames, len(names)), np.int8)
    for frame, key, state in zip(frames.tolist(), ids, states, strict=True):
        if key in column:
            shown[frame, column[key]] = LIGHT_OF_STATE.get(state, 0)
    stamps = log.frame_timestamps_ns
    # The last frame at which each signal was told to show a colour, at each frame.
    told_at = np.maximum.accumulate(np.where(shown > 0, np.arange(log.num_frames)[:, None], -1), axis=0)
    before = np.clip(np.searchsorted(stamps, grid + SLACK_NS, side="right") - 1, 0, None)
    since = told_at[before]
    fresh = (since >= 0) & (grid[:, None] - stamps[np.maximum(since, 0)] <= HOLD_NS)
    state = np.where(fresh, shown[np.maximum(since, 0), np.arange(len(names))], 0).astype(np.int8)
    lane = np.array([lane_of.get(key, -1) for key in names], np.int64)
    return Lights(state, lane, np.stack([place[key] for key in names]) if names else np.zeros((0, 2)))


def standing(scene: Scene, below_mps: float = 0.5) -> bool:
    """Whether the logged ego never drives in the scene: a filter."""
    return bool((np.abs(scene.ego[scene.now :, VX]) < below_mps).all())
