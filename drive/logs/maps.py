"""Map features of a log and what is near a place. Global coordinates; crop() turns them into a local frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from drive.geometry.rigid import transform_points


@dataclass(frozen=True)
class MapFeature:
    """A lane, crossing, divider ...

    Attributes:
        feature_id: unique in the log together with `kind`.
        kind: lane, lane_connector, drivable_area, road_segment, road_block, ped_crossing, walkway, stop_line,
            carpark_area, road_divider, lane_divider, traffic_light, road_edge, centerline ...
        geometry: float64 [M, 3] metres; a polyline, or the exterior ring of a polygon (first point not repeated,
            unless the source repeats it).
        holes: rings [K, 3] cut out of a polygon.
        attributes: what the source says about it.
        predecessors, successors: feature ids of lanes before and after.
    """

    feature_id: str
    kind: str
    geometry: np.ndarray
    is_polygon: bool
    holes: tuple[np.ndarray, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    predecessors: tuple[str, ...] = ()
    successors: tuple[str, ...] = ()

    def transformed(self, a_from_b: np.ndarray) -> MapFeature:
        """The feature with its coordinates moved from frame b to frame a (4x4)."""
        holes = tuple(transform_points(a_from_b, hole) for hole in self.holes)
        return replace(self, geometry=transform_points(a_from_b, self.geometry), holes=holes)


def near(features: Iterable[MapFeature], centre_xy: Sequence[float], radius_m: float) -> list[MapFeature]:
    """Features that come within `radius_m` of a place (or contain it): exact for lines and polygons in the plane."""
    x, y = float(centre_xy[0]), float(centre_xy[1])
    box = (x - radius_m, y - radius_m, x + radius_m, y + radius_m)
    return [f for f in in_box(features, box) if distance_to(f, np.array([[x, y]]))[0] <= radius_m]


def in_box(features: Iterable[MapFeature], box: tuple[float, float, float, float]) -> list[MapFeature]:
    """Features whose own bounding box touches the box (x_min, y_min, x_max, y_max); coordinates are not cut."""
    x0, y0, x1, y1 = box
    found = []
    for feature in features:
        if not len(feature.geometry):
            continue
        low, high = feature.geometry[:, :2].min(axis=0), feature.geometry[:, :2].max(axis=0)
        if low[0] <= x1 and low[1] <= y1 and high[0] >= x0 and high[1] >= y0:
            found.append(feature)
    return found


def crop(features: Iterable[MapFeature], local_from_global: np.ndarray, half_size_m: float) -> list[MapFeature]:
    """Features that touch the square |x|, |y| <= half_size_m of a local frame, in that frame (not cut)."""
    moved = (feature.transformed(local_from_global) for feature in features)
    return in_box(moved, (-half_size_m, -half_size_m, half_size_m, half_size_m))


def distance_to(feature: MapFeature, points_xy: np.ndarray) -> np.ndarray:
    """Distance [Q] in metres from points [Q, 2] to a feature; 0 inside a polygon (and outside its holes)."""
    queries = np.asarray(points_xy, np.float64)[:, :2]
    distance = _distance_to_line(feature.geometry[:, :2], queries, closed=feature.is_polygon)
    if not feature.is_polygon:
        return distance
    inside = contains(feature, queries)
    for hole in feature.holes:
        distance = np.minimum(distance, _distance_to_line(hole[:, :2], queries, closed=True))
    return np.where(inside, 0.0, distance)


def contains(feature: MapFeature, points_xy: np.ndarray) -> np.ndarray:
    """bool [Q]: which points [Q, 2] lie in a polygon feature, not in its holes (even-odd rule over all rings)."""
    queries = np.asarray(points_xy, np.float64)[:, :2]
    inside = np.zeros(len(queries), bool)
    if not feature.is_polygon:
        return inside
    for ring in (feature.geometry, *feature.holes):
        a, b = ring[:, :2], np.roll(ring[:, :2], -1, axis=0)
        for (ax, ay), (bx, by) in zip(a, b, strict=True):
            crosses = (ay > queries[:, 1]) != (by > queries[:, 1])
            if crosses.any():
                at = ax + (queries[crosses, 1] - ay) / (by - ay) * (bx - ax)
                inside[crosses] ^= queries[crosses, 0] < at
    return inside


def _distance_to_line(line: np.ndarray, queries: np.ndarray, *, closed: bool) -> np.ndarray:
    if not len(line):
        return np.full(len(queries), np.inf)
    a = line if closed or len(line) == 1 else line[:-1]
    b = np.roll(line, -1, axis=0) if closed or len(line) == 1 else line[1:]
    along = b - a
    length2 = np.maximum((along**2).sum(axis=1), 1e-30)
    nearest = np.full(len(queries), np.inf)
    for start, step, square in zip(a, along, length2, strict=True):  # one edge at a time: memory stays Q, not Q x M
        share = np.clip(((queries - start) @ step) / square, 0.0, 1.0)
        gap = queries - start - share[:, None] * step
        np.minimum(nearest, (gap**2).sum(axis=1), out=nearest)
    return np.sqrt(nearest)
