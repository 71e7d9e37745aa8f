"""Lanes of a log's map as a graph: centre lines, what follows what, who runs beside whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from drive.geometry.angles import angle_difference
from drive.logs.maps import MapFeature

JOIN_M = 0.3
"""Without links in the log, a lane follows another one if its start lies this near to the other's end ..."""
JOIN_RAD = np.pi / 4
"""... and points this nearly the same way. (In the excerpts looked at, ends that join agree to 1 cm or are 1 m off.)"""
BESIDE_M = (2.0, 5.5)
"""Neighbours' centre lines are this far apart [inferred: lanes of 2.5 m to 4.5 m, with a line between]."""
BESIDE_RAD = np.deg2rad(20.0)
MPH, KMH = 0.44704, 1 / 3.6

_LANE_KINDS = ("lane", "lane_connector")


@dataclass(frozen=True)
class LaneGraph:
    """L lanes with a centre line, global coordinates; the columns are those of SceneMap.

    `linked_by` says how successors were found: by "ids" or by "geometry".
    """

    lines: tuple[np.ndarray, ...]
    ids: tuple[str, ...]
    is_connector: np.ndarray
    successors: tuple[tuple[int, ...], ...]
    left: np.ndarray
    right: np.ndarray
    speed_limit_mps: np.ndarray
    speed_limit_valid: np.ndarray
    linked_by: str


def lane_graph(features: Sequence[MapFeature]) -> LaneGraph:
    """The graph of all lanes of a map that have a centre line; lanes for bicycles alone are left out.

    Links are the log's where it has any, else those of centre lines that join. Neighbours are the log's where it names
    one of the same direction, else the nearest parallel centre line.
    """
    lanes = {f.feature_id: f for f in features if f.kind in _LANE_KINDS and not _is_for_bicycles(f)}
    lines = _centre_lines(features, lanes)
    ids = tuple(key for key in lanes if key in lines)
    number = {key: i for i, key in enumerate(ids)}
    areas = {f.feature_id for f in features if f.kind in _LANE_KINDS and f.is_polygon}
    found = [lanes[key] for key in ids]
    # Where lanes are areas, a lane that is a line alone is what joins them (the nuScenes excerpts).
    connector = [_is_connector(f) or bool(areas and f.feature_id not in areas) for f in found]
    kept = tuple(lines[key] for key in ids)
    linked = any(f.successors or f.predecessors for f in found)
    follow = _by_ids(found, number) if linked else _by_geometry(kept)
    limits = [_speed_limit(f) for f in found]
    left, right = _neighbours(kept, found, number, np.array(connector, bool))
    return LaneGraph(
        lines=kept,
        ids=ids,
        is_connector=np.array(connector, bool),
        successors=follow,
        left=left,
        right=right,
        speed_limit_mps=np.array([limit or 0.0 for limit in limits], np.float64),
        speed_limit_valid=np.array([limit is not None for limit in limits], bool),
        linked_by="ids" if linked else "geometry",
    )


def _is_for_bicycles(feature: MapFeature) -> bool:
    kinds = (feature.attributes.get("type"), feature.attributes.get("lane_type"))
    return any(isinstance(kind, str) and "BIKE" in kind.upper() for kind in kinds)


def _is_connector(feature: MapFeature) -> bool:
    said = feature.attributes
    return feature.kind == "lane_connector" or bool(said.get("is_intersection") or said.get("interpolating"))


def _speed_limit(feature: MapFeature) -> float | None:
    """Metres a second; None where the source has none (MetaDrive writes 100 km/h there)."""
    said = feature.attributes
    for name, unit in (("speed_limit_mps", 1.0), ("speed_limit_mph", MPH), ("speed_limit_kmh", KMH)):
        value = said.get(name)
        if isinstance(value, (int, float)) and value > 0 and not (name == "speed_limit_kmh" and value == 100):
            return float(value) * unit
    return None


def _centre_lines(features: Iterable[MapFeature], lanes: Mapping[str, MapFeature]) -> dict[str, np.ndarray]:
    """Lines [N, 2] by lane id, N >= 2, without repeated points."""
    lines = {}
    for feature in features:
        if feature.kind == "centerline":
            key = str(feature.attributes.get("lane", feature.feature_id))
        elif feature.kind in _LANE_KINDS and not feature.is_polygon:
            key = feature.feature_id
        else:
            continue
        line = without_repeats(feature.geometry[:, :2])
        if key in lanes and len(line) > 1:
            lines[key] = line
    return lines


def without_repeats(line: np.ndarray, nearest_m: float = 1e-3) -> np.ndarray:
    """The line without points that lie on the one before them."""
    if len(line) < 2:
        return line
    keep = np.ones(len(line), bool)
    keep[1:] = np.linalg.norm(np.diff(line, axis=0), axis=1) > nearest_m
    return line[keep]


def _by_ids(found: Sequence[MapFeature], number: Mapping[str, int]) -> tuple[tuple[int, ...], ...]:
    follow: list[set[int]] = [set() for _ in found]
    for i, feature in enumerate(found):
        follow[i].update(number[key] for key in feature.successors if key in number)
        for key in feature.predecessors:
            if key in number:
                follow[number[key]].add(i)
    return tuple(tuple(sorted(own - {i})) for i, own in enumerate(follow))


def _by_geometry(lines: Sequence[np.ndarray]) -> tuple[tuple[int, ...], ...]:
    if not lines:
        return ()
    starts, ends = np.stack([line[0] for line in lines]), np.stack([line[-1] for line in lines])
    into, out = np.array([direction(line, 0) for line in lines]), np.array([direction(line, -1) for line in lines])
    follow = []
    for i in range(len(lines)):
        near = np.linalg.norm(starts - ends[i], axis=1) < JOIN_M
        near &= np.abs(angle_difference(into, out[i])) < JOIN_RAD
        near[i] = False
        follow.append(tuple(np.flatnonzero(near).tolist()))
    return tuple(follow)


def direction(line: np.ndarray, end: int) -> float:
    """Heading of a line's first (end 0) or last (end -1) segment."""
    step = line[1] - line[0] if end == 0 else line[-1] - line[-2]
    return float(np.arctan2(step[1], step[0]))


def _neighbours(
    lines: Sequence[np.ndarray], found: Sequence[MapFeature], number: Mapping[str, int], connector: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The lane to the left and to the right of each, of the same direction, or -1."""
    left, right = np.full(len(lines), -1), np.full(len(lines), -1)
    if not lines:
        return left, right
    vertices = np.concatenate(lines)
    offsets = np.concatenate([[0], np.cumsum([len(line) for line in lines])])
    middles = np.stack([_middle(line) for line in lines])
    aside, turned = _beside(middles, vertices, offsets)
    for i, feature in enumerate(found):
        same = np.abs(turned[i]) < BESIDE_RAD
        same[i] = False
        near = same & (np.abs(aside[i]) > BESIDE_M[0]) & (np.abs(aside[i]) < BESIDE_M[1]) & (connector == connector[i])
        for side, sign, name in ((left, 1.0, "left"), (right, -1.0, "right")):
            named = [number[key] for key in _named_neighbours(feature, name) if key in number]
            named = [other for other in named if same[other]]
            if named:
                side[i] = named[0]
            elif (rows := np.flatnonzero(near & (sign * aside[i] > 0))).size:
                side[i] = rows[np.argmin(np.abs(aside[i, rows]))]
    return left, right


def _named_neighbours(feature: MapFeature, side: str) -> list[str]:
    """Ids that a lane names as its neighbours, in the spellings of the data sets."""
    said = feature.attributes
    listed = said.get(f"{side}_neighbors", said.get(f"{side}_neighbor"))
    if isinstance(listed, (list, tuple)):
        return [str(n.get("feature_id") if isinstance(n, dict) else n) for n in listed]
    single = said.get(f"{side}_neighbor_id")
    return [] if single is None else [str(single)]


def _middle(line: np.ndarray) -> np.ndarray:
    """x, y, heading halfway along a line."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    half = along[-1] / 2
    k = min(int(np.searchsorted(along, half, side="right")) - 1, len(line) - 2)
    step = line[k + 1] - line[k]
    place = line[k] + step * ((half - along[k]) / (along[k + 1] - along[k]))
    return np.array([place[0], place[1], np.arctan2(step[1], step[0])])


@njit(cache=True, nogil=True)
def _beside(middles, vertices, offsets):  # type: ignore[no-untyped-def]
    """Signed offset (left positive) and heading difference [L, L] from lane i's middle to lane j's nearest segment;
    infinite where that place lies before lane j's start or past its end: it does not run beside."""
    L = middles.shape[0]
    aside, turned = np.full((L, L), np.inf), np.full((L, L), np.inf)
    for i in range(L):
        x, y, heading = middles[i]
        cos, sin = np.cos(heading), np.sin(heading)
        for j in range(L):
            best = np.inf
            first, last = offsets[j], offsets[j + 1] - 1
            for k in range(first, last):
                dx, dy = vertices[k + 1, 0] - vertices[k, 0], vertices[k + 1, 1] - vertices[k, 1]
                ox, oy = x - vertices[k, 0], y - vertices[k, 1]
                along = (ox * dx + oy * dy) / max(dx * dx + dy * dy, 1e-18)
                share = min(max(along, 0.0), 1.0)
                gx, gy = share * dx - ox, share * dy - oy
                gap = gx * gx + gy * gy
                if gap < best:
                    best = gap
                    if (k == first and along < 0.0) or (k == last - 1 and along > 1.0):
                        aside[i, j], turned[i, j] = np.inf, np.inf
                    else:
                        aside[i, j] = cos * gy - sin * gx
                        turn = np.arctan2(dy, dx) - heading
                        turned[i, j] = (turn + np.pi) % (2 * np.pi) - np.pi
    return aside, turned
