"""A ``Scenario`` record as a scenario."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_tools.scenario_log import SIGNAL_STATES, Agents, Light, Scenario, check_states
from data_tools.waymo_motion.messages import OBJECT_TYPES
from data_tools.waymo_perception.checks import finite, named, required
from drive.errors import UserError

_AGAIN = "copy the file again"


def read_scenario(found: dict[str, Any], place: str) -> Scenario:
    """States, signals and roles of a decoded Scenario message; its map stays in ``found["map_features"]``."""
    seconds, tracks = found["timestamps_seconds"], found["tracks"]
    if not len(seconds):
        mend = "a file of WOMD-LiDAR holds no states: give its folder by --lidar"
        raise UserError(place, "the scenario has no timestamps", mend)
    check_states(len(tracks), len(seconds), place)
    agents = _agents(tracks, len(seconds), place)
    index = required(found, "sdc_track_index", "the scenario", place)
    tokens = agents.token
    roles: list[tuple[str, str, int | None]] = []
    for wanted in found["tracks_to_predict"]:
        row = _index(required(wanted, "track_index", "a track to predict", place), len(tracks), place)
        roles.append((tokens[row], "predict", wanted.get("difficulty", 0)))
    roles += [(str(token), "interest", None) for token in found["objects_of_interest"].tolist()]
    return Scenario(
        place=place,
        seconds=seconds,
        agents=agents,
        ego=_index(index, len(tracks), place),
        lights=_lights(found["dynamic_map_states"], len(seconds), place),
        roles=roles,
        facts={
            "scenario_id": required(found, "scenario_id", "the scenario", place),
            "current_time_index": found.get("current_time_index", 0),
        },
        track_columns={"source_index": list(range(len(tracks)))},
    )


def _index(row: int, count: int, place: str) -> int:
    if not 0 <= row < count:
        raise UserError(place, f"track index {row} of {count} tracks", _AGAIN)
    return row


def _agents(tracks: list[dict[str, Any]], steps: int, place: str) -> Agents:
    count = len(tracks)
    position, size, velocity = np.zeros((count, steps, 3)), np.zeros((count, steps, 3)), np.zeros((count, steps, 2))
    heading, valid = np.zeros((count, steps)), np.zeros((count, steps), bool)
    tokens, categories = [], []
    for row, track in enumerate(tracks):
        tokens.append(str(required(track, "id", f"track {row}", place)))
        categories.append(named(OBJECT_TYPES, track.get("object_type", 0), f"track {tokens[-1]}: object type", place))
        states = track["states"]
        if len(states) != steps:
            raise UserError(f"{place}: track {tokens[-1]}", f"{len(states)} states for {steps} steps", _AGAIN)
        for i, axis in enumerate("xyz"):
            position[row, :, i] = states[f"center_{axis}"]
        for i, side in enumerate(("length", "width", "height")):
            size[row, :, i] = states[side]
        velocity[row, :, 0], velocity[row, :, 1] = states["velocity_x"], states["velocity_y"]
        heading[row], valid[row] = states["heading"], states["valid"]
    return Agents(tokens, categories, position, size, heading, velocity, valid)


def signal(step: int, lane: int, state: int, stop_point: Any, place: str) -> Light:
    """What one lane's signal shows, by Waymo's number of the state."""
    if not 0 <= state < len(SIGNAL_STATES):
        raise UserError(place, f"step {step}: signal state {state} is not one of 0 to {len(SIGNAL_STATES) - 1}", _AGAIN)
    point = None if stop_point is None else finite(stop_point, f"stop point of lane {lane}", place).tolist()
    return Light(step, str(lane), SIGNAL_STATES[state][1], SIGNAL_STATES[state][0], point)


def _lights(steps: list[dict[str, Any]], count: int, place: str) -> list[Light]:
    if len(steps) > count:
        raise UserError(place, f"signals at {len(steps)} steps of {count}", _AGAIN)
    lights = []
    for step, states in enumerate(steps):
        for found in states["lane_states"]:
            stop = found.get("stop_point")
            point = None if stop is None else [stop.get(axis, 0.0) for axis in "xyz"]
            lane = required(found, "lane", "a signal", place)
            lights.append(signal(step, lane, found.get("state", 0), point, place))
    return lights
