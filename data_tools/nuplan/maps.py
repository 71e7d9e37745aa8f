"""The part of a nuPlan map that lies around a log's path (nuPlan and NAVSIM)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_tools.nuplan.geopackage import read_geopackage
from drive.errors import UserError
from drive.logs.schema import NAME_PATTERN
from drive.logs.writer import LogWriter


def add_map(log: LogWriter, folder: Path, name: str, path: np.ndarray) -> None:
    """Add the features within 150 m of the places ``path`` [T, 3]; ``name`` is the map's (us-ma-boston ...).

    Raises:
        UserError: the folder has no ``<name>/<version>/map.gpkg``, or it is damaged.
    """
    versions = sorted((folder / name).glob("*/map.gpkg")) if NAME_PATTERN.fullmatch(name) else []
    if not versions:
        what = f"holds no {name or '?'}/<version>/map.gpkg"
        raise UserError(folder, what, "unpack the maps there, or leave --maps out")
    step = max(1, len(path) // 2000)  # a place every few metres is enough for a radius of 150 m
    for feature in read_geopackage(versions[-1]).near_path(path[::step, :2]):
        log.add_map_feature(
            feature.feature_id, feature.kind, feature.geometry, holes=feature.holes, is_polygon=feature.is_polygon,
            attributes=feature.attributes, predecessors=feature.predecessors, successors=feature.successors,
        )  # fmt: skip
