"""Columns, units and version of a log folder: the one description that writer and reader share.

A log is one folder::

    log.json              manifest: schema version, name, data set, counts, {file: {bytes, sha256}}
    sensors.arrow         one row a sensor: name, modality, extrinsics, point columns, intrinsics, distortion
    sweeps.arrow          one row a sweep or image of any sensor: time, pose, source names (no payload)
    lidar_<NAME>.arrow    payload, one record batch (of one row) a sweep: points and typed extra columns
    radar_<NAME>.arrow    the same for radars
    camera_<NAME>.arrow   payload, one record batch an image: the file's bytes as they are, width, height
    frames.arrow          one row a labelled instant: time, pose, payload row of every sensor
    boxes.arrow           one row a box, sorted by frame
    tracks.arrow          one row a track: its token in the source, category, first and last frame
    map.arrow             one row a map feature, global coordinates
    extra_<name>.arrow    tables that several data sets have (drive.logs.standard: signals, image labels ...) and tables
                          of one data set only (CAN bus, static scene ...)
    files/<name>          raw files kept as they are

Every file is an Arrow IPC file without compression, so that readers map it into memory and copy nothing; two choices
of the user's (drive.logs.choice; the manifest's ``choice`` names them) change that: points compressed or quantised
(drive.logs.coding), cameras that hold paths instead of bytes (CAMERA_REFERENCE).

Lengths are metres, angles radians, times int64 nanoseconds, quaternions (w, x, y, z). ``source_*`` columns hold the
numbers and names of the data set itself, unchanged. Points are in the frame of their sensor; boxes are in the ego frame
of their labelled instant (box columns of drive.geometry.box), ``source_translation/rotation/size`` beside them as
recorded.
"""

from __future__ import annotations

import re

import pyarrow as pa

SCHEMA_VERSION = 1
MANIFEST = "log.json"
ADDRESS = "address.json"  # only in a cache: where the log's files are fetched from (drive.logs.remote)
MODALITIES = ("lidar", "camera", "radar")

# A log, sensor or table name becomes a file name: letters, digits and . _ + - = only, never hidden.
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,199}")


def _vector(length: int) -> pa.DataType:
    return pa.list_(pa.field("item", pa.float64(), nullable=False), length)


VECTOR3, VECTOR4, BOX9, MATRIX3, MATRIX4 = _vector(3), _vector(4), _vector(9), _vector(9), _vector(16)

SENSORS = pa.schema(
    [
        ("name", pa.string()),
        ("modality", pa.string()),
        ("ego_from_sensor", MATRIX4),  # row-major 4x4
        ("source_translation", VECTOR3),
        ("source_rotation", VECTOR4),
        ("columns", pa.list_(pa.string())),  # of the float32 points; empty for cameras
        ("intensity_max", pa.float64()),  # value of the strongest return; inf = no bound, see Sensor; null = none
        ("intrinsics", MATRIX3),  # row-major 3x3, pixels; null = none
        ("distortion_model", pa.string()),
        ("distortion", pa.list_(pa.float64())),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("source_token", pa.string()),
    ]
)

SWEEPS = pa.schema(
    [
        ("sensor", pa.int32()),  # row of sensors.arrow; the table is sorted by (sensor, payload row)
        ("timestamp_ns", pa.int64()),
        ("pose_translation", VECTOR3),  # global from ego at this instant
        ("pose_rotation", VECTOR4),
        ("is_key_frame", pa.bool_()),
        ("source_timestamp", pa.int64()),
        ("source_name", pa.string()),
        ("source_token", pa.string()),
        ("source_pose_token", pa.string()),
        ("source_pose_timestamp", pa.int64()),  # null = the pose has no time of its own
    ]
)

# Key frames: a nullable int32 column `row_<sensor>` per sensor is appended (null = the sensor has nothing then).
FRAMES = pa.schema(
    [
        ("timestamp_ns", pa.int64()),
        ("pose_translation", VECTOR3),
        ("pose_rotation", VECTOR4),
        ("source_timestamp", pa.int64()),
        ("source_token", pa.string()),
        ("interpolated", pa.bool_()),  # the boxes of this frame were interpolated, nobody labelled it
    ]
)

# Columns of one data set only (KITTI truncation, AV2 ...) follow these, named by the converter.
BOXES = pa.schema(
    [
        ("frame", pa.int32()),
        ("box", BOX9),  # x y z length width height yaw vx vy; ego frame; vx = vy = 0 where velocity_valid is false
        ("category", pa.string()),
        ("track", pa.int32()),  # row of tracks.arrow
        ("velocity_valid", pa.bool_()),
        ("num_lidar_points", pa.int32()),  # null = the data set has no such count
        ("num_radar_points", pa.int32()),
        ("source_translation", VECTOR3),
        ("source_rotation", VECTOR4),
        ("source_size", VECTOR3),
        ("attributes", pa.string()),  # joined by ";"
        ("visibility", pa.string()),
        ("source_token", pa.string()),
        ("interpolated", pa.bool_()),
    ]
)

TRACKS = pa.schema(
    [
        ("source_token", pa.string()),
        ("category", pa.string()),
        ("num_boxes", pa.int32()),
        ("first_frame", pa.int32()),
        ("last_frame", pa.int32()),
    ]
)

MAP = pa.schema(
    [
        ("feature_id", pa.string()),
        ("kind", pa.string()),
        ("is_polygon", pa.bool_()),
        ("geometry", pa.list_(pa.float64())),  # x y z x y z ..., polyline or exterior ring
        ("holes", pa.list_(pa.list_(pa.float64()))),
        ("attributes", pa.string()),  # JSON
        ("predecessors", pa.list_(pa.string())),
        ("successors", pa.list_(pa.string())),
    ]
)

# The tables that every log has. A table may hold further columns (of its data set, of a later version) after these.
TABLES = {
    "sensors.arrow": SENSORS,
    "sweeps.arrow": SWEEPS,
    "frames.arrow": FRAMES,
    "boxes.arrow": BOXES,
    "tracks.arrow": TRACKS,
    "map.arrow": MAP,
}

_SIZE = [("width", pa.int32()), ("height", pa.int32())]
CAMERA_PAYLOAD = pa.schema([("data", pa.binary()), *_SIZE])
# The same where images were not copied: absolute path and size of the recorded file.
CAMERA_REFERENCE = pa.schema([("path", pa.string()), ("bytes", pa.int64()), *_SIZE])


def points_payload(extra: dict[str, pa.DataType]) -> pa.Schema:
    """Schema of a lidar or radar payload file: flat float32 points and one list column a typed extra column."""
    return pa.schema([("points", pa.list_(pa.float32())), *((name, pa.list_(t)) for name, t in extra.items())])


def payload_file(modality: str, sensor: str) -> str:
    """File name of a sensor's payload."""
    return f"{modality}_{sensor}.arrow"
