"""The map of a log as arrays: which polygons are road, which lanes they belong to, where road edges run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain

import numpy as np

from drive.geometry.polylines import offset_polyline
from drive.logs.maps import MapFeature
from drive.logs.store import Log
from drive.samples.lane_graph import LaneGraph, lane_graph
from drive.samples.scene import (
    CARPARK,
    CONNECTOR,
    CROSSING,
    DRIVABLE,
    INTERSECTION,
    LANE,
    ROADBLOCK,
    SceneMap,
)

BUFFER_M = 1.75
"""Half the width that a lane is given which has no area of its own."""

_LAYER = {
    "drivable_area": DRIVABLE,
    "carpark_area": CARPARK,
    "road_block": ROADBLOCK,
    "road_block_connector": ROADBLOCK,
    "ped_crossing": CROSSING,
}
_Polygon = tuple[list[np.ndarray], int, int]  # rings, layer, lane


@lru_cache(maxsize=4)  # scenes of one log are made one after the other
def log_map(log: Log) -> tuple[SceneMap, tuple[str, ...]]:
    """The whole map of a log in global coordinates, and what is to be known of it. Read once a log."""
    return build_map(log.map_features())


def build_map(features: Sequence[MapFeature]) -> tuple[SceneMap, tuple[str, ...]]:
    """Map features (of one frame) as arrays, and notes.

    What is road: the polygons of drivable areas and lanes. Where lanes have areas but their connectors are lines alone
    (the nuScenes excerpts), those lines, BUFFER_M wide to both sides, are road too. Where nothing has an area but the
    map has road edges (Waymo), those bound the road. Lanes without an area get a strip around their centre line in any
    case, so that one can ask which lane a place is in; it is road only where said.
    """
    graph = lane_graph(features)
    number = {key: i for i, key in enumerate(graph.ids)}
    polygons = [p for f in features if (p := _own_polygon(f, graph, number)) is not None]
    edges = [f.geometry for f in features if f.kind == "road_edge" and len(f.geometry) > 1]
    with_area = {lane for _, _, lane in polygons}
    strips = [lane for lane in range(len(graph.ids)) if lane not in with_area]
    has_area = any(layer & DRIVABLE for _, layer, _ in polygons)
    whole = any(f.kind == "drivable_area" for f in features)
    if whole or (has_area and not strips):
        source = "polygons"
    elif edges and not has_area:
        source = "road edges"
    elif strips:
        source = "polygons and buffered centre lines"
    else:
        source = "nothing"
    road = DRIVABLE if source == "polygons and buffered centre lines" else 0
    # Round ends leave no gap in a road; where strips only tell lanes they would reach over the lines to stop at.
    for lane in strips:
        layer = road | (CONNECTOR if graph.is_connector[lane] else LANE)
        polygons += [([ring], layer, lane) for ring in strip(graph.lines[lane], BUFFER_M, round_ends=road > 0)]
    notes = [f"drivable area from {source}"]
    if graph.ids and graph.linked_by == "geometry":
        notes.append("lanes linked by the places of their ends: the log has no links")
    return _arrays(polygons, graph, edges, source), tuple(notes)


def _own_polygon(feature: MapFeature, graph: LaneGraph, number: dict[str, int]) -> _Polygon | None:
    if not feature.is_polygon or len(feature.geometry) < 3:
        return None
    lane = -1
    crossroads = INTERSECTION if feature.attributes.get("is_intersection") else 0
    if feature.kind in ("lane", "lane_connector"):
        lane = number.get(feature.feature_id, -1)
        connector = graph.is_connector[lane] if lane >= 0 else feature.kind == "lane_connector"
        layer = DRIVABLE | crossroads | (CONNECTOR if connector else LANE)
    elif feature.kind == "road_segment":
        layer = crossroads
    else:
        layer = _LAYER.get(feature.kind, 0)
    rings = [r for ring in (feature.geometry, *feature.holes) if len(r := _open_ring(ring)) > 2]
    return (rings, layer, lane) if layer and rings else None


def _open_ring(ring: np.ndarray) -> np.ndarray:
    """x, y of a ring, its last point not a repetition of the first."""
    points = ring[:, :2]
    return points[:-1] if len(points) > 1 and np.allclose(points[0], points[-1], atol=1e-6) else points


def strip(line: np.ndarray, half_width: float, *, round_ends: bool = True) -> list[np.ndarray]:
    """Polygons [K, 2] that cover what lies within ``half_width`` of a line [N, 2], round or straight at its ends.

    One ring, unless the line bends more sharply than that or comes round in a circle: then a piece a segment and a
    round one a vertex (one ring would cross itself, and even-odd would count the crossing as outside).
    """
    left, right = offset_polyline(line, half_width), offset_polyline(line, -half_width)
    step = np.diff(line, axis=0)
    heading = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    ways = [(np.diff(side, axis=0) * step).sum(axis=1) for side in (left, right)]
    if min(way.min() for way in ways) > 0 and np.ptp(heading) < np.deg2rad(300.0):
        if not round_ends:
            return [np.concatenate([right, left[::-1]])]
        last, first = _round(line[-1], heading[-1], half_width), _round(line[0], heading[0] + np.pi, half_width)
        return [np.concatenate([right, last, left[::-1], first])]
    normal = np.stack([-np.sin(heading), np.cos(heading)], axis=1) * half_width
    pieces = [np.stack([line[k] - n, line[k + 1] - n, line[k + 1] + n, line[k] + n]) for k, n in enumerate(normal)]
    angle = np.arange(8) * (np.pi / 4)
    circle = half_width * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return pieces + [point + circle for point in (line if round_ends else line[1:-1])]


def _round(end: np.ndarray, heading: float, radius: float) -> np.ndarray:
    """Points of a half circle around an end, from its right to its left, without the two sides themselves."""
    angle = heading + np.deg2rad(np.array([-60.0, -30.0, 0.0, 30.0, 60.0]))
    return end + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _arrays(polygons: list[_Polygon], graph: LaneGraph, edges: list[np.ndarray], source: str) -> SceneMap:
    rings = [ring for own, _, _ in polygons for ring in own]
    before: list[list[int]] = [[] for _ in graph.ids]
    for lane, follow in enumerate(graph.successors):
        for other in follow:
            before[other].append(lane)
    edge = np.concatenate(edges) if edges else np.zeros((0, 3))
    return SceneMap(
        vertices=_rows(rings),
        ring_offsets=_offsets(rings),
        polygon_offsets=_offsets([own for own, _, _ in polygons]),
        polygon_layer=np.array([layer for _, layer, _ in polygons], np.uint8),
        polygon_lane=np.array([lane for _, _, lane in polygons], np.int64),
        lane_vertices=_rows(graph.lines),
        lane_offsets=_offsets(graph.lines),
        lane_ids=graph.ids,
        lane_is_connector=graph.is_connector,
        successor_offsets=_offsets(graph.successors),
        successors=np.array(list(chain(*graph.successors)), np.int64),
        predecessor_offsets=_offsets(before),
        predecessors=np.array(list(chain(*before)), np.int64),
        left=graph.left.astype(np.int64),
        right=graph.right.astype(np.int64),
        speed_limit_mps=graph.speed_limit_mps,
        speed_limit_valid=graph.speed_limit_valid,
        edge_vertices=np.ascontiguousarray(edge[:, :2]),
        edge_offsets=_offsets(edges),
        edge_z=np.ascontiguousarray(edge[:, 2]),
        drivable_from=source,
    )


def _rows(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts).astype(np.float64) if len(parts) else np.zeros((0, 2))


def _offsets(parts: Sequence[Sequence[object]] | Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)


def local_map(whole: SceneMap, path_xy: np.ndarray, radius_m: float, origin_xy: np.ndarray) -> SceneMap:
    """The part whose bounding boxes come within ``radius_m`` of the places ``path_xy`` [Q, 2], moved to an origin.

    Polygons, lanes and edges are kept whole or left out; links to lanes that are left out go.
    """
    low, high = path_xy.min(axis=0) - radius_m, path_xy.max(axis=0) + radius_m
    lanes = _touching(whole.lane_vertices, whole.lane_offsets, low, high)
    outer = whole.ring_offsets[whole.polygon_offsets]  # a polygon's vertices are one run: its rings follow each other
    polygons = _touching(whole.vertices, outer, low, high)
    edges = _touching(whole.edge_vertices, whole.edge_offsets, low, high)
    renumbered = np.full(len(lanes) + 1, -1, np.int64)  # its last entry answers for -1
    renumbered[:-1][lanes] = np.arange(lanes.sum())
    rings = np.repeat(polygons, np.diff(whole.polygon_offsets))
    successor_offsets, successors = _links(whole.successor_offsets, whole.successors, lanes, renumbered)
    predecessor_offsets, predecessors = _links(whole.predecessor_offsets, whole.predecessors, lanes, renumbered)
    return replace(
        whole,
        vertices=whole.vertices[_members(whole.ring_offsets, rings)] - origin_xy,
        ring_offsets=_kept_offsets(whole.ring_offsets, rings),
        polygon_offsets=_kept_offsets(whole.polygon_offsets, polygons),
        polygon_layer=whole.polygon_layer[polygons],
        polygon_lane=renumbered[whole.polygon_lane[polygons]],
        lane_vertices=whole.lane_vertices[_members(whole.lane_offsets, lanes)] - origin_xy,
        lane_offsets=_kept_offsets(whole.lane_offsets, lanes),
        lane_ids=tuple(np.asarray(whole.lane_ids, object)[lanes].tolist()),
        lane_is_connector=whole.lane_is_connector[lanes],
        successor_offsets=successor_offsets,
        successors=successors,
        predecessor_offsets=predecessor_offsets,
        predecessors=predecessors,
        left=renumbered[whole.left[lanes]],
        right=renumbered[whole.right[lanes]],
        speed_limit_mps=whole.speed_limit_mps[lanes],
        speed_limit_valid=whole.speed_limit_valid[lanes],
        edge_vertices=whole.edge_vertices[_members(whole.edge_offsets, edges)] - origin_xy,
        edge_offsets=_kept_offsets(whole.edge_offsets, edges),
        edge_z=whole.edge_z[_members(whole.edge_offsets, edges)],
    )


def _touching(vertices: np.ndarray, offsets: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """bool [runs]: whose bounding box touches the box low..high."""
    if len(offsets) < 2 or not len(vertices):
        return np.zeros(len(offsets) - 1, bool)
    least = np.minimum.reduceat(vertices, offsets[:-1])
    most = np.maximum.reduceat(vertices, offsets[:-1])
    return np.asarray(((least <= high) & (most >= low)).all(axis=1))


def _members(offsets: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """bool over the flat rows: those of kept runs."""
    return np.repeat(keep, np.diff(offsets))


def _kept_offsets(offsets: np.ndarray, keep: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.diff(offsets)[keep])]).astype(np.int64)


def _links(
    offsets: np.ndarray, flat: np.ndarray, lanes: np.ndarray, renumbered: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Links among kept lanes, renumbered."""
    owner = np.repeat(np.arange(len(lanes)), np.diff(offsets))
    keep = lanes[owner] & (renumbered[flat] >= 0)
    counts = np.bincount(renumbered[owner[keep]], minlength=int(lanes.sum()))
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), renumbered[flat[keep]]
