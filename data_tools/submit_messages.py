"""Waymo's submission messages by field number: submission.proto, metrics.proto and motion_submission.proto (1.6)."""

from __future__ import annotations

from data_tools.waymo_perception.messages import LABEL
from data_tools.wire import BOOL, ENUM, FLOAT, INT32, INT64, STRING, Description, message, packed, repeated

OBJECT: Description = {
    1: ("object", message(LABEL)), 2: ("score", FLOAT), 3: ("overlap_with_nlz", BOOL), 4: ("context_name", STRING),
    5: ("frame_timestamp_micros", INT64),
}  # fmt: skip
OBJECTS: Description = {1: ("objects", repeated(message(OBJECT)))}
SUBMISSION: Description = {
    1: ("task", ENUM), 2: ("unique_method_name", STRING), 3: ("authors", repeated(STRING)), 4: ("affiliation", STRING),
    5: ("description", STRING), 6: ("method_link", STRING), 9: ("number_past_frames_exclude_current", INT32),
    10: ("number_future_frames_exclude_current", INT32), 11: ("inference_results", message(OBJECTS)),
    12: ("sensor_type", ENUM), 13: ("account_name", STRING), 14: ("object_types", repeated(ENUM)),
    15: ("latency_second", FLOAT), 16: ("docker_image_source", STRING),
}  # fmt: skip
TRAJECTORY: Description = {2: ("center_x", packed(FLOAT)), 3: ("center_y", packed(FLOAT))}
SCORED: Description = {1: ("trajectory", message(TRAJECTORY)), 2: ("confidence", FLOAT)}
SINGLE: Description = {1: ("object_id", INT32), 2: ("trajectories", repeated(message(SCORED)))}
SCENARIO: Description = {
    1: ("scenario_id", STRING), 2: ("single_predictions", message({1: ("predictions", repeated(message(SINGLE)))})),
}  # fmt: skip
MOTION: Description = {
    1: ("scenario_predictions", repeated(message(SCENARIO))), 2: ("submission_type", ENUM), 3: ("account_name", STRING),
    4: ("unique_method_name", STRING), 5: ("authors", repeated(STRING)), 6: ("affiliation", STRING),
    7: ("description", STRING), 8: ("method_link", STRING), 9: ("uses_lidar_data", BOOL),
    10: ("uses_camera_data", BOOL), 11: ("uses_public_model_pretraining", BOOL), 12: ("num_model_parameters", STRING),
    13: ("public_model_names", repeated(STRING)),
}  # fmt: skip
