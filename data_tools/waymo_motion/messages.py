"""The messages of the motion data set that we read, by field number, and the names of their enumerations.

From scenario.proto and compressed_lidar.proto of the data set, and TensorFlow's example.proto.
"""

from __future__ import annotations

from data_tools.waymo_perception.messages import LASER_CALIBRATION, MAP_FEATURE, TRANSFORM, VECTOR
from data_tools.wire import (
    BOOL,
    BYTES,
    DOUBLE,
    ENUM,
    FLOAT,
    INT32,
    INT64,
    SINT64,
    STRING,
    UINT32,
    Description,
    message,
    packed,
    repeated,
    table,
)

OBJECT_TYPES = {0: "TYPE_UNSET", 1: "TYPE_VEHICLE", 2: "TYPE_PEDESTRIAN", 3: "TYPE_CYCLIST", 4: "TYPE_OTHER"}

OBJECT_STATE: Description = {
    2: ("center_x", DOUBLE), 3: ("center_y", DOUBLE), 4: ("center_z", DOUBLE),
    5: ("length", FLOAT), 6: ("width", FLOAT), 7: ("height", FLOAT), 8: ("heading", FLOAT),
    9: ("velocity_x", FLOAT), 10: ("velocity_y", FLOAT), 11: ("valid", BOOL),
}  # fmt: skip
TRACK: Description = {1: ("id", INT32), 2: ("object_type", ENUM), 3: ("states", table(OBJECT_STATE))}
LANE_STATE: Description = {1: ("lane", INT64), 2: ("state", ENUM), 3: ("stop_point", message(VECTOR))}
REQUIRED_PREDICTION: Description = {1: ("track_index", INT32), 2: ("difficulty", ENUM)}

COMPRESSED_RANGE_IMAGE: Description = {1: ("range_image", BYTES), 4: ("pose", BYTES)}
COMPRESSED_LASER: Description = {
    1: ("name", ENUM),
    2: ("return1", message(COMPRESSED_RANGE_IMAGE)),
    3: ("return2", message(COMPRESSED_RANGE_IMAGE)),
}
FRAME_LASER_DATA: Description = {
    1: ("lasers", repeated(message(COMPRESSED_LASER))),
    2: ("calibrations", repeated(message(LASER_CALIBRATION))),
    3: ("pose", message(TRANSFORM)),
}
DELTA_ENCODED: Description = {
    1: ("residual", packed(SINT64)),
    2: ("mask", packed(UINT32)),
    3: ("metadata", message({1: ("shape", repeated(INT32)), 2: ("quant_precision", repeated(FLOAT))})),
}
CAMERA_TOKENS: Description = {1: ("camera_name", ENUM), 2: ("tokens", packed(UINT32))}

SCENARIO: Description = {
    1: ("timestamps_seconds", repeated(DOUBLE)),
    2: ("tracks", repeated(message(TRACK))),
    4: ("objects_of_interest", repeated(INT32)),
    5: ("scenario_id", STRING),
    6: ("sdc_track_index", INT32),
    7: ("dynamic_map_states", repeated(message({1: ("lane_states", repeated(message(LANE_STATE)))}))),
    8: ("map_features", repeated(message(MAP_FEATURE))),
    10: ("current_time_index", INT32),
    11: ("tracks_to_predict", repeated(message(REQUIRED_PREDICTION))),
    12: ("laser_data", repeated(message(FRAME_LASER_DATA))),
    13: ("camera_tokens", repeated(message({1: ("cameras", repeated(message(CAMERA_TOKENS)))}))),
}
# What tells a Scenario from a tf.Example: a length-delimited field 5 is in the former only.
SCENARIO_HEAD: Description = {5: ("scenario_id", STRING)}

FEATURE: Description = {
    1: ("bytes", message({1: ("values", repeated(BYTES))})),
    2: ("floats", message({1: ("values", packed(FLOAT))})),
    3: ("ints", message({1: ("values", packed(INT64))})),
}
EXAMPLE: Description = {
    1: ("features", message({1: ("entries", repeated(message({1: ("key", STRING), 2: ("value", message(FEATURE))})))})),
}
