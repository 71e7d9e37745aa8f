"""Argoverse 2 vector maps as map features (city frame, metres)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from drive.errors import UserError
from drive.geometry.polylines import arc_length, point_at
from drive.logs.writer import LogWriter

CENTERLINE_POINTS = 10  # the API's NUM_CENTERLINE_INTERP_PTS


def centerline(left: np.ndarray, right: np.ndarray, count: int = CENTERLINE_POINTS) -> np.ndarray:
    """Mean [count, 3] of two boundaries [*, 3] resampled evenly by arc length (av2 ``compute_midpoint_line``)."""
    return (_resample(left, count) + _resample(right, count)) / 2


def _resample(line: np.ndarray, count: int) -> np.ndarray:
    return point_at(line, np.linspace(0.0, arc_length(line)[-1], count))


def add_map(log: LogWriter, data: dict[str, Any], path: Path) -> None:
    """Add all lanes (with derived centre lines), crossings and drivable areas of a map JSON to a log."""
    for key, lane in sorted(data["lane_segments"].items()):
        place = f"{path}: lane_segments.{key}"
        left, right = (_points(lane, f"{side}_lane_boundary", place) for side in ("left", "right"))
        before, after = ([str(i) for i in lane.get(name) or []] for name in ("predecessors", "successors"))
        attributes = {
            name: lane.get(name)
            for name in (
                "lane_type", "is_intersection", "left_lane_mark_type", "right_lane_mark_type",
                "left_neighbor_id", "right_neighbor_id",
            )
        }  # fmt: skip
        # How many points of the ring are the left boundary: the two boundaries can be told apart again.
        attributes["left_boundary_points"] = len(left)
        log.add_map_feature(
            key,
            "lane",
            np.concatenate([left, right[::-1]]),
            is_polygon=True,
            attributes=attributes,
            predecessors=before,
            successors=after,
        )
        given = lane.get("centerline")
        middle = _points(lane, "centerline", place) if given else centerline(left, right)
        log.add_map_feature(
            key,
            "centerline",
            middle,
            is_polygon=False,
            attributes={"lane": key, "derived": not given},
            predecessors=before,
            successors=after,
        )
    for key, crossing in sorted(data.get("pedestrian_crossings", {}).items()):
        place = f"{path}: pedestrian_crossings.{key}"
        edges = [_points(crossing, name, place) for name in ("edge1", "edge2")]
        log.add_map_feature(
            key, "ped_crossing", np.concatenate([edges[0], edges[1][::-1]]), is_polygon=True,
            attributes={"edge1_points": len(edges[0])},
        )  # fmt: skip
    for key, area in sorted(data.get("drivable_areas", {}).items()):
        ring = _points(area, "area_boundary", f"{path}: drivable_areas.{key}")
        log.add_map_feature(key, "drivable_area", ring, is_polygon=True)


def _points(record: dict[str, Any], name: str, place: str) -> np.ndarray:
    try:
        points = np.array([[p["x"], p["y"], p["z"]] for p in record[name]], dtype=np.float64)
    except (KeyError, TypeError, ValueError):
        raise UserError(place, f"{name} is not a list of x, y, z", "copy the map file again") from None
    if len(points) < 2 or not np.isfinite(points).all():
        raise UserError(place, f"{name} has fewer than 2 points or one that is not finite", "copy the map file again")
    return points
