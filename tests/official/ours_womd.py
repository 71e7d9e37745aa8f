"""Our side of the motion comparison: ``python ours_womd.py OUT_DIR`` in the project's own environment.

Writes two scenarios in raw shape, one near the global origin and one 12 km away, with lidar of two steps, converts
them, and writes ``OUT_DIR/ours.npz``: ``<scenario>/<step>/<laser>/<return>`` float64 [P, 6] range intensity elongation
and x y z in the VEHICLE frame, ``<scenario>/states`` float64 [N, T, 10] x y z length width height heading vx vy valid
(global), N in the order of the source.
"""

from __future__ import annotations

import argparse
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.tfrecord import frame_record
from data_tools.waymo_motion import Options, convert_log, list_logs
from data_tools.waymo_motion.lidar import encode_delta
from data_tools.waymo_motion.messages import DELTA_ENCODED, SCENARIO
from data_tools.waymo_perception.messages import LASERS
from data_tools.wire import encode
from drive.geometry.box import transform_boxes
from drive.geometry.rigid import invert, transform_points
from drive.logs.store import Log

STEPS, TRACKS = 5, 4
SIZES = {1: (16, 90), 2: (12, 40)}  # beams and columns of TOP and of a short lidar


def _packed(values: np.ndarray, precision: np.ndarray) -> bytes:
    return zlib.compress(encode(encode_delta(values, precision), DELTA_ENCODED))


def _rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """R = Rz(yaw) Ry(pitch) Rx(roll), 4x4."""
    turns = [(0, 1, yaw), (2, 0, pitch), (1, 2, roll)]
    out = np.eye(4)
    for i, j, angle in turns:
        turn = np.eye(4)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        out = out @ turn
    return out


def _laser_frame(rng: np.random.Generator, vehicle: np.ndarray, angles: np.ndarray) -> dict[str, Any]:
    precision = np.array([0.005, 0.01, 0.01, 1.0])
    pose_precision = 2.0 ** -np.array([18, 18, 18, 12, 12, 12])
    lasers, calibrations = [], []
    for name, (height, width) in SIZES.items():
        returns = {}
        for number in (1, 2):
            image = np.zeros((height, width, 4))
            hit = rng.random((height, width)) < 0.7 / number
            image[hit, 0] = rng.uniform(1, 75, hit.sum())
            image[hit, 1:3] = rng.uniform(0, 1, (int(hit.sum()), 2))
            image[..., 3] = -1
            returns[f"return{number}"] = {"range_image": _packed(image, precision)}
        if name == 1:
            pose = np.zeros((height, width, 6))
            pose[..., :3] = angles + np.linspace(-0.01, 0.01, width)[:, None]
            pose[..., 3:] = vehicle[:3, 3] + np.linspace(-0.5, 0.5, width)[:, None]
            returns["return1"]["pose"] = _packed(pose, pose_precision)
        lasers.append({"name": name, **returns})
        extrinsic = _rotation(0.3 * name, 0.01, -0.02)
        extrinsic[:3, 3] = 1.4, 0.1 * name, 2.0
        beams = np.sort(rng.uniform(-0.3, 0.05, height)) if name == 1 else []
        calibrations.append(
            {
                "name": name, "extrinsic": {"transform": extrinsic.reshape(-1)}, "beam_inclinations": beams,
                "beam_inclination_min": -1.5, "beam_inclination_max": 0.5,
            }
        )  # fmt: skip
    return {"lasers": lasers, "calibrations": calibrations, "pose": {"transform": vehicle.reshape(-1)}}


def _scenario(seed: int, origin: np.ndarray) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    tracks = []
    for number in range(TRACKS):
        # The sdc is where its lidar is: coordinates in the log stay as small as they are in the source.
        place = origin + (rng.normal(0, 20, (STEPS, 3)) if number else np.tile([0.0, 2.0, 1.0], (STEPS, 1)))
        states = {f"center_{axis}": place[:, i] for i, axis in enumerate("xyz")}
        states |= {side: rng.uniform(0.5, 5, STEPS) for side in ("length", "width", "height")}
        states |= {"heading": rng.uniform(-4, 7, STEPS), "velocity_x": rng.normal(0, 9, STEPS)}
        states |= {"velocity_y": rng.normal(0, 9, STEPS), "valid": (rng.random(STEPS) < 0.7) | (number == 0)}
        tracks.append({"id": 100 - number, "object_type": 1 + number % 4, "states": states})
    lidar = []
    for step in range(2):
        angles = np.array([0.01, -0.02, 0.7])
        vehicle = _rotation(*angles[::-1])
        vehicle[:3, 3] = origin + np.array([step, 2.0, 1.0])
        frame = _laser_frame(rng, vehicle, angles)
        lidar.append(frame if step == 0 else {**frame, "calibrations": lidar[0]["calibrations"]})
    return {
        "scenario_id": f"s{seed}", "timestamps_seconds": np.arange(STEPS) / 10, "tracks": tracks,
        "sdc_track_index": 0, "objects_of_interest": [], "dynamic_map_states": [], "map_features": [],
        "current_time_index": 1, "tracks_to_predict": [], "camera_tokens": [], "laser_data": lidar,
    }  # fmt: skip


def _points(log: Log) -> dict[str, np.ndarray]:
    numbers = {f"LIDAR_{name}": number for number, name in LASERS.items()}
    poses = {row["frame"]: np.array(row["transform"]).reshape(4, 4) for row in log.table("vehicle_pose").to_pylist()}
    out = {}
    for step, vehicle in poses.items():
        frame = log.frame(step)
        vehicle_from_ego = invert(vehicle) @ frame.global_from_ego
        for sensor, row in frame.rows.items():
            sweep = log.sweep(sensor, row)
            xyz = transform_points(vehicle_from_ego, sweep.points[:, :3].astype(np.float64))
            values = np.column_stack([sweep.extra["range"], sweep.points[:, 3:5], xyz])
            for number in (1, 2):
                out[f"{step}/{numbers[sensor]}/{number}"] = values[sweep.extra["return"] == number]
    return out


def _states(log: Log) -> np.ndarray:
    order = {token: i for i, token in enumerate(log.table("track_attributes")["track"].to_pylist())}
    out = np.zeros((len(order), log.num_frames, 10))
    for step in range(log.num_frames):
        found = log.boxes(step)
        moved = transform_boxes(log.frame(step).global_from_ego, found.boxes)
        for token, box in zip(found.track_token, moved, strict=True):
            out[order[token], step] = [*box, 1.0]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    raw = args.out / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    found: dict[str, np.ndarray] = {}
    for seed, origin in ((1, np.zeros(3)), (2, np.array([12_000.0, -7_000.0, 150.0]))):
        data = encode(_scenario(seed, origin), SCENARIO)
        (raw / f"s{seed}.tfrecord").write_bytes(frame_record(data))
    for source in list_logs(raw, Options()):
        convert_log(raw, source, args.out / "logs", Options())
        log = Log.open(args.out / "logs" / source.name)
        name = log.table("scenario")["scenario_id"][0].as_py()
        found |= {f"{name}/{key}": values for key, values in _points(log).items()}
        found[f"{name}/states"] = _states(log)
    np.savez(args.out / "ours.npz", **found)


if __name__ == "__main__":
    main()
