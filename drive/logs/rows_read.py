"""Records (drive.logs.records) from rows of the tables: what drive.logs.rows makes, read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from drive.errors import UserError
from drive.logs import schema
from drive.logs.maps import MapFeature
from drive.logs.records import FrameBoxes, Sensor
from drive.logs.tables import matrix, numbers


def sensor_of(row: dict[str, Any]) -> Sensor:
    """A row of schema.SENSORS."""
    intrinsics, model = row["intrinsics"], row["distortion_model"]
    return Sensor(
        name=row["name"],
        modality=row["modality"],
        ego_from_sensor=np.array(row["ego_from_sensor"]).reshape(4, 4),
        columns=tuple(row["columns"]),
        intensity_max=row["intensity_max"],
        intrinsics=None if intrinsics is None else np.array(intrinsics).reshape(3, 3),
        distortion=None if model is None else (model, tuple(row["distortion"])),
        width=row["width"],
        height=row["height"],
        source_translation=np.array(row["source_translation"]),
        source_rotation=np.array(row["source_rotation"]),
        source_token=row["source_token"],
    )


def frame_boxes(rows: pa.RecordBatch, track_tokens: list[str]) -> FrameBoxes:
    """The rows of schema.BOXES of one frame."""
    track = rows["track"].to_numpy()
    lidar, lidar_valid = numbers(rows["num_lidar_points"], np.int64)
    radar, radar_valid = numbers(rows["num_radar_points"], np.int64)
    return FrameBoxes(
        boxes=matrix(rows["box"], 9),
        category=rows["category"].to_pylist(),
        track=track,
        track_token=[track_tokens[t] for t in track],
        velocity_valid=rows["velocity_valid"].to_numpy(zero_copy_only=False),
        num_lidar_points=lidar,
        num_lidar_points_valid=lidar_valid,
        num_radar_points=radar,
        num_radar_points_valid=radar_valid,
        attributes=rows["attributes"].to_pylist(),
        visibility=rows["visibility"].to_pylist(),
        source_token=rows["source_token"].to_pylist(),
        source_translation=matrix(rows["source_translation"], 3),
        source_rotation=matrix(rows["source_rotation"], 4),
        source_size=matrix(rows["source_size"], 3),
        interpolated=rows["interpolated"].to_numpy(zero_copy_only=False),
        extra={name: rows[name].to_pylist() for name in rows.column_names[len(schema.BOXES) :]},
    )


def map_feature(row: dict[str, Any], file: Path) -> MapFeature:
    """A row of schema.MAP; UserError naming `file` where its attributes are not JSON."""
    try:
        attributes = json.loads(row["attributes"])
    except (ValueError, TypeError) as error:
        what = f"attributes of {row['feature_id']!r} are not JSON ({error})"
        raise UserError(file, what, "it is damaged: convert this log again") from error
    return MapFeature(
        feature_id=row["feature_id"],
        kind=row["kind"],
        geometry=np.array(row["geometry"], np.float64).reshape(-1, 3),
        is_polygon=row["is_polygon"],
        holes=tuple(np.array(hole, np.float64).reshape(-1, 3) for hole in row["holes"]),
        attributes=attributes,
        predecessors=tuple(row["predecessors"]),
        successors=tuple(row["successors"]),
    )
