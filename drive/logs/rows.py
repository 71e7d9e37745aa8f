"""Rows of the small tables sensors, sweeps and frames, from what a writer collected."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from drive.geometry.rigid import from_translation_rotation
from drive.logs import schema
from drive.logs.tables import columns_table


def sensor_row(
    name: str,
    modality: str,
    source_translation: Sequence[float] | np.ndarray,
    source_rotation: Sequence[float] | np.ndarray,
    columns: tuple[str, ...],
    intrinsics: np.ndarray | None,
    distortion: tuple[str, list[float]] | None,
    width: int | None,
    height: int | None,
    source_token: str,
    intensity_max: float | None,
    ego_from_sensor: np.ndarray | None,
) -> dict[str, Any]:
    """One row of schema.SENSORS; arguments: LogWriter.add_sensor."""
    if modality not in schema.MODALITIES:
        raise ValueError(f"modality {modality!r} is not one of {schema.MODALITIES}")
    if modality != "camera" and columns[:3] != ("x", "y", "z"):
        raise ValueError(f"the point columns of {name!r} must begin with x, y, z, not {columns}")
    translation = np.asarray(source_translation, np.float64).reshape(3)
    rotation = np.asarray(source_rotation, np.float64).reshape(4)
    pose = from_translation_rotation(translation, rotation) if ego_from_sensor is None else ego_from_sensor
    return {
        "name": name,
        "modality": modality,
        "ego_from_sensor": np.asarray(pose, np.float64).reshape(16),
        "source_translation": translation,
        "source_rotation": rotation,
        "columns": list(columns),
        "intensity_max": intensity_max,
        "intrinsics": None if intrinsics is None else np.asarray(intrinsics, np.float64).reshape(9),
        "distortion_model": None if distortion is None else distortion[0],
        "distortion": None if distortion is None else [float(v) for v in distortion[1]],
        "width": width,
        "height": height,
        "source_token": source_token,
    }


def map_row(
    feature_id: str,
    kind: str,
    geometry: np.ndarray,
    holes: Sequence[np.ndarray],
    is_polygon: bool,
    attributes: Mapping[str, Any],
    predecessors: Sequence[str],
    successors: Sequence[str],
) -> dict[str, Any]:
    """One row of schema.MAP; arguments: LogWriter.add_map_feature."""
    return {
        "feature_id": feature_id,
        "kind": kind,
        "is_polygon": bool(is_polygon),
        "geometry": np.ascontiguousarray(geometry, np.float64).reshape(-1, 3).reshape(-1),
        "holes": [np.ascontiguousarray(hole, np.float64).reshape(-1, 3).reshape(-1).tolist() for hole in holes],
        "attributes": json.dumps(dict(attributes), sort_keys=True),
        "predecessors": list(predecessors),
        "successors": list(successors),
    }


def sweeps_table(sweeps: Mapping[str, list[tuple[Any, ...]]]) -> pa.Table:
    """schema.SWEEPS from the rows of every sensor, in the order of the sensors."""
    sensors = [i for i, rows in enumerate(sweeps.values()) for _ in rows]
    rows = [row for sensor_rows in sweeps.values() for row in sensor_rows]
    return columns_table(schema.SWEEPS, [sensors, *_transpose(rows, len(schema.SWEEPS) - 1)])


def frames_table(frames: list[tuple[Any, ...]], frame_rows: list[dict[str, int]], sensors: Iterable[str]) -> pa.Table:
    """schema.FRAMES and one column of payload rows a sensor."""
    table = columns_table(schema.FRAMES, _transpose(frames, len(schema.FRAMES)))
    for sensor in sensors:
        rows = pa.array([frame.get(sensor) for frame in frame_rows], pa.int32())
        table = table.append_column(f"row_{sensor}", rows)
    return table


def _transpose(rows: list[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
