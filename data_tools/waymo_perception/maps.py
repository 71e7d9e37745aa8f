"""Map features of Waymo data sets (map.proto) as map features of a log. Perception and motion share the messages."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_tools.waymo_perception.checks import finite, required
from data_tools.wire import Columns
from drive.logs.writer import LogWriter

LANE_TYPES = {0: "UNDEFINED", 1: "FREEWAY", 2: "SURFACE_STREET", 3: "BIKE_LANE"}
LINE_TYPES = {
    0: "UNKNOWN", 1: "BROKEN_SINGLE_WHITE", 2: "SOLID_SINGLE_WHITE", 3: "SOLID_DOUBLE_WHITE",
    4: "BROKEN_SINGLE_YELLOW", 5: "BROKEN_DOUBLE_YELLOW", 6: "SOLID_SINGLE_YELLOW", 7: "SOLID_DOUBLE_YELLOW",
    8: "PASSING_DOUBLE_YELLOW",
}  # fmt: skip
EDGE_TYPES = {0: "UNKNOWN", 1: "BOUNDARY", 2: "MEDIAN"}
# Field of MapFeature: kind in the log, whether its points are a ring.
KINDS = {
    "lane": ("lane", False),
    "road_line": ("road_line", False),
    "road_edge": ("road_edge", False),
    "stop_sign": ("stop_sign", False),
    "crosswalk": ("ped_crossing", True),
    "speed_bump": ("speed_bump", True),
    "driveway": ("driveway", True),
}


def add_map(log: LogWriter, features: list[dict[str, Any]], offset: np.ndarray, place: str) -> None:
    """Add decoded MapFeatures; `offset` [3] is subtracted from their coordinates (``map_pose_offset``; 0 in motion).

    A lane is its centre line; what it says of neighbours and boundaries stands in its attributes.
    """
    for feature in features:
        number = str(required(feature, "id", "a map feature", place))
        for field, (kind, is_polygon) in KINDS.items():
            if field not in feature:
                continue
            body = feature[field]
            what = f"{field} {number}"
            points = _stop(body, what, place) if field == "stop_sign" else _points(body["points"], what, place)
            log.add_map_feature(
                number, kind, points - offset, is_polygon=is_polygon, attributes=_attributes(field, body),
                predecessors=[str(i) for i in body.get("entry_lanes", ())],
                successors=[str(i) for i in body.get("exit_lanes", ())],
            )  # fmt: skip


def _points(columns: Columns, what: str, place: str) -> np.ndarray:
    return finite(np.stack([columns[axis] for axis in "xyz"], axis=1), what, place)


def _stop(body: dict[str, Any], what: str, place: str) -> np.ndarray:
    position = required(body, "position", what, place)
    return finite([[position.get(axis, 0.0) for axis in "xyz"]], what, place)


def _attributes(field: str, body: dict[str, Any]) -> dict[str, Any]:
    if field == "stop_sign":
        return {"lanes": [str(i) for i in body["lanes"]]}
    if field in ("road_line", "road_edge"):
        names = LINE_TYPES if field == "road_line" else EDGE_TYPES
        return {"type": names.get(body.get("type", 0), str(body.get("type")))}
    if field != "lane":
        return {}
    kind = body.get("type", 0)
    out: dict[str, Any] = {"type": LANE_TYPES.get(kind, str(kind)), "interpolating": body.get("interpolating", False)}
    if np.isfinite(limit := body.get("speed_limit_mph", np.nan)):
        out["speed_limit_mph"] = limit
    for side in ("left", "right"):
        neighbours = body[f"{side}_neighbors"]
        out[f"{side}_neighbors"] = [{**given, "boundaries": _rows(given["boundaries"])} for given in neighbours]
        out[f"{side}_boundaries"] = _rows(body[f"{side}_boundaries"])
    return out


def _rows(columns: Columns) -> list[dict[str, int]]:
    names = list(columns.values)
    return [dict(zip(names, row, strict=True)) for row in zip(*(columns[name].tolist() for name in names), strict=True)]
