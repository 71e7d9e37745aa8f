"""Laser labels to boxes, camera labels to rectangles, no-label zones."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_tools.waymo_perception.checks import finite, named, required
from data_tools.waymo_perception.messages import CAMERAS, TYPES
from drive.errors import UserError
from drive.geometry.angles import wrap_angle
from drive.geometry.rigid import quaternion_from_yaw
from drive.logs.writer import LogWriter

_BOX = ("center_x", "center_y", "center_z", "length", "width", "height", "heading")
_MOTION = ("speed_x", "speed_y", "speed_z", "accel_x", "accel_y", "accel_z")

Row = tuple[Any, ...]


def add_boxes(
    log: LogWriter, frame: int, labels: list[dict[str, Any]], global_from_ego: np.ndarray, place: str
) -> list[Row]:
    """Add the laser labels of a frame; returns rows (frame, track, most visible camera, synced box [7])."""
    boxes, motion, moving, tracks, kinds, synced = [], [], [], [], [], []
    for i, label in enumerate(labels):
        what = f"laser label {i}"
        boxes.append(_box(required(label, "box", what, place), what, place))
        metadata = label.get("metadata", {})
        motion.append([metadata.get(name) for name in _MOTION])
        moving.append("speed_x" in metadata and "speed_y" in metadata)
        tracks.append(required(label, "id", what, place))
        kinds.append(_kind(label, what, place))
        if "camera_synced_box" in label:
            box = _box(label["camera_synced_box"], f"{what}'s camera_synced_box", place)
            synced.append((frame, tracks[-1], label.get("most_visible_camera"), box))
    count = len(labels)
    raw = np.array(boxes, np.float64).reshape(count, 7)
    recorded = {name: _optional([row[k] for row in motion], np.float64) for k, name in enumerate(_MOTION)}
    speed = np.stack([recorded[name].filled(0.0) for name in _MOTION[:3]], axis=1)
    finite([recorded[name].filled(0.0) for name in _MOTION], "speed or acceleration of a laser label", place)
    out = np.zeros((count, 9))
    out[:, :7] = raw
    out[:, 6] = wrap_angle(raw[:, 6])
    valid = np.array(moving, bool)
    out[:, 7:] = np.where(valid[:, None], (speed @ global_from_ego[:3, :3])[:, :2], 0.0)
    extra: dict[str, Any] = {f"source_{name}": values for name, values in recorded.items()}
    for name in ("detection_difficulty", "tracking_difficulty"):  # 0 is the enumeration's UNKNOWN: not set
        extra[name] = _optional([label.get(name) or None for label in labels], np.int8)
    extra["num_top_lidar_points"] = _optional([label.get("num_top_lidar_points") for label in labels], np.int32)
    log.add_boxes(
        frame, out, kinds, tracks, velocity_valid=valid,
        # Where the frame has counts at all, a label without one has none: 0, as the official reader takes it.
        num_lidar_points=np.array([label.get("num_lidar_points", 0) for label in labels], np.int32)
        if any("num_lidar_points" in label for label in labels)
        else None,
        source_translation=raw[:, :3], source_rotation=quaternion_from_yaw(raw[:, 6]), source_size=raw[:, 3:6],
        extra=extra,
    )  # fmt: skip
    return synced


def camera_rows(groups: list[dict[str, Any]], frame: int, what: str, place: str) -> list[Row]:
    """Rows of the standard table camera_labels and then: detection and tracking difficulty, laser object."""
    rows = []
    for group in groups:
        sensor = f"CAM_{named(CAMERAS, group.get('name', 0), f'camera of {what}', place)}"
        for i, label in enumerate(group["labels"]):
            here = f"{what} {i} of {sensor}"
            box = required(label, "box", here, place)
            x, y, w, h = finite([box.get(n, np.nan) for n in ("center_x", "center_y", "length", "width")], here, place)
            rows.append(
                (
                    frame, sensor, _kind(label, here, place), label.get("id"), x - w / 2, y - h / 2, x + w / 2,
                    y + h / 2, label.get("detection_difficulty") or None, label.get("tracking_difficulty") or None,
                    label.get("association", {}).get("laser_object_id"),
                )
            )  # fmt: skip
    return rows


def zone_rows(zones: list[dict[str, Any]], frame: int, place: str) -> list[Row]:
    """No-label zones: frame, id, x [K], y [K] (global coordinates)."""
    rows = []
    for zone in zones:
        x, y = (finite(zone[axis], "a no-label zone", place) for axis in "xy")
        if len(x) != len(y):
            raise UserError(place, f"a no-label zone has {len(x)} x and {len(y)} y", "copy the file again")
        rows.append((frame, zone.get("id"), x, y))
    return rows


def _box(box: dict[str, Any], what: str, place: str) -> np.ndarray:
    return finite([box.get(name, np.nan) for name in _BOX], f"the box of {what}", place)


def _kind(label: dict[str, Any], what: str, place: str) -> str:
    return named(TYPES, label.get("type", 0), f"type of {what}", place)


def _optional(values: list[Any], dtype: Any) -> np.ma.MaskedArray:
    mask = [value is None for value in values]
    return np.ma.MaskedArray(np.array([0 if value is None else value for value in values], dtype), mask)
