"""The town's lanes, connectors, crossings and kerbs as Waymo map features (map.proto)."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_tools.town.layout import Town

_CONNECTORS, _CROSSINGS, _EDGES = 10_000, 20_000, 30_000  # first id of each kind
_SURFACE_STREET, _BOUNDARY = 2, 1
_MPH = 30.0


def map_features(town: Town) -> list[dict[str, Any]]:
    """All features, decoded MapFeature messages; global coordinates, z = 0."""
    into: dict[int, list[int]] = {lane.index: [] for lane in town.lanes}
    out: dict[int, list[int]] = {lane.index: [] for lane in town.lanes}
    features = []
    for connector in town.connectors:
        number = _CONNECTORS + connector.index
        out[connector.source].append(number)
        into[connector.target].append(number)
        features.append(_lane(number, connector.centre, [connector.source], [connector.target], interpolating=True))
    features = [
        *(
            _lane(lane.index, lane.centre, into[lane.index], out[lane.index], interpolating=False)
            for lane in town.lanes
        ),
        *features,
    ]
    for crossing in town.crossings:
        road = town.roads[crossing.road]
        ring = road.strip(crossing.start, crossing.stop, road.half_width, -road.half_width)
        features.append({"id": _CROSSINGS + crossing.index, "crosswalk": {"points": _points(ring)}})
    for road in town.roads:
        for side, sign in enumerate((1.0, -1.0)):
            line = road.along(0.0, road.length, sign * road.half_width)
            number = _EDGES + 2 * road.index + side
            features.append({"id": number, "road_edge": {"type": _BOUNDARY, "points": _points(line)}})
    return features


def _lane(number: int, centre: np.ndarray, before: list[int], after: list[int], *, interpolating: bool) -> Any:
    lane = {
        "speed_limit_mph": _MPH, "type": _SURFACE_STREET, "interpolating": interpolating, "points": _points(centre),
        "entry_lanes": np.array(before, np.int64), "exit_lanes": np.array(after, np.int64),
    }  # fmt: skip
    return {"id": number, "lane": lane}


def _points(line: np.ndarray) -> dict[str, np.ndarray]:
    return {"x": line[:, 0], "y": line[:, 1], "z": np.zeros(len(line))}
