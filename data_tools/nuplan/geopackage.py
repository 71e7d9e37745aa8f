"""nuPlan's maps (GeoPackage: SQLite and well-known binary) as map features in the projected system of the logs."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.nuplan.sqlite import Database, open_database
from data_tools.nuplan.utm import to_utm, utm_zone
from data_tools.nuplan.wkb import Shape, WkbError, decode_wkb
from data_tools.nuscenes.maps import RegionMap
from drive.errors import UserError
from drive.logs.maps import MapFeature

_MEND = "copy map.gpkg again"
_GEOGRAPHIC = 4326
_ENVELOPE_BYTES = {0: 0, 1: 32, 2: 48, 3: 48, 4: 64}

# Layers with one feature a row: kind in our log. Lanes and connectors are put together of several layers below.
_PLAIN_LAYERS = {
    "lane_groups_polygons": "road_block",
    "lane_group_connectors": "road_block_connector",
    "intersections": "road_segment",
    "crosswalks": "ped_crossing",
    "walkways": "walkway",
    "carpark_areas": "carpark_area",
    "generic_drivable_areas": "drivable_area",
    "stop_polygons": "stop_line",
    "boundaries": "lane_divider",
}
STOP_TYPES = {
    "0": "PED_CROSSING",
    "1": "STOP_SIGN",
    "2": "TRAFFIC_LIGHT",
    "3": "TURN_STOP",
    "4": "YIELD",
}  # StopLineType


@functools.lru_cache(maxsize=2)  # four cities; the logs of a worker come sorted by date, mostly of one city
def read_geopackage(path: Path) -> RegionMap:
    """All features of a map, global (UTM) coordinates, z = 0.

    Raises:
        UserError: not a GeoPackage of nuPlan, a damaged geometry, a coordinate system that is neither geographic nor
            the projected one that ``meta`` names.
    """
    with open_database(path, "map") as database:
        projected = _projected_system(database)
        systems = dict(database.rows("SELECT table_name, srs_id FROM gpkg_geometry_columns"))
        features: list[MapFeature] = []
        for layer, kind in _PLAIN_LAYERS.items():
            if layer in systems:
                features += _plain(database, layer, kind, systems[layer], projected)
        features += _lanes(database, systems, projected)
    bounds = [(*f.geometry[:, :2].min(axis=0), *f.geometry[:, :2].max(axis=0)) for f in features]
    return RegionMap(features, np.array(bounds, dtype=np.float64).reshape(-1, 4))


def _projected_system(database: Database) -> int:
    rows = list(database.rows("SELECT value FROM meta WHERE key = 'projectedCoordSystem'"))
    match = re.fullmatch(r"(?:EPSG:)?(\d{4,6})", str(rows[0][0]).strip(), re.IGNORECASE) if rows else None
    if match is None or utm_zone(int(match[1])) is None:
        found = rows[0][0] if rows else "nothing"
        raise UserError(database.path, f"meta projectedCoordSystem is {found!r}, not a UTM zone", _MEND)
    return int(match[1])


Row = tuple[str, dict[str, Any], list[Shape]]  # fid, columns without geometry, shapes in global coordinates


def _layer(database: Database, layer: str, system: Any, projected: int) -> Iterator[Row]:
    """Rows of a layer; {} columns where a layer is not there."""
    names = database.columns(layer)
    shape_column = next((name for name in ("geom", "geometry") if name in names), None)
    if "fid" not in names or shape_column is None:
        raise UserError(database.path, f"layer {layer} has no fid or no geometry", _MEND)
    if system not in (_GEOGRAPHIC, projected):
        raise UserError(database.path, f"layer {layer} is in system {system}, not {_GEOGRAPHIC} or {projected}", _MEND)
    for row in database.rows(f'SELECT * FROM "{layer}" ORDER BY fid'):
        columns = dict(zip(names, row, strict=True))
        fid, data = str(columns.pop("fid")), columns.pop(shape_column)
        place = f"{database.path}: {layer} {fid}"
        yield fid, columns, _shapes(data, place, projected if system == _GEOGRAPHIC else None)


def _shapes(data: Any, place: str, projected: int | None) -> list[Shape]:
    """Shapes of a GeoPackage blob: magic, version, flags, system, envelope, then well-known binary."""
    if not isinstance(data, bytes) or len(data) < 8 or data[:2] != b"GP":
        raise UserError(place, "no GeoPackage geometry", _MEND)
    envelope = _ENVELOPE_BYTES.get(data[3] >> 1 & 7)
    if envelope is None:
        raise UserError(place, "unknown envelope", _MEND)
    if data[3] >> 4 & 1:  # the flag of an empty geometry
        return []
    try:
        shapes = decode_wkb(data, 8 + envelope)
        if projected is None:
            return shapes
        return [Shape(tuple(_project(ring, projected) for ring in s.rings), s.is_polygon) for s in shapes]
    except ValueError as error:  # also WkbError
        kind = "damaged " if isinstance(error, WkbError) else ""
        raise UserError(place, f"{kind}{error}", _MEND) from None


def _project(ring: np.ndarray, epsg: int) -> np.ndarray:
    return np.concatenate([to_utm(ring[:, :2], epsg), ring[:, 2:]], axis=1)


def _features(
    fid: str, kind: str, shapes: list[Shape], attributes: dict[str, Any], before: list[str], after: list[str]
) -> Iterator[MapFeature]:
    """One feature a shape; the second and later shapes of a row are named ``fid#1`` ..."""
    for number, shape in enumerate(shapes):
        yield MapFeature(
            fid if not number else f"{fid}#{number}", kind, shape.rings[0], shape.is_polygon, shape.rings[1:],
            attributes, tuple(before), tuple(after),
        )  # fmt: skip


def _plain(database: Database, layer: str, kind: str, system: Any, projected: int) -> Iterator[MapFeature]:
    for fid, columns, shapes in _layer(database, layer, system, projected):
        attributes = _attributes(columns)
        before, after = [], []
        if layer == "lane_group_connectors":
            before, after = [_text(columns.get("from_lane_group_fid"))], [_text(columns.get("to_lane_group_fid"))]
        elif layer == "intersections":
            attributes["is_intersection"] = True
        elif layer == "stop_polygons":
            attributes["stop_line_type"] = STOP_TYPES.get(_text(columns.get("stop_polygon_type_fid")), "UNKNOWN")
        yield from _features(fid, kind, shapes, attributes, before, after)


def _lanes(database: Database, systems: dict[Any, Any], projected: int) -> Iterator[MapFeature]:
    """Lanes, connectors and their centre lines. A connector's ``exit_lane`` is the lane that it comes from."""
    links: dict[str, tuple[str, str, dict[str, Any]]] = {}
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    if "lane_connectors" in systems:
        for fid, columns, _ in _layer(database, "lane_connectors", systems["lane_connectors"], projected):
            come, go = _text(columns.get("exit_lane_fid")), _text(columns.get("entry_lane_fid"))
            links[fid] = come, go, _attributes(columns)
            after.setdefault(come, []).append(fid)
            before.setdefault(go, []).append(fid)
    if "lanes_polygons" in systems:
        for fid, columns, shapes in _layer(database, "lanes_polygons", systems["lanes_polygons"], projected):
            lane = _text(columns.get("lane_fid"), fid)
            yield from _features(lane, "lane", shapes, _attributes(columns), before.get(lane, []), after.get(lane, []))
    areas = "gen_lane_connectors_scaled_width_polygons"
    if areas in systems:
        for fid, columns, shapes in _layer(database, areas, systems[areas], projected):
            link = _text(columns.get("lane_connector_fid"), fid)
            come, go, attributes = links.get(link, ("", "", {}))
            yield from _features(
                link, "lane_connector", shapes, attributes | _attributes(columns),
                [come] if come else [], [go] if go else [],
            )  # fmt: skip
    if "baseline_paths" in systems:
        for fid, columns, shapes in _layer(database, "baseline_paths", systems["baseline_paths"], projected):
            lane_fid, connector_fid = columns.get("lane_fid"), columns.get("lane_connector_fid")
            owner = _text(connector_fid if lane_fid is None else lane_fid, f"path {fid}")
            of = "lane_connector" if lane_fid is None else "lane"
            yield from _features(owner, "centerline", shapes, {"of": of}, [], [])


def _text(value: Any, otherwise: str = "") -> str:
    """A reference as text: the layers write the same id as integer, float (13.0) or text."""
    if value is None:
        return otherwise
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _attributes(columns: dict[str, Any]) -> dict[str, Any]:
    """What JSON can hold; blobs are left out."""
    return {
        name: value
        for name, value in columns.items()
        if isinstance(value, (int, str)) or (isinstance(value, float) and np.isfinite(value))
    }
