"""A ScenarioNet pickle as a scenario. Everything in it is checked before it is used; bad input is a ``UserError``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.scenario_log import SIGNAL_STATES, Agents, Light, Scenario, check_states
from data_tools.unpickle import load_pickle
from drive.errors import UserError
from drive.logs.maps import MapFeature

_MEND = "give a scenario file that ScenarioNet wrote"
# What a signal shows: Waymo's own names and MetaDrive's.
_STATES = dict(SIGNAL_STATES) | {
    f"TRAFFIC_LIGHT_{colour.upper()}": colour for colour in ("red", "yellow", "green", "unknown")
}
# MetaDrive's map types, the beginning of the name decides. In order: the special ones first.
_KINDS = (
    ("LANE_SURFACE_UNSTRUCTURE", "lane_connector"),
    ("LANE", "lane"),
    ("ROAD_EDGE_SIDEWALK", "walkway"),
    ("SIDEWALK", "walkway"),
    ("ROAD_EDGE", "road_edge"),
    ("ROAD_LINE", "road_line"),
    ("UNKNOWN_LINE", "road_line"),
    ("CROSSWALK", "ped_crossing"),
    ("SPEED_BUMP", "speed_bump"),
    ("DRIVEWAY", "driveway"),
    ("STOP_SIGN", "stop_sign"),
)


def read_scenario(path: Path) -> Scenario:
    """The scenario in a pickle file."""
    place = str(path)
    data = _dict(load_pickle(path), place)
    metadata, tracks = _dict(data.get("metadata"), f"{place}: metadata"), _dict(data.get("tracks"), f"{place}: tracks")
    seconds = _numbers(metadata.get("ts"), f"{place}: metadata.ts", 1)
    check_states(len(tracks), len(seconds), place)
    tokens = [str(token) for token in tracks]
    agents, types = _agents(tracks, len(seconds), place)
    ego_token = metadata.get("sdc_id")
    ego = tokens.index(str(ego_token)) if ego_token is not None and str(ego_token) in tokens else None
    if ego is None and ego_token is not None:
        raise UserError(f"{place}: metadata.sdc_id", f"no track {str(ego_token)[:80]!r} in the scenario", _MEND)
    if ego is not None and str(metadata.get("dataset", "")).lower().startswith("nuscenes"):
        agents = _unswapped(agents, ego)
    facts = {name: value for name, value in metadata.items() if isinstance(value, (str, bool, int, float))}
    facts = {str(k): v for k, v in facts.items() if not isinstance(v, int) or -(2**63) <= v < 2**63}
    return Scenario(
        place=place,
        seconds=seconds,
        agents=agents,
        ego=ego,
        map_features=list(_map(_dict(data.get("map_features"), f"{place}: map_features"), place)),
        lights=list(_lights(_dict(data.get("dynamic_map_states", {}), f"{place}: signals"), len(seconds), place)),
        roles=_roles(metadata, place),
        facts={**facts, "scenario_id": str(data.get("id", "")), "version": str(data.get("version", ""))},
        track_columns={"scenarionet_type": types},
    )


def _dict(value: Any, place: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise UserError(place, f"a dictionary is wanted, not {type(value).__name__}", _MEND)
    return value


def _array(value: Any, place: str) -> np.ndarray:
    """An array, or nested lists as one."""
    try:
        return np.asarray(value)
    except ValueError:
        raise UserError(place, "the lists in it differ in length", _MEND) from None


def _numbers(value: Any, place: str, dimensions: int) -> np.ndarray:
    """float64 of so many dimensions from an array or nested lists."""
    array = _array(value, place)
    if array.dtype.kind not in "biuf" or array.ndim != dimensions:
        what = f"an array of numbers with {dimensions} dimensions is wanted, not {array.dtype} {array.shape}"
        raise UserError(place, what, _MEND)
    return array.astype(np.float64)


def _agents(tracks: dict[Any, Any], steps: int, place: str) -> tuple[Agents, list[str]]:
    count = len(tracks)
    position, size, velocity = np.zeros((count, steps, 3)), np.zeros((count, steps, 3)), np.zeros((count, steps, 2))
    heading, valid = np.zeros((count, steps)), np.zeros((count, steps), bool)
    categories, types = [], []
    for row, (token, track) in enumerate(tracks.items()):
        where = f"{place}: track {str(token)[:80]}"
        state = _dict(_dict(track, where).get("state"), f"{where}: state")

        def column(name: str, width: int, state: dict[Any, Any] = state, where: str = where) -> np.ndarray:
            values = _array(state.get(name), f"{where}: {name}")
            if values.dtype.kind not in "biuf" or values.size != steps * width or values.shape[:1] != (steps,):
                what = f"{steps} x {width} numbers are wanted, not {values.dtype} {values.shape}"
                raise UserError(f"{where}: {name}", what, _MEND)
            return values.reshape(steps, width).astype(np.float64)

        position[row], velocity[row] = column("position", 3), column("velocity", 2)
        heading[row], valid[row] = column("heading", 1)[:, 0], column("valid", 1)[:, 0] != 0
        size[row] = np.concatenate([column(name, 1) for name in ("length", "width", "height")], axis=1)
        types.append(str(track.get("type")))
        own = track.get("metadata")
        name = own.get("type") if isinstance(own, dict) else None
        categories.append(name if isinstance(name, str) and name else types[-1])
    return Agents([str(t) for t in tracks], categories, position, size, heading, velocity, valid), types


def _unswapped(agents: Agents, ego: int) -> Agents:
    """The ego's length and width in the right order (see the package's docstring)."""
    size = agents.size.copy()
    swapped = size[ego, :, 0] < size[ego, :, 1]
    size[ego, swapped, :2] = size[ego, swapped, 1::-1]
    return Agents(
        agents.token, agents.category, agents.position, size, agents.heading, agents.velocity, agents.valid,
        source_size=agents.size,
    )  # fmt: skip


def _roles(metadata: dict[Any, Any], place: str) -> list[tuple[str, str, int | None]]:
    roles: list[tuple[str, str, int | None]] = []
    predicted = metadata.get("tracks_to_predict", {})
    for key, entry in _dict(predicted, f"{place}: metadata.tracks_to_predict").items():
        difficulty = entry.get("difficulty") if isinstance(entry, dict) else None
        good = type(difficulty) is int and abs(difficulty) < 2**31
        roles.append((str(key), "predict", difficulty if good else None))
    interest = metadata.get("objects_of_interest", [])
    if not isinstance(interest, (list, tuple)):
        raise UserError(f"{place}: metadata.objects_of_interest", "not a list", _MEND)
    return roles + [(str(token), "interest", None) for token in interest]


def _map(features: dict[Any, Any], place: str) -> Iterable[MapFeature]:
    for key, given in features.items():
        where = f"{place}: map feature {str(key)[:80]}"
        feature = _dict(given, where)
        source = str(feature.get("type"))
        kind = next((kind for start, kind in _KINDS if source.startswith(start)), source.lower()[:80])
        attributes = {str(k): _plain(v) for k, v in feature.items() if k not in ("polyline", "polygon", "position")}
        links = [
            tuple(str(lane) for lane in lanes) if isinstance(lanes := feature.get(name), (list, tuple)) else ()
            for name in ("entry_lanes", "exit_lanes")
        ]
        shapes = [name for name in ("polygon", "polyline", "position") if feature.get(name) is not None]
        if not shapes:
            raise UserError(where, "no polyline, polygon or position", _MEND)
        for name in shapes:
            points = _points(feature[name], f"{where}: {name}")
            own = attributes if points.shape[1] == 3 else {**attributes, "source_dimensions": 2}
            is_line_of_area = name == "polyline" and "polygon" in shapes
            yield MapFeature(
                feature_id=str(key),
                kind="centerline" if is_line_of_area else kind,
                geometry=np.pad(points, ((0, 0), (0, 3 - points.shape[1]))),
                is_polygon=name == "polygon",
                attributes={"lane": str(key)} if is_line_of_area else own,
                predecessors=links[0],
                successors=links[1],
            )


def _points(value: Any, place: str) -> np.ndarray:
    """float64 [M, 2 or 3]; M may be 0."""
    array = _array(value, place)
    if array.ndim == 1 and len(array) in (2, 3):  # the position of a stop sign
        array = array[None]
    points = _numbers(array, place, 2) if array.size else np.zeros((0, 3))
    if points.shape[1] not in (2, 3):
        raise UserError(place, f"points of {points.shape[1]} coordinates", _MEND)
    return points


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (str, bool, int)) or value is None else str(value)


def _lights(signals: dict[Any, Any], steps: int, place: str) -> Iterable[Light]:
    for key, given in signals.items():
        where = f"{place}: signal {str(key)[:80]}"
        signal = _dict(given, where)
        shown = _dict(signal.get("state"), f"{where}: state").get("object_state")
        if not isinstance(shown, (list, tuple, np.ndarray)) or len(shown) != steps:
            raise UserError(f"{where}: object_state", f"{steps} states are wanted", _MEND)
        stop = signal.get("stop_point")
        points = None if stop is None else _points(stop, f"{where}: stop_point")
        if points is not None and len(points) not in (1, steps):
            raise UserError(f"{where}: stop_point", f"{len(points)} points for {steps} steps", _MEND)
        if points is not None and not np.isfinite(points).all():
            raise UserError(f"{where}: stop_point", "not finite", _MEND)
        lane = str(signal.get("lane", key))
        for step, source in enumerate(shown):
            if source is None:
                continue
            state = _STATES.get(str(source))
            if state is None:
                raise UserError(f"{where}: step {step}", f"unknown state {str(source)[:80]!r}", _MEND)
            point = None if points is None else np.pad(points[step % len(points)], (0, 3 - points.shape[1])).tolist()
            yield Light(step, lane, state, str(source), point)
