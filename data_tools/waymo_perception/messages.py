"""The messages of Waymo perception v1 that we read, by field number (dataset.proto, label.proto, map.proto and their
neighbours), and the names of their enumerations."""

from __future__ import annotations

from data_tools.wire import (
    BOOL,
    BYTES,
    DOUBLE,
    ENUM,
    FLOAT,
    INT32,
    INT64,
    STRING,
    Description,
    message,
    packed,
    repeated,
    table,
)

LASERS = {1: "TOP", 2: "FRONT", 3: "SIDE_LEFT", 4: "SIDE_RIGHT", 5: "REAR"}
CAMERAS = {
    1: "FRONT", 2: "FRONT_LEFT", 3: "FRONT_RIGHT", 4: "SIDE_LEFT", 5: "SIDE_RIGHT", 6: "REAR_LEFT", 7: "REAR",
    8: "REAR_RIGHT",
}  # fmt: skip
TYPES = {0: "TYPE_UNKNOWN", 1: "TYPE_VEHICLE", 2: "TYPE_PEDESTRIAN", 3: "TYPE_SIGN", 4: "TYPE_CYCLIST"}
SHUTTERS = {
    0: "UNKNOWN", 1: "TOP_TO_BOTTOM", 2: "LEFT_TO_RIGHT", 3: "BOTTOM_TO_TOP", 4: "RIGHT_TO_LEFT", 5: "GLOBAL_SHUTTER",
}  # fmt: skip

TRANSFORM: Description = {1: ("transform", repeated(DOUBLE))}
VECTOR: Description = {1: ("x", DOUBLE), 2: ("y", DOUBLE), 3: ("z", DOUBLE)}

_SHAPE: Description = {1: ("dims", repeated(INT32))}
MATRIX_FLOAT: Description = {1: ("data", packed(FLOAT)), 2: ("shape", message(_SHAPE))}
MATRIX_INT32: Description = {1: ("data", packed(INT32)), 2: ("shape", message(_SHAPE))}
RANGE_IMAGE: Description = {
    2: ("range_image", BYTES),
    3: ("camera_projection", BYTES),
    4: ("pose", BYTES),
    5: ("flow", BYTES),
    6: ("segmentation", BYTES),
}
LASER: Description = {
    1: ("name", ENUM),
    2: ("return1", message(RANGE_IMAGE)),
    3: ("return2", message(RANGE_IMAGE)),
}

CAMERA_CALIBRATION: Description = {
    1: ("name", ENUM),
    2: ("intrinsic", repeated(DOUBLE)),
    3: ("extrinsic", message(TRANSFORM)),
    4: ("width", INT32),
    5: ("height", INT32),
    6: ("rolling_shutter_direction", ENUM),
}
LASER_CALIBRATION: Description = {
    1: ("name", ENUM),
    2: ("beam_inclinations", repeated(DOUBLE)),
    3: ("beam_inclination_min", DOUBLE),
    4: ("beam_inclination_max", DOUBLE),
    5: ("extrinsic", message(TRANSFORM)),
}
_COUNTS: Description = {1: ("type", ENUM), 2: ("count", INT32)}
STATS: Description = {
    1: ("laser_object_counts", table(_COUNTS)),
    2: ("time_of_day", STRING),
    3: ("location", STRING),
    4: ("weather", STRING),
    5: ("camera_object_counts", table(_COUNTS)),
}
CONTEXT: Description = {
    1: ("name", STRING),
    2: ("camera_calibrations", repeated(message(CAMERA_CALIBRATION))),
    3: ("laser_calibrations", repeated(message(LASER_CALIBRATION))),
    4: ("stats", message(STATS)),
}

VELOCITY: Description = {
    1: ("v_x", FLOAT), 2: ("v_y", FLOAT), 3: ("v_z", FLOAT), 4: ("w_x", DOUBLE), 5: ("w_y", DOUBLE), 6: ("w_z", DOUBLE),
}  # fmt: skip
_INSTANCES: Description = {1: ("local", INT32), 2: ("global", INT32), 3: ("is_tracked", BOOL)}
CAMERA_SEGMENTATION: Description = {
    1: ("panoptic_label_divisor", INT32),
    2: ("panoptic_label", BYTES),
    3: ("instances", table(_INSTANCES)),
    4: ("sequence_id", STRING),
    5: ("num_cameras_covered", BYTES),
}
CAMERA_IMAGE: Description = {
    1: ("name", ENUM),
    2: ("image", BYTES),
    3: ("pose", message(TRANSFORM)),
    4: ("velocity", message(VELOCITY)),
    5: ("pose_timestamp", DOUBLE),
    6: ("shutter", DOUBLE),
    7: ("camera_trigger_time", DOUBLE),
    8: ("camera_readout_done_time", DOUBLE),
    10: ("segmentation", message(CAMERA_SEGMENTATION)),
}

BOX: Description = {
    1: ("center_x", DOUBLE), 2: ("center_y", DOUBLE), 3: ("center_z", DOUBLE),
    4: ("width", DOUBLE), 5: ("length", DOUBLE), 6: ("height", DOUBLE), 7: ("heading", DOUBLE),
}  # fmt: skip
METADATA: Description = {
    1: ("speed_x", DOUBLE), 2: ("speed_y", DOUBLE), 3: ("accel_x", DOUBLE), 4: ("accel_y", DOUBLE),
    5: ("speed_z", DOUBLE), 6: ("accel_z", DOUBLE),
}  # fmt: skip
LABEL: Description = {
    1: ("box", message(BOX)),
    2: ("metadata", message(METADATA)),
    3: ("type", ENUM),
    4: ("id", STRING),
    5: ("detection_difficulty", ENUM),
    6: ("tracking_difficulty", ENUM),
    7: ("num_lidar_points", INT32),
    10: ("association", message({1: ("laser_object_id", STRING)})),
    11: ("most_visible_camera", STRING),
    12: ("camera_synced_box", message(BOX)),
    13: ("num_top_lidar_points", INT32),
}
CAMERA_LABELS: Description = {1: ("name", ENUM), 2: ("labels", repeated(message(LABEL)))}
POLYGON: Description = {1: ("x", repeated(DOUBLE)), 2: ("y", repeated(DOUBLE)), 3: ("id", STRING)}

_BOUNDARY: Description = {
    1: ("lane_start", INT32), 2: ("lane_end", INT32), 3: ("feature_id", INT64), 4: ("type", ENUM),
}  # fmt: skip
_NEIGHBOUR: Description = {
    1: ("feature_id", INT64), 2: ("self_start", INT32), 3: ("self_end", INT32), 4: ("neighbor_start", INT32),
    5: ("neighbor_end", INT32), 6: ("boundaries", table(_BOUNDARY)),
}  # fmt: skip
LANE: Description = {
    1: ("speed_limit_mph", DOUBLE),
    2: ("type", ENUM),
    3: ("interpolating", BOOL),
    8: ("points", table(VECTOR)),
    9: ("entry_lanes", packed(INT64)),
    10: ("exit_lanes", packed(INT64)),
    11: ("left_neighbors", repeated(message(_NEIGHBOUR))),
    12: ("right_neighbors", repeated(message(_NEIGHBOUR))),
    13: ("left_boundaries", table(_BOUNDARY)),
    14: ("right_boundaries", table(_BOUNDARY)),
}
LINE: Description = {1: ("type", ENUM), 2: ("points", table(VECTOR))}
POLYGON_3D: Description = {1: ("points", table(VECTOR))}
STOP_SIGN: Description = {1: ("lanes", repeated(INT64)), 2: ("position", message(VECTOR))}
MAP_FEATURE: Description = {
    1: ("id", INT64),
    3: ("lane", message(LANE)),
    4: ("road_line", message(LINE)),
    5: ("road_edge", message(LINE)),
    7: ("stop_sign", message(STOP_SIGN)),
    8: ("crosswalk", message(POLYGON_3D)),
    9: ("speed_bump", message(POLYGON_3D)),
    10: ("driveway", message(POLYGON_3D)),
}

FRAME: Description = {
    1: ("context", message(CONTEXT)),
    2: ("timestamp_micros", INT64),
    3: ("pose", message(TRANSFORM)),
    4: ("images", repeated(message(CAMERA_IMAGE))),
    5: ("lasers", repeated(message(LASER))),
    6: ("laser_labels", repeated(message(LABEL))),
    7: ("no_label_zones", repeated(message(POLYGON))),
    8: ("camera_labels", repeated(message(CAMERA_LABELS))),
    9: ("projected_lidar_labels", repeated(message(CAMERA_LABELS))),
    10: ("map_features", repeated(message(MAP_FEATURE))),
    11: ("map_pose_offset", message(VECTOR)),
}
# What tells a Frame from another record, without its images and range images.
FRAME_HEAD: Description = {1: ("context", message({1: ("name", STRING)})), 2: FRAME[2]}
