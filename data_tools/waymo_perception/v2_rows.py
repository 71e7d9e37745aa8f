"""Rows of v2 components as the messages that v1 would hold: field names of ``messages``, nulls left out."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_tools.waymo_perception.range_image import to_float32
from data_tools.wire import Columns
from drive.errors import UserError

_AGAIN = "copy the file again"

Row = dict[str, Any]


def _present(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _number(row: Row, name: str, place: str) -> float | None:
    value = row.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise UserError(place, f"{name} is {value!r}, not a number", _AGAIN)
    return value


def _array(row: Row, name: str, dtype: Any = np.float64) -> np.ndarray:
    value = row.get(name)
    return np.zeros(0, dtype) if value is None else np.asarray(value, dtype)


def lidar_calibration(row: Row) -> Row:
    """LASER_CALIBRATION without its name."""
    return {
        "extrinsic": {"transform": _array(row, "extrinsic.transform")},
        "beam_inclinations": _array(row, "beam_inclination.values"),
        **_present(
            beam_inclination_min=row.get("beam_inclination.min"), beam_inclination_max=row.get("beam_inclination.max")
        ),
    }


def camera_calibration(row: Row) -> Row:
    """CAMERA_CALIBRATION without its name."""
    names = ("f_u", "f_v", "c_u", "c_v", "k1", "k2", "p1", "p2", "k3")
    values = [row.get(f"intrinsic.{name}") for name in names]
    return {
        "intrinsic": np.array([np.nan if v is None else v for v in values], np.float64),
        "extrinsic": {"transform": _array(row, "extrinsic.transform")},
        **_present(
            width=row.get("width"), height=row.get("height"),
            rolling_shutter_direction=row.get("rolling_shutter_direction"),
        ),
    }  # fmt: skip


def camera_image(row: Row) -> Row:
    """CAMERA_IMAGE without its name and segmentation."""
    velocity = _present(
        **{f"v_{a}": row.get(f"velocity.linear_velocity.{a}") for a in "xyz"},
        **{f"w_{a}": row.get(f"velocity.angular_velocity.{a}") for a in "xyz"},
    )
    pose = row.get("pose.transform")
    return _present(
        image=row.get("image"),
        pose=None if pose is None else {"transform": pose},
        velocity=velocity or None,
        pose_timestamp=row.get("pose_timestamp"),
        shutter=row.get("rolling_shutter_params.shutter"),
        camera_trigger_time=row.get("rolling_shutter_params.camera_trigger_time"),
        camera_readout_done_time=row.get("rolling_shutter_params.camera_readout_done_time"),
    )


def camera_segmentation(row: Row, place: str) -> Row:
    """CAMERA_SEGMENTATION."""
    head = "instance_id_to_global_id_mapping"
    local, world = (
        _array(row, f"{head}.local_instance_ids", np.int32),
        _array(row, f"{head}.global_instance_ids", np.int32),
    )
    tracked = _array(row, f"{head}.is_tracked", bool)
    if not len(local) == len(world) == len(tracked):
        raise UserError(place, "instance ids of different number", _AGAIN)
    values = {"local": local, "global": world, "is_tracked": tracked}
    seen = {name: np.ones(len(local), bool) for name in values}
    return {
        "instances": Columns(len(local), values, seen),
        **_present(
            panoptic_label_divisor=row.get("panoptic_label_divisor"), panoptic_label=row.get("panoptic_label"),
            sequence_id=row.get("sequence_id"), num_cameras_covered=row.get("num_cameras_covered"),
        ),
    }  # fmt: skip


def return_matrix(row: Row, kind: int, place: str, *, integers: bool) -> tuple[np.ndarray | None, np.ndarray]:
    """Values and shape of a return's image; (None, ...) where the row has none."""
    values, shape = (row.get(f"range_image_return{kind}.{name}") for name in ("values", "shape"))
    if values is None or not len(values):
        return None, np.zeros(0, np.int64)
    if values.dtype.kind not in ("iu" if integers else "fiu") or shape is None:
        raise UserError(place, f"return {kind} holds {values.dtype} without a shape or of a wrong type", _AGAIN)
    if integers and (values.max() >= 1 << 31 or values.min() < -(1 << 31)):
        raise UserError(place, f"return {kind} holds numbers beyond 32 bits", _AGAIN)
    return values.astype(np.int32) if integers else to_float32(values), shape


def _box(row: Row, head: str, place: str) -> Row:
    size = ("length", "width", "height")
    values = {f"center_{a}": _number(row, f"{head}.center.{a}", place) for a in "xyz"}
    values |= {name: _number(row, f"{head}.size.{a}", place) for name, a in zip(size, "xyz", strict=True)}
    return _present(**values, heading=_number(row, f"{head}.heading", place))


def box_label(row: Row, place: str) -> Row:
    """LABEL of a lidar_box row."""
    motion = {f"speed_{a}": _number(row, f"speed.{a}", place) for a in "xyz"}
    motion |= {f"accel_{a}": _number(row, f"acceleration.{a}", place) for a in "xyz"}
    return {
        "box": _box(row, "box", place),
        "metadata": _present(**motion),
        **_present(
            type=row.get("type"), id=row.get("laser_object_id"),
            num_lidar_points=row.get("num_lidar_points_in_box"),
            num_top_lidar_points=row.get("num_top_lidar_points_in_box"),
            detection_difficulty=row.get("difficulty_level.detection"),
            tracking_difficulty=row.get("difficulty_level.tracking"),
        ),
    }  # fmt: skip


def synced_box(row: Row) -> Row:
    """The fields of LABEL that a lidar_camera_synced_box row adds."""
    camera = row.get("most_visible_camera_name")
    box = _box(row, "camera_synced_box", "")
    return _present(most_visible_camera=None if camera is None else str(camera), camera_synced_box=box or None)


def camera_label(row: Row, key: str, place: str) -> Row:
    """LABEL of a camera_box or projected_lidar_box row."""
    return {
        "box": _box(row, "box", place),
        **_present(
            type=row.get("type"), id=row.get(key), detection_difficulty=row.get("difficulty_level.detection"),
            tracking_difficulty=row.get("difficulty_level.tracking"),
        ),
    }  # fmt: skip


def stats(row: Row) -> Row:
    """STATS."""
    counted = {}
    for side in ("lidar", "camera"):
        types = _array(row, f"{side}_object_counts.types", np.int32)
        counts = _array(row, f"{side}_object_counts.counts", np.int32)
        if len(types) == len(counts):
            values = {"type": types, "count": counts}
            present = {name: np.ones(len(types), bool) for name in values}
            counted["laser_object_counts" if side == "lidar" else "camera_object_counts"] = Columns(
                len(types), values, present
            )
    return {**counted, **_present(**{name: row.get(name) for name in ("time_of_day", "location", "weather")})}
