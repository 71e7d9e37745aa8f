"""The messages of the end-to-end driving data set, by field number (end_to_end_driving_data.proto)."""

from __future__ import annotations

from data_tools.waymo_perception.messages import FRAME
from data_tools.wire import ENUM, FLOAT, STRING, Description, message, packed, repeated

INTENTS = {0: "UNKNOWN", 1: "GO_STRAIGHT", 2: "GO_LEFT", 3: "GO_RIGHT"}

TRAJECTORY: Description = {
    1: ("pos_x", packed(FLOAT)),
    2: ("pos_y", packed(FLOAT)),
    3: ("pos_z", packed(FLOAT)),
    4: ("vel_x", packed(FLOAT)),
    5: ("vel_y", packed(FLOAT)),
    6: ("accel_x", packed(FLOAT)),
    7: ("accel_y", packed(FLOAT)),
    8: ("preference_score", FLOAT),
}
E2ED_FRAME: Description = {
    1: ("frame", message(FRAME)),
    5: ("future_states", message(TRAJECTORY)),
    6: ("past_states", message(TRAJECTORY)),
    7: ("intent", ENUM),
    8: ("preference_trajectories", repeated(message(TRAJECTORY))),
}
# Only the name of the frame, without its images.
E2ED_HEAD: Description = {1: ("frame", message({1: ("context", message({1: ("name", STRING)}))}))}
