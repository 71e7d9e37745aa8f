"""Frames made by hand: one top lidar of 2 x 4 pixels, one short one, one camera, two labels, a map."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from data_tools.tfrecord import frame_record
from data_tools.waymo_perception.messages import FRAME, MATRIX_FLOAT, MATRIX_INT32
from data_tools.wire import encode

SECOND = 1_000_000
START = 1_550_000_000 * SECOND


def compressed(values: np.ndarray) -> bytes:
    """A zlib stream of MatrixFloat or MatrixInt32."""
    kind = MATRIX_FLOAT if values.dtype == np.float32 else MATRIX_INT32
    body = encode({"data": values.reshape(-1), "shape": {"dims": np.array(values.shape)}}, kind)
    return zlib.compress(body)


def transform(x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> dict[str, np.ndarray]:
    """A Transform."""
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    matrix[:3, 3] = x, y, z
    return {"transform": matrix.reshape(16)}


def jpeg() -> bytes:
    """A picture of 8 x 6 pixels."""
    out = io.BytesIO()
    PIL.Image.fromarray(np.full((6, 8, 3), 90, np.uint8)).save(out, "JPEG")
    return out.getvalue()


def empty_image(height: int, width: int) -> np.ndarray:
    """A range image without a return."""
    return np.full((height, width, 4), -1, np.float32)


def make_frame(index: int) -> dict[str, Any]:
    """Frame 0, 1, ...: the vehicle is at global x = 1000 + index, looking along global y."""
    first, second, short = empty_image(2, 4), empty_image(2, 4), empty_image(3, 6)
    first[0, 1] = 10.0, 0.5, 0.1, -1.0
    first[1, 2] = 2.0, 4.0, 0.0, 1.0
    second[0, 1] = 12.0, 0.25, 0.2, -1.0
    short[1, 3] = 5.0, 0.75, 0.0, -1.0
    pose = np.zeros((2, 4, 6), np.float32)
    pose[..., 2], pose[..., 3] = np.pi / 2, 1000.0 + index
    pose[0, 1, 3] += 0.5  # this pixel was measured half a metre further along global x
    labels = np.zeros((2, 4, 2), np.int32)
    labels[0, 1], labels[1, 2] = (7, 2), (0, 18)
    where = np.zeros((2, 4, 6), np.int32)
    where[0, 1, :3] = 1, 3, 2
    return {
        "context": {
            "name": "made",
            "laser_calibrations": [
                {
                    "name": 2, "beam_inclination_min": -1.0, "beam_inclination_max": 1.0,
                    "extrinsic": transform(4.0, 0.0, 0.7),
                },
                {
                    "name": 1, "beam_inclinations": np.array([-np.pi / 6, 0.0]), "beam_inclination_min": -0.6,
                    "beam_inclination_max": 0.1, "extrinsic": transform(1.0, 2.0, 3.0),
                },
            ],
            "camera_calibrations": [
                {
                    "name": 1, "intrinsic": np.array([20.0, 21, 4, 3, 0.1, -0.2, 0.01, 0.02, 0.0]), "width": 8,
                    "height": 6, "extrinsic": transform(1.5, 0.0, 2.1), "rolling_shutter_direction": 2,
                }
            ],
            "stats": {
                "time_of_day": "Day", "location": "location_sf", "weather": "sunny",
                "laser_object_counts": {"type": np.array([1, 2]), "count": np.array([1, 1])},
            },
        },
        "timestamp_micros": START + index * SECOND // 10,
        "pose": transform(1000.0 + index, 0.0, 0.0, np.pi / 2),
        "images": [
            {
                "name": 1, "image": jpeg(), "pose": transform(1000.0 + index, 0.1, 0.0, np.pi / 2),
                "velocity": {"v_x": 10.0, "v_y": 0.0, "v_z": 0.0, "w_x": 0.0, "w_y": 0.0, "w_z": 0.25},
                "pose_timestamp": (START + index * SECOND // 10) / SECOND + 0.05, "shutter": 0.002,
                "camera_trigger_time": 1.0, "camera_readout_done_time": 2.0,
                "segmentation": {
                    "panoptic_label_divisor": 1000, "panoptic_label": b"\x89PNG", "sequence_id": "s",
                    "instances": {"local": np.array([1]), "global": np.array([5]), "is_tracked": np.array([True])},
                },
            }
        ],
        "lasers": [
            {"name": 2, "return1": {"range_image": compressed(short)}},
            {
                "name": 1,
                "return1": {
                    "range_image": compressed(first), "pose": compressed(pose), "segmentation": compressed(labels),
                    "camera_projection": compressed(where),
                },
                "return2": {"range_image": compressed(second)},
            },
        ],
        "laser_labels": [
            {
                "box": {
                    "center_x": 8.0, "center_y": 9.0, "center_z": 1.0, "length": 4.5, "width": 2.0, "height": 1.5,
                    "heading": 4.0,
                },
                "metadata": {"speed_x": 0.0, "speed_y": 3.0, "accel_x": 1.0, "accel_y": 0.0},
                "type": 1, "id": "car", "num_lidar_points": 5, "num_top_lidar_points": 4,
                "detection_difficulty": 2, "most_visible_camera": "FRONT",
                "camera_synced_box": {
                    "center_x": 8.1, "center_y": 9.0, "center_z": 1.0, "length": 4.5, "width": 2.0, "height": 1.5,
                    "heading": 4.0,
                },
            },
            {
                "box": {
                    "center_x": -3.0, "center_y": 0.0, "center_z": 1.0, "length": 1.0, "width": 1.0, "height": 1.8,
                    "heading": 0.0,
                },
                "type": 2, "id": "walker", "num_lidar_points": 0,
            },
        ],
        "no_label_zones": [{"id": "zone", "x": np.array([0.0, 1, 1]), "y": np.array([0.0, 0, 1])}],
        "camera_labels": [
            {
                "name": 1,
                "labels": [
                    {
                        "box": {"center_x": 4.0, "center_y": 3.0, "length": 2.0, "width": 4.0}, "type": 2,
                        "id": "seen", "association": {"laser_object_id": "walker"},
                    }
                ],
            }
        ],
        "projected_lidar_labels": [
            {
                "name": 1,
                "labels": [
                    {
                        "box": {"center_x": 1.0, "center_y": 1.0, "length": 1.0, "width": 1.0}, "type": 1,
                        "id": "car_FRONT",
                    }
                ],
            }
        ],
        "map_features": [] if index else make_map(),
        "map_pose_offset": {"x": 0.0, "y": 0.0, "z": 5.0},
    }  # fmt: skip


def make_map() -> list[dict[str, Any]]:
    """One feature of every kind."""
    line = {"x": np.array([0.0, 1, 2]), "y": np.zeros(3), "z": np.full(3, 5.0)}
    boundary = {"lane_start": [0], "lane_end": [2], "feature_id": [12], "type": [2]}
    lane = {
        "speed_limit_mph": 25.0, "type": 2, "points": line, "entry_lanes": np.array([9]),
        "exit_lanes": np.array([13, 14]), "left_boundaries": boundary,
    }  # fmt: skip
    return [
        {"id": 11, "lane": lane},
        {"id": 12, "road_line": {"type": 6, "points": line}},
        {"id": 15, "road_edge": {"type": 1, "points": line}},
        {"id": 16, "stop_sign": {"lanes": np.array([11]), "position": {"x": 1.0, "y": 2.0, "z": 8.0}}},
        {"id": 17, "crosswalk": {"points": line}},
        {"id": 18, "speed_bump": {"points": line}},
        {"id": 19, "driveway": {"points": line}},
    ]


def make_frames() -> list[dict[str, Any]]:
    """Two frames."""
    return [make_frame(0), make_frame(1)]


def write_segment(path: Path, frames: list[dict[str, Any]]) -> Path:
    """Write frames as a TFRecord file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(frame_record(encode(frame, FRAME)) for frame in frames))
    return path
