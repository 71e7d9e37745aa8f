"""The map expansion (``maps/expansion/<location>.json``, v1.3) as map features, cropped to where the ego drove."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drive.errors import UserError
from drive.logs.maps import MapFeature

POLYGON_LAYERS = (
    "drivable_area",
    "road_segment",
    "road_block",
    "lane",
    "lane_connector",
    "ped_crossing",
    "walkway",
    "stop_line",
    "carpark_area",
)
LINE_LAYERS = ("road_divider", "lane_divider", "traffic_light")

# A log keeps the features whose bounding box comes this near to the ego's path, with all their coordinates.
RADIUS_M = 150.0
CENTERLINE_SPACING_M = 1.0

# Turn of each of the three parts of an arc-line path, by its shape (arcline_path_utils.compute_segment_sign).
_TURN = {"L": 1.0, "R": -1.0, "S": 0.0}


@dataclass(frozen=True)
class RegionMap:
    """All features of a location and their bounding boxes float64 [M, 4] (x_min, y_min, x_max, y_max)."""

    features: list[MapFeature]
    bounds: np.ndarray

    def near_path(self, path_xy: np.ndarray, radius_m: float = RADIUS_M) -> list[MapFeature]:
        """Features whose bounding box comes within `radius_m` of any of the points [Q, 2]."""
        if not len(self.features) or not len(path_xy):
            return []
        nearest = np.full(len(self.features), np.inf)
        for x, y in path_xy:
            gap_x = np.maximum(np.maximum(self.bounds[:, 0] - x, x - self.bounds[:, 2]), 0.0)
            gap_y = np.maximum(np.maximum(self.bounds[:, 1] - y, y - self.bounds[:, 3]), 0.0)
            np.minimum(nearest, np.hypot(gap_x, gap_y), out=nearest)
        return [f for f, gap in zip(self.features, nearest, strict=True) if gap <= radius_m]


@functools.lru_cache(maxsize=4)  # four locations in the data set; a worker meets them in turn
def read_map(raw: Path, location: str) -> RegionMap | None:
    """The features of a location in global coordinates (z = 0: the maps are flat); None where it has no map.

    Layers keep their names as kinds. A lane or connector that has an arc-line path also gives a `centerline` of the
    same id. Everything else that the map says of a feature is in its attributes, node tokens left out.

    Raises:
        UserError: the file is broken or refers to a node or polygon that is not there.
    """
    path = raw / "maps" / "expansion" / f"{location}.json"
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(path, f"broken JSON ({error})", "the file was cut or changed: get it again") from error
    try:
        return region_map(data)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        what = f"not a map expansion v1.3 ({type(error).__name__}: {error})"
        raise UserError(path, what, "get maps/expansion again (version 1.3)") from error


def region_map(data: dict[str, Any]) -> RegionMap:
    """What `read_map` makes of the file's content. KeyError, TypeError, ValueError, IndexError: not such a map."""
    features = list(_features(data))
    bounds = [(*f.geometry[:, :2].min(axis=0), *f.geometry[:, :2].max(axis=0)) for f in features]
    return RegionMap(features, np.array(bounds, np.float64).reshape(-1, 4))


def _features(data: dict[str, Any]) -> Iterable[MapFeature]:
    row = {node["token"]: i for i, node in enumerate(data["node"])}
    nodes = np.array([(n["x"], n["y"], 0.0) for n in data["node"]], np.float64).reshape(-1, 3)
    lines = {line["token"]: line["node_tokens"] for line in data["line"]}
    polygons = {p["token"]: p for p in data["polygon"]}
    paths: dict[str, list[dict[str, Any]]] = data.get("arcline_path_3", {})
    connectivity = data.get("connectivity", {})

    def coordinates(tokens: list[str]) -> np.ndarray:
        return nodes[[row[t] for t in tokens]]

    for layer in POLYGON_LAYERS:
        for record in data.get(layer, []):
            tokens = record["polygon_tokens"] if "polygon_tokens" in record else [record["polygon_token"]]
            links = connectivity.get(record["token"], {})
            arcs = paths.get(record["token"])
            attributes = {k: v for k, v in record.items() if k not in _GEOMETRY_FIELDS}
            if arcs:
                attributes["arcline_path"] = arcs
            for token in tokens:
                polygon = polygons[token]
                if len(tokens) > 1 or "polygon_tokens" in record:
                    attributes = {**attributes, "polygon_token": token}
                ring = coordinates(polygon["exterior_node_tokens"])
                if not len(ring):
                    continue
                yield MapFeature(
                    feature_id=record["token"] if len(tokens) == 1 else token,
                    kind=layer,
                    geometry=ring,
                    is_polygon=True,
                    holes=tuple(coordinates(h["node_tokens"]) for h in polygon["holes"] if h["node_tokens"]),
                    attributes=attributes,
                    predecessors=tuple(links.get("incoming", ())),
                    successors=tuple(links.get("outgoing", ())),
                )
            if arcs:
                yield MapFeature(
                    feature_id=record["token"],
                    kind="centerline",
                    geometry=discretise(arcs, CENTERLINE_SPACING_M),
                    is_polygon=False,
                    attributes={"layer": layer},
                    predecessors=tuple(links.get("incoming", ())),
                    successors=tuple(links.get("outgoing", ())),
                )
    for layer in LINE_LAYERS:
        for record in data.get(layer, []):
            points = coordinates(lines[record["line_token"]])
            if len(points):
                attributes = {k: v for k, v in record.items() if k not in _GEOMETRY_FIELDS}
                yield MapFeature(record["token"], layer, points, is_polygon=False, attributes=attributes)


_GEOMETRY_FIELDS = frozenset({"token", "exterior_node_tokens", "holes", "node_tokens", "polygon_tokens"})


def discretise(arcs: list[dict[str, Any]], spacing_m: float) -> np.ndarray:
    """Points float64 [M, 3] along a path of arc-line segments, at most `spacing_m` apart, ends included.

    Each segment starts at start_pose (x, y, yaw) and has three parts, each a left turn, a right turn (of `radius`) or
    straight, by the letters of `shape` (Dubins paths; nuscenes-devkit, map_expansion/arcline_path_utils.py).
    """
    points = []
    for arc in arcs:
        x, y, yaw = (float(v) for v in arc["start_pose"])
        points.append((x, y))
        for letter, length in zip(arc["shape"], arc["segment_length"], strict=True):
            curvature = _TURN[letter] / float(arc["radius"])
            count = max(1, math.ceil(length / spacing_m)) if length > 1e-9 else 0
            steps = range(1, count + 1)
            points.extend(_advance(x, y, yaw, curvature, length * step / count)[:2] for step in steps)
            x, y, yaw = _advance(x, y, yaw, curvature, float(length))
    line = np.array(points, np.float64).reshape(-1, 2)
    moved = np.ones(len(line), bool)
    moved[1:] = np.hypot(*np.diff(line, axis=0).T) > 1e-6  # segments share their ends
    return np.concatenate([line[moved], np.zeros((int(moved.sum()), 1))], axis=1)


def _advance(x: float, y: float, yaw: float, curvature: float, length: float) -> tuple[float, float, float]:
    turn = curvature * length
    if abs(turn) < 1e-9:
        return x + length * math.cos(yaw), y + length * math.sin(yaw), yaw
    radius = 1.0 / curvature
    end = yaw + turn
    return x + radius * (math.sin(end) - math.sin(yaw)), y - radius * (math.cos(end) - math.cos(yaw)), end
