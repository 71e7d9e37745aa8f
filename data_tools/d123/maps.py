"""123D's map table and our map features, both ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_tools.d123.msgpack import MsgpackError, pack, unpack
from data_tools.nuplan.wkb import WkbError, decode_wkb, encode_wkb
from drive.errors import UserError
from drive.geometry.polylines import project_to_polyline
from drive.logs.maps import MapFeature

LANE, LANE_GROUP, INTERSECTION, STOP_ZONE, ROAD_EDGE, ROAD_LINE, SPEED_BUMP = 0, 1, 2, 7, 8, 9, 10
# Layers in the order of their numbers, as kinds of ours.
KINDS = (
    "lane", "road_block", "road_segment", "ped_crossing", "walkway", "carpark_area", "drivable_area", "stop_line",
    "road_edge", "road_line", "speed_bump",
)  # fmt: skip
# Kinds of ours that have another name there.
_WRITTEN = {kind: layer for layer, kind in enumerate(KINDS) if kind not in ("road_block", "road_segment")} | {
    "lane_connector": LANE, "road_divider": ROAD_LINE, "lane_divider": ROAD_LINE,
}  # fmt: skip
_STOP_TYPES = ("UNKNOWN", "TRAFFIC_LIGHT", "STOP_SIGN", "YIELD", "PED_CROSSING", "TURN_STOP")


def read_map(table: pa.Table, path: Path) -> Iterator[MapFeature]:
    """Features of a map table (object_id, map_layer, features, wkb); a lane also gives its ``centerline``."""
    missing = [name for name in ("object_id", "map_layer", "features", "wkb") if name not in table.column_names]
    if missing:
        raise UserError(path, f"map has no column {missing[0]}", "convert the map again")
    for number, row in enumerate(table.select(["object_id", "map_layer", "features", "wkb"]).to_pylist()):
        place = f"{path}: row {number}"
        try:
            layer, key = row["map_layer"], str(row["object_id"])
            said = unpack(row["features"])
            shapes = decode_wkb(row["wkb"])
            if not isinstance(said, dict) or not 0 <= layer < len(KINDS):
                raise MsgpackError("features of an unknown layer")
            before, after = (_ids(said.get(name)) for name in ("predecessor_ids", "successor_ids"))
        except (MsgpackError, WkbError, TypeError, AttributeError) as error:
            raise UserError(place, f"damaged map feature ({error})", "convert the map again") from None
        plain = {name: value for name, value in said.items() if isinstance(name, str) and _is_plain(value)}
        if layer == INTERSECTION:
            plain["is_intersection"] = True
        for part, shape in enumerate(shapes):
            name = key if not part else f"{key}#{part}"
            yield MapFeature(
                name, KINDS[layer], shape.rings[0], shape.is_polygon, shape.rings[1:], plain, before, after
            )
        centre = said.get("centerline")
        if (
            layer == LANE
            and isinstance(centre, np.ndarray)
            and centre.ndim == 2
            and centre.shape[1] == 3
            and len(centre)
        ):
            if not np.isfinite(centre).all():
                raise UserError(place, "the centre line is not finite", "convert the map again")
            yield MapFeature(key, "centerline", np.array(centre, np.float64), False)


def _ids(value: Any) -> tuple[str, ...]:
    return tuple(str(v) for v in value) if isinstance(value, list) else ()


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) < 100 and all(isinstance(v, int) for v in value)
    return isinstance(value, (bool, int, str)) or (isinstance(value, float) and np.isfinite(value))


def map_table(features: Sequence[MapFeature], metadata: dict[str, Any]) -> tuple[pa.Table, dict[str, int]]:
    """The map table, and the number that each lane's id has in it (for traffic lights)."""
    centres = {f.feature_id: f.geometry for f in features if f.kind == "centerline" and len(f.geometry) > 1}
    numbers: dict[tuple[int, str], int] = {}
    counts: Counter[int] = Counter()
    rows = []
    chosen = [f for f in features if _writable(f, centres)]
    for feature in chosen:
        layer = _WRITTEN[feature.kind]
        numbers[layer, f"{feature.kind}:{feature.feature_id}"] = counts[layer]
        counts[layer] += 1
    lanes = {key.split(":", 1)[1]: number for (layer, key), number in numbers.items() if layer == LANE}
    for feature in chosen:
        layer = _WRITTEN[feature.kind]
        rings = [feature.geometry, *feature.holes] if feature.is_polygon else [feature.geometry]
        said = _said(feature, layer, centres.get(feature.feature_id), lanes)
        number = numbers[layer, f"{feature.kind}:{feature.feature_id}"]
        rows.append((number, layer, pack(said), encode_wkb(rings, is_polygon=feature.is_polygon)))
    rows.sort(key=lambda row: (row[1], row[0]))
    table = pa.table(
        {
            "object_id": pa.array([row[0] for row in rows], pa.int64()),
            "map_layer": pa.array([row[1] for row in rows], pa.int8()),
            "features": pa.array([row[2] for row in rows], pa.binary()),
            "wkb": pa.array([row[3] for row in rows], pa.binary()),
        }
    )
    return table.replace_schema_metadata({b"metadata": pack(metadata)}), lanes


def _writable(feature: MapFeature, centres: dict[str, np.ndarray]) -> bool:
    """Whether 123D has a layer for it: lanes need a centre line, surfaces an area, lines a line."""
    layer = _WRITTEN.get(feature.kind)
    if layer is None or (layer == LANE and feature.feature_id not in centres):
        return False
    line = layer in (ROAD_EDGE, ROAD_LINE)
    return feature.is_polygon != line and len(feature.geometry) >= (2 if line else 3)


def _said(feature: MapFeature, layer: int, centre: np.ndarray | None, lanes: dict[str, int]) -> dict[str, Any]:
    """The features column of a row, with every key that py123d reads."""
    if layer in (ROAD_EDGE, ROAD_LINE):
        return {"road_edge_type": 0} if layer == ROAD_EDGE else {"road_line_type": 1}
    outline = np.concatenate([feature.geometry, feature.geometry[:1]])
    if layer == LANE and centre is not None:
        left, right = _sides(feature.geometry, centre)
        speed = feature.attributes.get("speed_limit_mps")
        return {
            "lane_type": 0, "lane_group_id": None, "left_boundary": left, "right_boundary": right,
            "centerline": centre, "left_lane_id": None, "right_lane_id": None,
            "predecessor_ids": [lanes[i] for i in feature.predecessors if i in lanes],
            "successor_ids": [lanes[i] for i in feature.successors if i in lanes],
            "speed_limit_mps": float(speed) if isinstance(speed, (int, float)) else None, "outline": outline,
        }  # fmt: skip
    if layer == STOP_ZONE:
        kind = str(feature.attributes.get("stop_line_type", "")).removesuffix("_SIGN")
        known = {name.removesuffix("_SIGN"): i for i, name in enumerate(_STOP_TYPES)}
        return {"outline": outline, "stop_zone_type": known.get(kind, 0), "lane_ids": []}
    return {"outline": outline} | ({"speed_bump_type": 0} if layer == SPEED_BUMP else {})


def _sides(ring: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left and right boundary of a lane: the outline's vertices on either side of the centre line, in its direction."""
    along, offset = project_to_polyline(centre[:, :2], ring[:, :2])
    sides = []
    for keep in (offset > 0, offset <= 0):
        order = np.argsort(along[keep], kind="stable")
        side = ring[keep][order]
        sides.append(side if len(side) > 1 else centre)
    return sides[0], sides[1]
