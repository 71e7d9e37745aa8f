"""A scenario of the motion data set as GPUDrive's JSON has it (``process_waymo_files`` of Emerge-Lab/gpudrive)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.scenario_log import SIGNAL_STATES, Agents, Light, Scenario, check_states
from data_tools.waymo_motion.example import ROADGRAPH_TYPES
from drive.errors import UserError
from drive.logs.maps import MapFeature

MAX_BYTES = 200_000_000
RATE_HZ = 10.0
_MEND = "give a scenario file that GPUDrive's process_waymo_files wrote"
_STATES = {source.removeprefix("LANE_STATE_").lower(): state for source, state in SIGNAL_STATES}
_KINDS = {"crosswalk": "ped_crossing"}
_RINGS = ("crosswalk", "speed_bump", "driveway")


def read_json(path: Path) -> Scenario:
    """The scenario in a JSON file, with its map. Steps are 0.1 s apart: the files hold no times."""
    place = str(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(place, f"more than {MAX_BYTES} bytes are no scenario", _MEND)
        data = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise UserError(f"{place}:{error.lineno}", f"broken JSON ({error.msg})", "copy the file again") from None
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(place, f"cannot be read ({error})", "copy the file again") from None
    try:
        return _scenario(data, place)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise UserError(place, f"not as GPUDrive writes it ({type(error).__name__}: {error})", _MEND) from None


def _scenario(data: dict[str, Any], place: str) -> Scenario:
    objects, metadata = data["objects"], data.get("metadata") or {}
    steps = len(objects[0]["valid"]) if objects else 1
    check_states(len(objects), steps, place)
    tokens = [str(thing["id"]) for thing in objects]
    ego = metadata.get("sdc_track_index")
    if ego is not None and not (type(ego) is int and 0 <= ego < len(objects)):
        raise UserError(place, f"sdc_track_index {ego} of {len(objects)} objects", _MEND)
    roles: list[tuple[str, str, int | None]] = []
    for wanted in metadata.get("tracks_to_predict", []):
        row = wanted["track_index"]
        if not (type(row) is int and 0 <= row < len(objects)):
            raise UserError(place, f"track to predict {row} of {len(objects)} objects", _MEND)
        roles.append((tokens[row], "predict", int(wanted["difficulty"])))
    roles += [(str(token), "interest", None) for token in metadata.get("objects_of_interest", [])]
    goals = [_point(thing["goalPosition"]) for thing in objects]
    return Scenario(
        place=place,
        seconds=np.arange(steps) / RATE_HZ,
        agents=_agents(objects, steps, tokens, place),
        ego=ego,
        map_features=[_feature(road, place) for road in data["roads"]],
        lights=_lights(data.get("tl_states") or {}, steps, place),
        roles=roles,
        facts={"scenario_id": str(data["scenario_id"]), "name": str(data["name"])},
        track_columns={
            "source_index": list(range(len(objects))),
            "mark_as_expert": [bool(thing.get("mark_as_expert", False)) for thing in objects],
            "goal_position": goals,
        },
    )


def _point(given: dict[str, float]) -> list[float]:
    return [float(given["x"]), float(given["y"]), float(given.get("z", 0.0))]


def _agents(objects: list[dict[str, Any]], steps: int, tokens: list[str], place: str) -> Agents:
    count = len(objects)
    position, size, velocity = np.zeros((count, steps, 3)), np.zeros((count, steps, 3)), np.zeros((count, steps, 2))
    heading, valid = np.zeros((count, steps)), np.zeros((count, steps), bool)
    for row, thing in enumerate(objects):
        names = ("position", "heading", "velocity", "valid")
        if any(len(thing[name]) != steps for name in names):
            lengths = ", ".join(f"{len(thing[name])} of {name}" for name in names)
            raise UserError(f"{place}: object {tokens[row]}", f"{lengths} for {steps} steps", _MEND)
        position[row] = [_point(p) for p in thing["position"]]
        velocity[row] = [(float(v["x"]), float(v["y"])) for v in thing["velocity"]]
        size[row] = [float(thing[side]) for side in ("length", "width", "height")]
        heading[row], valid[row] = np.array(thing["heading"], np.float64), [bool(v) for v in thing["valid"]]
    return Agents(tokens, [str(t["type"]) for t in objects], position, size, heading, velocity, valid)


def _feature(road: dict[str, Any], place: str) -> MapFeature:
    source = str(road["type"])
    given = road["geometry"]  # the position of a stop sign is a single point
    points = np.array([_point(p) for p in ([given] if isinstance(given, dict) else given)], np.float64).reshape(-1, 3)
    number = int(road["map_element_id"])
    name = ROADGRAPH_TYPES[number][2] if number in ROADGRAPH_TYPES else str(number)
    return MapFeature(
        feature_id=str(road["id"]),
        kind=_KINDS.get(source, source),
        geometry=points,
        is_polygon=source in _RINGS and len(points) > 2,
        attributes={"type": name, "map_element_id": number},
    )


def _lights(signals: dict[str, Any], steps: int, place: str) -> list[Light]:
    lights = []
    for lane, signal in signals.items():
        where = f"{place}: signal of lane {lane}"
        # Where "time_index" is given the lists hold only the steps at which the signal was seen.
        times = signal.get("time_index", range(len(signal["state"])))
        for at, (step, source) in enumerate(zip(times, signal["state"], strict=True)):
            state = _STATES.get(source)
            if state is None or not 0 <= int(step) < steps:
                raise UserError(where, f"unknown state {source!r} or step {step}", _MEND)
            point = [float(signal[axis][at]) for axis in "xyz"] if all(axis in signal for axis in "xyz") else None
            if point is not None and not np.isfinite(point).all():
                raise UserError(where, "stop point is not finite", _MEND)
            lights.append(Light(int(step), str(lane), state, source, point))
    return lights
