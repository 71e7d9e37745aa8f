"""A ``tf.Example`` record of the motion data set as a scenario.

States are [128, T] arrays in three parts (10 past steps, 1 current, 80 future), signals [T, 16], -1 where there is
none; the map is one list of sampled points with the id and the type of their feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from data_tools.scenario_log import Agents, Light, Scenario, check_states
from data_tools.waymo_motion.messages import OBJECT_TYPES
from data_tools.waymo_motion.scenario import signal
from data_tools.waymo_perception.checks import named
from drive.errors import UserError
from drive.logs.maps import MapFeature

_AGAIN = "copy the file again"
PARTS = ("past", "current", "future")
# Type number of a sampled map point: kind in the log, whether it is a ring, its name in map.proto.
ROADGRAPH_TYPES = {
    0: ("lane", False, "LANE_UNDEFINED"),
    1: ("lane", False, "FREEWAY"),
    2: ("lane", False, "SURFACE_STREET"),
    3: ("lane", False, "BIKE_LANE"),
    5: ("road_line", False, "UNKNOWN"),
    6: ("road_line", False, "BROKEN_SINGLE_WHITE"),
    7: ("road_line", False, "SOLID_SINGLE_WHITE"),
    8: ("road_line", False, "SOLID_DOUBLE_WHITE"),
    9: ("road_line", False, "BROKEN_SINGLE_YELLOW"),
    10: ("road_line", False, "BROKEN_DOUBLE_YELLOW"),
    11: ("road_line", False, "SOLID_SINGLE_YELLOW"),
    12: ("road_line", False, "SOLID_DOUBLE_YELLOW"),
    13: ("road_line", False, "PASSING_DOUBLE_YELLOW"),
    14: ("road_edge", False, "UNKNOWN"),
    15: ("road_edge", False, "BOUNDARY"),
    16: ("road_edge", False, "MEDIAN"),
    17: ("stop_sign", False, "STOP_SIGN"),
    18: ("ped_crossing", True, "CROSSWALK"),
    19: ("speed_bump", True, "SPEED_BUMP"),
    20: ("driveway", True, "DRIVEWAY"),
}


class Features:
    """The named lists of numbers of one example."""

    def __init__(self, found: dict[str, Any], place: str) -> None:
        self.place = place
        self._lists: dict[str, Any] = {}
        for entry in found.get("features", {}).get("entries", []):
            value = entry.get("value", {})
            kinds = [kind for kind in ("floats", "ints", "bytes") if kind in value]
            if kinds and "key" in entry:
                self._lists[entry["key"]] = value[kinds[0]]["values"]

    def __contains__(self, name: str) -> bool:
        return name in self._lists

    def numbers(self, name: str) -> np.ndarray:
        """A list of numbers [N], in the file's own type."""
        values = self._lists.get(name)
        if not isinstance(values, np.ndarray):
            raise UserError(self.place, f"the example has no numbers {name}", "give tf.Example records of Waymo motion")
        return values

    def table(self, name: str, width: int) -> np.ndarray:
        """[N, width] of a list."""
        values = self.numbers(name)
        if len(values) % width:
            raise UserError(self.place, f"{name}: {len(values)} numbers cannot be rows of {width}", _AGAIN)
        return values.reshape(-1, width)

    def text(self, name: str) -> str:
        """A single string; "" where it is absent."""
        values = self._lists.get(name, [])
        return values[0].decode("utf-8", "replace") if isinstance(values, list) and values else ""


def read_example(found: dict[str, Any], place: str) -> Scenario:
    """A decoded Example message as a scenario, with its map."""
    features = Features(found, place)
    agents_ids = features.numbers("state/id")
    slots = len(agents_ids)
    if not slots:
        raise UserError(place, "the example has no agents", "give tf.Example records of Waymo motion")
    parts = [part for part in PARTS if f"state/{part}/x" in features]
    steps = sum(len(features.numbers(f"state/{part}/x")) // slots for part in parts)
    check_states(slots, steps, place)

    def states(name: str) -> np.ndarray:
        """[slots, T] of all parts."""
        joined = np.concatenate([_slots(features, f"state/{part}/{name}", slots) for part in parts], axis=1)
        if joined.shape != (slots, steps):
            raise UserError(place, f"state/*/{name} is {joined.shape}, not ({slots}, {steps})", _AGAIN)
        return joined.astype(np.float64)

    types, valid = features.numbers("state/type"), states("valid") == 1
    if len(types) != slots or not (np.isfinite(types).all() and np.isfinite(agents_ids).all()):
        raise UserError(place, "state/type or state/id do not fit", _AGAIN)
    rows = np.flatnonzero((types > 0) | valid.any(axis=1))  # the other slots are empty
    position = np.stack([states(axis) for axis in "xyz"], axis=2)
    size = np.stack([states(side) for side in ("length", "width", "height")], axis=2)
    velocity = np.stack([states("velocity_x"), states("velocity_y")], axis=2)
    columns = {"source_speed": states("speed")[rows], "source_velocity_yaw": states("vel_yaw")[rows]}
    agents = Agents(
        [str(int(i)) for i in agents_ids[rows]],
        [named(OBJECT_TYPES, int(t), "state/type", place) for t in types[rows]],
        position[rows], size[rows], states("bbox_yaw")[rows], velocity[rows], valid[rows], columns,
    )  # fmt: skip
    return Scenario(
        place=place,
        seconds=_seconds(features, parts, states("timestamp_micros"), valid),
        agents=agents,
        ego=_ego(_flags(features, "state/is_sdc", slots)[rows]),
        map_features=roadgraph(features, place),
        lights=_lights(features, parts, place),
        roles=_roles(features, slots, rows, agents.token),
        facts={
            "scenario_id": features.text("scenario/id"),
            "current_time_index": sum(len(features.numbers(f"state/{p}/x")) for p in parts if p == "past") // slots,
        },
        track_columns={"source_index": rows.tolist()},
    )


def _slots(features: Features, name: str, slots: int) -> np.ndarray:
    values = features.numbers(name)
    if not len(values) or len(values) % slots:
        raise UserError(features.place, f"{name}: {len(values)} numbers for {slots} agents", _AGAIN)
    return values.reshape(slots, -1)


def _flags(features: Features, name: str, slots: int) -> np.ndarray:
    values = features.numbers(name)
    if len(values) != slots:
        raise UserError(features.place, f"{name}: {len(values)} numbers for {slots} agents", _AGAIN)
    return values


def _ego(is_sdc: np.ndarray) -> int | None:
    rows = np.flatnonzero(is_sdc == 1)
    return int(rows[0]) if len(rows) == 1 else None


def _seconds(features: Features, parts: Sequence[str], micros: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """float64 [T]: every agent's state has its time; where nobody is seen, the signals' time of the step."""
    known = valid & (micros >= 0)
    times = np.where(known, micros, -1).max(axis=0)
    names = [f"traffic_light_state/{part}/timestamp_micros" for part in parts]
    if all(name in features for name in names):
        of_signals = np.concatenate([features.numbers(name) for name in names])
        times = np.where(times < 0, of_signals, times) if len(of_signals) == len(times) else times
    if (times < 0).any():
        raise UserError(features.place, f"step {int(np.argmin(times))} has no time", _AGAIN)
    return times / 1e6


def _roles(
    features: Features, slots: int, rows: np.ndarray, tokens: Sequence[str]
) -> list[tuple[str, str, int | None]]:
    predict = _flags(features, "state/tracks_to_predict", slots)[rows] == 1
    has_difficulty = "state/difficulty_level" in features
    levels = _flags(features, "state/difficulty_level", slots)[rows] if has_difficulty else np.full(len(rows), -1)
    roles: list[tuple[str, str, int | None]] = [
        (token, "predict", int(level) if 0 <= level <= 2 else None)
        for token, wanted, level in zip(tokens, predict, levels, strict=True)
        if wanted
    ]
    interest = _flags(features, "state/objects_of_interest", slots)[rows] == 1
    return roles + [(token, "interest", None) for token, of in zip(tokens, interest, strict=True) if of]


def _lights(features: Features, parts: Sequence[str], place: str) -> list[Light]:
    lights: list[Light] = []
    first = 0
    for part in parts:
        name = f"traffic_light_state/{part}"
        if f"{name}/timestamp_micros" not in features:
            return []
        steps = len(features.numbers(f"{name}/timestamp_micros"))
        given = {key: features.numbers(f"{name}/{key}") for key in ("id", "state", "valid", "x", "y", "z")}
        width = len(given["id"]) // steps if steps else 0
        if any(len(values) != steps * width for values in given.values()):
            raise UserError(place, f"{name}: its lists differ in length", _AGAIN)
        for at in np.flatnonzero(given["valid"] == 1).tolist():
            point = [given[axis][at] for axis in "xyz"]
            lights.append(signal(first + at // width, int(given["id"][at]), int(given["state"][at]), point, place))
        first += steps
    return lights


def roadgraph(features: Features, place: str) -> list[MapFeature]:
    """Features of the map, in the order of their first points: a run of points of one id and type is one feature."""
    ids, types = features.numbers("roadgraph_samples/id"), features.numbers("roadgraph_samples/type")
    points, valid = features.table("roadgraph_samples/xyz", 3), features.numbers("roadgraph_samples/valid")
    if not len(ids) == len(types) == len(points) == len(valid):
        raise UserError(place, "roadgraph_samples: its lists differ in length", _AGAIN)
    keep = valid == 1
    ids, types, points = ids[keep], types[keep], points[keep].astype(np.float64)
    if not len(ids):
        return []
    cuts = np.flatnonzero((np.diff(ids) != 0) | (np.diff(types) != 0)) + 1
    out: list[MapFeature] = []
    parts_of: dict[tuple[str, str], int] = {}
    for start, end in pairwise([0, *cuts.tolist(), len(ids)]):
        number = int(types[start])
        if number not in ROADGRAPH_TYPES:
            raise UserError(place, f"roadgraph type {number} is not known", _AGAIN)
        kind, is_polygon, name = ROADGRAPH_TYPES[number]
        key = str(int(ids[start]))
        part = parts_of[key, kind] = parts_of.get((key, kind), -1) + 1
        attributes = {"type": name} | ({"part": part} if part else {})
        out.append(MapFeature(key, kind, points[start:end], is_polygon and end - start > 2, attributes=attributes))
    return out
