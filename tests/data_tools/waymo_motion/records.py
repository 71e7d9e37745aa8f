"""Small records in the raw shape of the Waymo motion data set, of scenes that one can check on paper."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.tfrecord import frame_record
from data_tools.waymo_motion.lidar import encode_delta
from data_tools.waymo_motion.messages import DELTA_ENCODED, EXAMPLE, SCENARIO
from data_tools.wire import encode

STEPS = 3
HEIGHT, WIDTH = 4, 8
PRECISION = np.array([0.005, 0.01, 0.01, 1.0])
# Powers of two: a precision is stored as a float, and 1e-4 would be 0.3 mm off after 12 km of it.
POSE_PRECISION = 2.0 ** -np.array([20, 20, 20, 13, 13, 13])
EAST = 12_000.0  # where the vehicle is: far from the origin, as in real scenarios


def track(number: int, kind: int, x: float, valid: tuple[bool, ...] = (True,) * STEPS) -> dict[str, Any]:
    """Drives east at 10 m/s; 4.5 x 2 x 1.5 m."""
    steps = np.arange(STEPS)
    states = {
        "center_x": EAST + x + steps, "center_y": np.full(STEPS, -50.0), "center_z": np.full(STEPS, 2.0),
        "length": np.full(STEPS, 4.5), "width": np.full(STEPS, 2.0), "height": np.full(STEPS, 1.5),
        "heading": np.zeros(STEPS), "velocity_x": np.full(STEPS, 10.0), "velocity_y": np.zeros(STEPS),
        "valid": np.array(valid),
    }  # fmt: skip
    return {"id": number, "object_type": kind, "states": states}


def line(*points: tuple[float, float, float]) -> dict[str, Any]:
    """Points as columns."""
    x, y, z = zip(*points, strict=True)
    return {"x": x, "y": y, "z": z}


def scenario() -> dict[str, Any]:
    """The sdc (id 7) and a pedestrian (id 9, unseen at the last step), a lane with a red light, a crosswalk."""
    lane = {
        "speed_limit_mph": 35.0,
        "type": 2,
        "interpolating": False,
        "points": line((0, 0, 0), (10, 0, 0)),
        "entry_lanes": [4],
        "exit_lanes": [6, 7],
        "left_neighbors": [
            {
                "feature_id": 8, "self_start": 0, "self_end": 1, "neighbor_start": 2, "neighbor_end": 3,
                "boundaries": {"lane_start": [0], "lane_end": [1], "feature_id": [40], "type": [7]},
            }
        ],
        "right_neighbors": [],
        "left_boundaries": {"lane_start": [0], "lane_end": [1], "feature_id": [40], "type": [7]},
        "right_boundaries": {"lane_start": [], "lane_end": [], "feature_id": [], "type": []},
    }  # fmt: skip
    signal = {"lane": 5, "state": 4, "stop_point": {"x": 8.0, "y": 0.0, "z": 0.0}}
    return {
        "scenario_id": "abc123",
        "timestamps_seconds": [0.0, 0.1, 0.2],
        "tracks": [track(7, 1, 0.0), track(9, 2, 20.0, (True, True, False))],
        "objects_of_interest": [9],
        "sdc_track_index": 0,
        "dynamic_map_states": [{"lane_states": given} for given in ([signal], [], [signal | {"state": 6}])],
        "map_features": [
            {"id": 5, "lane": lane},
            {"id": 40, "road_line": {"type": 7, "points": line((0, 2, 0), (10, 2, 0))}},
            {"id": 41, "road_edge": {"type": 1, "points": line((0, -2, 0), (10, -2, 0))}},
            {"id": 42, "stop_sign": {"lanes": [5], "position": {"x": 1.0, "y": 2.0, "z": 3.0}}},
            {"id": 43, "crosswalk": {"points": line((0, 0, 0), (1, 0, 0), (0, 1, 0))}},
            {"id": 44, "road_line": {"type": 1, "points": {"x": [], "y": [], "z": []}}},
        ],
        "current_time_index": 1,
        "tracks_to_predict": [{"track_index": 1, "difficulty": 2}],
        "camera_tokens": [{"cameras": [{"camera_name": 1, "tokens": [5, 8191]}]}],
    }  # fmt: skip


def laser_frame(step: int) -> dict[str, Any]:
    """TOP with poses of its pixels and a second return, REAR without; every pixel 10 m away (return 2: 20 m).

    The vehicle frame lies 1.5 m behind and 1 m below the centre of the sdc's box.
    """
    pose = np.eye(4)
    pose[:3, 3] = EAST + step - 1.5, -50.0, 1.0
    image = np.zeros((HEIGHT, WIDTH, 4))
    image[1:3, :, 0], image[1:3, :, 1], image[1:3, :, 2], image[..., 3] = 10.0, 0.5, 0.25, -1.0
    far = image.copy()
    far[..., 0] *= 2
    pixel_pose = np.zeros((HEIGHT, WIDTH, 6))
    pixel_pose[..., 3:] = pose[:3, 3]

    def packed(values: np.ndarray, precision: np.ndarray) -> bytes:
        return zlib.compress(encode(encode_delta(values, precision), DELTA_ENCODED))

    first = {"range_image": packed(image, PRECISION), "pose": packed(pixel_pose, POSE_PRECISION)}
    mounting = np.eye(4)
    mounting[2, 3] = 2.0
    calibration = {
        "extrinsic": {"transform": mounting.reshape(-1)},
        "beam_inclination_min": -0.2,
        "beam_inclination_max": 0.2,
    }
    return {
        "lasers": [
            {"name": 1, "return1": first, "return2": {"range_image": packed(far, PRECISION)}},
            {"name": 5, "return1": {"range_image": first["range_image"]}},
        ],
        "calibrations": [
            {"name": 1, **calibration, "beam_inclinations": [-0.3, -0.1, 0.1, 0.3]},
            {"name": 5, **calibration},
        ],
        "pose": {"transform": pose.reshape(-1)},
    }  # fmt: skip


def example() -> dict[str, Any]:
    """The same two agents as a tf.Example with three slots, one step each of past, current and future."""
    given = [track(7, 1, 0.0), track(9, 2, 20.0, (True, True, False))]
    names = {
        "x": "center_x", "y": "center_y", "z": "center_z", "length": "length", "width": "width", "height": "height",
        "bbox_yaw": "heading", "velocity_x": "velocity_x", "velocity_y": "velocity_y",
    }  # fmt: skip
    lists: dict[str, Any] = {
        "scenario/id": [b"abc123"],
        "state/id": np.array([7, 9, -1], np.float32),
        "state/type": np.array([1, 2, -1], np.float32),
        "state/is_sdc": np.array([1, 0, -1]),
        "state/tracks_to_predict": np.array([0, 1, 0]),
        "state/objects_of_interest": np.array([0, 1, 0]),
        "state/difficulty_level": np.array([0, 2, -1]),
        "roadgraph_samples/id": np.array([5, 5, 40, 40, 43, 43, 43, 5, -1]),
        "roadgraph_samples/type": np.array([2, 2, 7, 7, 18, 18, 18, 2, -1]),
        "roadgraph_samples/valid": np.array([1, 1, 1, 1, 1, 1, 1, 1, 0]),
        "roadgraph_samples/xyz": np.arange(27, dtype=np.float32),
    }
    for step, part in enumerate(("past", "current", "future")):
        seen = np.array([bool(t["states"]["valid"][step]) for t in given] + [False])
        for name, source in names.items():
            values = np.array([t["states"][source][step] for t in given] + [-1.0])
            lists[f"state/{part}/{name}"] = np.where(seen, values, -1).astype(np.float32)
        for name in ("speed", "vel_yaw"):
            lists[f"state/{part}/{name}"] = np.where(seen, 10.0 if name == "speed" else 0.0, -1).astype(np.float32)
        lists[f"state/{part}/valid"] = seen.astype(np.int64)
        lists[f"state/{part}/timestamp_micros"] = np.where(seen, 100_000 * step, -1)
        light = f"traffic_light_state/{part}"
        lists[f"{light}/timestamp_micros"] = np.array([100_000 * step])
        lists[f"{light}/id"], lists[f"{light}/state"] = np.array([5, -1]), np.array([4 if step < 2 else 6, -1])
        lists[f"{light}/valid"] = np.array([int(step != 1), 0])
        for axis, value in zip("xyz", (8.0, 0.0, 0.0), strict=True):
            lists[f"{light}/{axis}"] = np.array([value, -1.0], np.float32)
    entries = []
    for key, values in lists.items():
        kind = "bytes" if isinstance(values, list) else "floats" if values.dtype.kind == "f" else "ints"
        entries.append({"key": key, "value": {kind: {"values": values}}})
    return {"features": {"entries": entries}}


def write(path: Path, *messages: dict[str, Any]) -> Path:
    """A TFRecord file of Scenario and Example messages."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = [EXAMPLE if "features" in given else SCENARIO for given in messages]
    path.write_bytes(b"".join(frame_record(encode(m, kind)) for m, kind in zip(messages, kinds, strict=True)))
    return path
