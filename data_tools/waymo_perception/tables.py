"""Extra tables of a Waymo perception log: their columns, and the rows collected while its frames pass."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from drive.logs.schema import MATRIX4
from drive.logs.standard import STANDARD_TABLES
from drive.logs.tables import columns_table
from drive.logs.writer import LogWriter

_NUMBERS = pa.list_(pa.float64())
_CAMERA_LABELS = pa.schema(
    [
        *STANDARD_TABLES["camera_labels"],
        ("detection_difficulty", pa.int8()), ("tracking_difficulty", pa.int8()), ("laser_object", pa.string()),
    ]
)  # fmt: skip

TABLES = {
    # As recorded: pose (global from vehicle, 4x4), what is subtracted from map coordinates, what the segment is like.
    "frame_attributes": pa.schema(
        [
            ("frame", pa.int32()), ("pose", MATRIX4), ("map_pose_offset", _NUMBERS), ("time_of_day", pa.string()),
            ("location", pa.string()), ("weather", pa.string()), ("laser_object_types", pa.list_(pa.int32())),
            ("laser_object_counts", pa.list_(pa.int32())), ("camera_object_types", pa.list_(pa.int32())),
            ("camera_object_counts", pa.list_(pa.int32())),
        ]
    ),
    # Rolling shutter in seconds; velocity at the pose's time: v_x v_y v_z (m/s, global) w_x w_y w_z (rad/s, vehicle).
    "images": pa.schema(
        [
            ("sensor", pa.string()), ("row", pa.int32()), ("pose", _NUMBERS), ("pose_timestamp", pa.float64()),
            ("shutter", pa.float64()), ("camera_trigger_time", pa.float64()),
            ("camera_readout_done_time", pa.float64()), ("velocity", _NUMBERS),
        ]
    ),
    # What of a range image no point holds (range_image.py): one row a sweep and return.
    "range_images": pa.schema(
        [
            ("sensor", pa.string()), ("row", pa.int32()), ("return", pa.uint8()), ("height", pa.int32()),
            ("width", pa.int32()), ("fill", pa.list_(pa.float32())), ("pixels", pa.list_(pa.int32())),
            ("values", pa.list_(pa.float32())),
        ]
    ),
    "camera_labels": _CAMERA_LABELS,
    "projected_lidar_labels": _CAMERA_LABELS,
    "camera_segmentation": pa.schema(
        [
            ("sensor", pa.string()), ("row", pa.int32()), ("panoptic_label_divisor", pa.int32()),
            ("panoptic_label", pa.binary()), ("sequence_id", pa.string()), ("num_cameras_covered", pa.binary()),
            ("local_instance", pa.list_(pa.int32())), ("global_instance", pa.list_(pa.int32())),
            ("is_tracked", pa.list_(pa.bool_())),
        ]
    ),
    "camera_synced_boxes": pa.schema(
        [
            ("frame", pa.int32()), ("track", pa.string()), ("most_visible_camera", pa.string()),
            ("box", _NUMBERS),
        ]
    ),
    "no_label_zones": pa.schema(
        [("frame", pa.int32()), ("id", pa.string()), ("x", _NUMBERS), ("y", _NUMBERS)]
    ),
    "point_labels": STANDARD_TABLES["point_labels"],
}  # fmt: skip


class Rows:
    """Rows of the tables above, by name."""

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in TABLES}

    def add(self, name: str, *values: Any) -> None:
        """Append one row."""
        self._rows[name].append(values)

    def write(self, log: LogWriter) -> None:
        """Add every table that has a row to the log, frame_attributes always."""
        for name, rows in self._rows.items():
            if rows or name == "frame_attributes":
                columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in TABLES[name]]
                log.add_table(name, columns_table(TABLES[name], columns))
