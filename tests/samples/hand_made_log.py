"""A log of hand-made sweeps, frames and boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from drive.geometry.rigid import quaternion_from_yaw
from drive.logs.writer import LogWriter

SWEEP_NS = 50_000_000
SENSOR_TRANSLATION, SENSOR_YAW = (1.0, 0.2, 1.8), -np.pi / 2


def pose(step: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the ego is at sweep `step`: driving a curve far from the map's origin."""
    return np.array([1000.0 + 0.7 * step, 600.0 + 0.05 * step * step, 0.0]), quaternion_from_yaw(0.4 + 0.02 * step)


def write_log(root: Path, name: str, *, frames: int = 3, points: int = 400, empty: bool = False) -> Path:
    """`frames` key frames, every fifth sweep; box k of each stands at (6 k - 9, 4); every second is a pedestrian.

    Each box holds 6 points of its own; the rest of the points are 2.6 to 3.9 m above the ground.
    """
    rng = np.random.default_rng(7)
    with LogWriter(root, name, dataset="hand-made", source_version="1", licence="CC0-1.0", split="train") as log:
        log.add_sensor(
            "LIDAR_TOP", "lidar", SENSOR_TRANSLATION, quaternion_from_yaw(SENSOR_YAW),
            columns=("x", "y", "z", "intensity", "ring"), intensity_max=255.0,
        )  # fmt: skip
        boxes = np.array([[6.0 * k - 9, 4, 0.9, 4, 1.8, 1.6, 0.3 * k, 1.5, -0.5] for k in range(5)])
        for step in range(5 * frames):
            cloud = rng.uniform(-40, 40, size=(points, 5)).astype(np.float32)
            cloud[:, 2] = rng.uniform(0.8, 2.1, points)  # above every box
            cloud[:, 3] = rng.integers(0, 256, points)
            inside = np.concatenate([box[:3] + rng.uniform(-0.5, 0.5, (6, 3)) for box in boxes])
            cos, sin = np.cos(SENSOR_YAW), np.sin(SENSOR_YAW)
            offset = inside - np.array(SENSOR_TRANSLATION)
            own = np.zeros((len(inside), 5), np.float32)
            own[:, 0], own[:, 1] = cos * offset[:, 0] + sin * offset[:, 1], cos * offset[:, 1] - sin * offset[:, 0]
            own[:, 2], own[:, 3] = offset[:, 2], 51.0
            cloud = np.zeros((0, 5), np.float32) if empty else np.concatenate([cloud, own])
            translation, rotation = pose(step)
            row = log.add_sweep(
                "LIDAR_TOP", step * SWEEP_NS, cloud, translation, rotation, is_key_frame=step % 5 == 4,
                source_timestamp=step * 50_000, source_name=f"{step}.bin",
            )  # fmt: skip
            if step % 5 == 4:
                frame = log.add_frame(
                    step * SWEEP_NS, rows={"LIDAR_TOP": row}, pose_translation=translation, pose_rotation=rotation,
                    source_timestamp=step * 50_000, source_token=f"t{step}",
                )  # fmt: skip
                if not empty:
                    log.add_boxes(
                        frame, boxes, ["vehicle.car", "human.pedestrian.adult", "animal"] * 1 + ["vehicle.car"] * 2,
                        [f"track-{k}" for k in range(5)], velocity_valid=np.array([True, True, True, False, True]),
                        num_lidar_points=np.full(5, 6), source_translation=boxes[:, :3],
                        source_rotation=quaternion_from_yaw(boxes[:, 6]), source_size=boxes[:, 3:6],
                    )  # fmt: skip
    return root / name
