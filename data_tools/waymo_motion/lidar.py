"""WOMD-LiDAR: delta-encoded range images of the first 11 steps to points.

Official files: ``womd_lidar_utils.py``, ``delta_encoder.py``. Paper: Chen et al., "WOMD-LiDAR: Raw Sensor Dataset
Benchmark for Motion Forecasting", ICRA 2024.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from data_tools.scenario_log import Scenario, ego_poses
from data_tools.waymo_motion.messages import DELTA_ENCODED, FRAME_LASER_DATA
from data_tools.waymo_perception.checks import pose_matrix, required
from data_tools.waymo_perception.range_image import Laser, inflate, to_float32
from data_tools.waymo_perception.scans import Scan, read_scan
from data_tools.waymo_perception.sensors import add_lidars
from data_tools.wire import WireError, decode, encode
from drive.errors import UserError
from drive.geometry.rigid import from_translation_rotation, invert, quaternion_from_yaw
from drive.logs.writer import LogWriter

MAX_VALUES = 1 << 26  # numbers of one image: 60 times those of the largest real one
_TURNING = "LIDAR_TOP"  # turns while the vehicle drives: each of its pixels has a pose of its own
_AGAIN = "copy the file again"


def decode_delta(data: bytes, place: str) -> np.ndarray:
    """float64 [H, W, C] of a delta-encoded image.

    The mask is run lengths over [C, H, W], ones first; the residuals of the ones add up along the whole array, over
    the borders of rows and channels too; then each channel is scaled by its precision.
    """
    try:
        found = decode(inflate(data, place), DELTA_ENCODED)
    except WireError as error:
        raise UserError(place, f"no delta-encoded image: {error}", _AGAIN) from None
    metadata = found.get("metadata", {})
    shape = tuple(int(n) for n in metadata.get("shape", ()))
    if len(shape) != 3 or not all(0 < n < 1 << 16 for n in shape) or np.prod(shape, dtype=np.int64) > MAX_VALUES:
        raise UserError(place, f"a range image of shape {list(shape)}", _AGAIN)
    height, width, channels = shape
    precision = metadata["quant_precision"].astype(np.float64)
    if len(precision) != channels or not (np.isfinite(precision) & (precision > 0)).all():
        raise UserError(place, f"{len(precision)} precisions for {channels} channels, or one is not positive", _AGAIN)
    runs, residual = found["mask"].astype(np.int64), found["residual"]
    if runs.sum() != height * width * channels or runs[::2].sum() != len(residual):
        what = f"runs of {runs.sum()} values with {runs[::2].sum()} set, {len(residual)} residuals, shape {list(shape)}"
        raise UserError(place, what, _AGAIN)
    values = np.zeros(height * width * channels)
    values[np.repeat(np.arange(len(runs)) % 2 == 0, runs)] = np.cumsum(residual)
    return np.moveaxis(values.reshape(channels, height, width), 0, 2) * precision


def encode_delta(image: np.ndarray, precision: np.ndarray) -> dict[str, Any]:
    """The DeltaEncodedData message of an image [H, W, C], rounded to multiples of `precision` [C]."""
    steps = np.moveaxis(np.round(image / precision).astype(np.int64), 2, 0).reshape(-1)
    mask = steps != 0
    cuts = np.flatnonzero(np.diff(mask)) + 1
    runs = np.diff(np.concatenate([[0], cuts, [len(mask)]]))
    return {
        "residual": np.diff(steps[mask], prepend=0),
        "mask": runs if mask[0] else np.concatenate([[0], runs]),
        "metadata": {"shape": list(image.shape), "quant_precision": precision},
    }


def add_lidar(log: LogWriter, scenario: Scenario, frames: list[dict[str, Any]]) -> list[dict[str, int]]:
    """Add the sweeps of decoded ``laser_data`` (one frame at least); returns {sensor: row} of each step that has some.

    Points come out in the ego frame of the step, that of its boxes.
    """
    place = scenario.place
    if len(frames) > len(scenario.seconds):
        raise UserError(place, f"lidar at {len(frames)} steps of {len(scenario.seconds)}", _AGAIN)
    translation, heading, _ = ego_poses(scenario)
    rotation = quaternion_from_yaw(heading)
    rows: list[dict[str, int]] = []
    poses: list[dict[str, Any]] = []
    lasers, calibration = add_lidars(log, frames[0]["calibrations"], place), _calibrations(frames[0])
    for step, frame in enumerate(frames):
        where = f"{place}: lidar of step {step}"
        pose = pose_matrix(required(frame, "pose", "the frame", where), "the vehicle's pose", where)
        poses.append({"frame": step, "transform": pose.reshape(-1).tolist()})
        if _calibrations(frame) != calibration:
            raise UserError(where, "its calibrations are not those of the first step", _AGAIN)
        ego_from_global = invert(from_translation_rotation(translation[step], rotation[step]))
        rows.append({})
        for given in sorted(frame["lasers"], key=lambda laser: int(laser.get("name", 0))):
            name = given.get("name", 0)
            if name not in lasers or lasers[name].name in rows[-1]:
                raise UserError(where, f"laser {name} has no calibration or is there twice", _AGAIN)
            label = lasers[name].name
            scan = _scan(given, lasers[name], pose, ego_from_global, f"{where}: {label}")
            if scan is None:
                continue
            stamp = scenario.start_ns + round(float(scenario.seconds[step]) * 1e9)
            rows[-1][label] = log.add_sweep(
                label, stamp, scan.points, translation[step], rotation[step], extra=scan.extra,
                is_key_frame=True, source_timestamp=stamp, source_name=f"laser_data[{step}]",
            )  # fmt: skip
    log.add_table("vehicle_pose", pa.Table.from_pylist(poses, schema=_POSES))
    return rows


_POSES = pa.schema([("frame", pa.int32()), ("transform", pa.list_(pa.float64(), 16))])


def _calibrations(frame: dict[str, Any]) -> bytes:
    return encode({"calibrations": frame["calibrations"]}, FRAME_LASER_DATA)


def _scan(
    given: dict[str, Any], laser: Laser, vehicle: np.ndarray, ego_from_global: np.ndarray, place: str
) -> Scan | None:
    """The sweep of one compressed laser message in the ego frame; `vehicle`: global from vehicle, [4, 4]."""
    message: dict[str, dict[str, np.ndarray]] = {}
    for name in ("return1", "return2"):
        images = given.get(name, {})
        message[name] = {key: decode_delta(data, f"{place}: {name}") for key, data in images.items() if data}
        if "range_image" in message[name]:
            image = message[name]["range_image"]
            if image.shape[2] not in (3, 4):
                raise UserError(f"{place}: {name}", f"a range image with {image.shape[2]} channels", _AGAIN)
            # The no-label-zone flag may be missing: 0 = not told.
            message[name]["range_image"] = to_float32(np.pad(image, ((0, 0), (0, 0), (0, 4 - image.shape[2]))))
    if laser.name != _TURNING:
        # All pixels at the pose of the whole frame: the identity in the vehicle frame.
        for images in message.values():
            if "range_image" in images:
                message["return1"]["pose"] = np.zeros((*images["range_image"].shape[:2], 6), np.float32)
        return read_scan(message, laser, ego_from_global @ vehicle, place, needs_pose=True)
    # Global coordinates are large: all of them are taken relative to the vehicle before anything becomes float32.
    home = np.eye(4)
    home[:3, 3] = vehicle[:3, 3]
    if (pose := message["return1"].get("pose")) is not None:
        if pose.shape[2] != 6:
            raise UserError(place, f"pixel poses with {pose.shape[2]} channels, not 6", _AGAIN)
        pose[..., 3:] -= vehicle[:3, 3]
        message["return1"]["pose"] = to_float32(pose)
    return read_scan(message, laser, ego_from_global @ home, place, needs_pose=True)
