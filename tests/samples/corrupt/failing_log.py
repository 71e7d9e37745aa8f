"""A log in which every sweep and every image tells its row: lidar and two cameras at 10 Hz, a frame every 0.5 s."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from drive.geometry.rigid import matrix_to_quaternion, quaternion_from_yaw
from drive.logs.writer import LogWriter

CAMERAS = ("LEFT", "RIGHT")
LOOK_AHEAD = np.array([[0.0, 0, 1, 0.5], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
WIDTH, HEIGHT = 96, 64
POINTS = 640


def grey_of(row: int) -> int:
    """The colour of a camera's picture."""
    return 40 + 8 * row


def sweep_of(row: int) -> np.ndarray:
    """[P, 5] x y z intensity ring: returns of 32 rings all around, `row` / 100 m above the level of their ring."""
    drawn = np.random.default_rng(row)
    azimuth, distance = drawn.uniform(-np.pi, np.pi, POINTS), drawn.uniform(3, 40, POINTS)
    cloud = np.zeros((POINTS, 5), np.float32)
    cloud[:, 0], cloud[:, 1] = distance * np.cos(azimuth), distance * np.sin(azimuth)
    cloud[:, 4] = np.arange(POINTS) % 32
    cloud[:, 2] = 0.02 * cloud[:, 4] + 0.01 * row
    cloud[:, 3] = drawn.integers(10, 200, POINTS)
    return cloud


def write_failing_log(
    root: Path,
    name: str = "failing",
    *,
    cameras: bool = True,
    empty: bool = False,
    change: Callable[[str, int, bytes], bytes | None] = lambda camera, row, data: data,
) -> Path:
    """Three frames at rows 4, 9 and 14 of every sensor; the ego drives straight on at 10 m/s.

    `change` gives the bytes of a camera's row back changed, or None to leave the image out of its frame.
    """
    turn = quaternion_from_yaw(0.0)
    with LogWriter(root, name, dataset="hand-made", source_version="1", licence="CC0-1.0", split="train") as log:
        columns = ("x", "y", "z", "intensity", "ring")
        log.add_sensor("LIDAR", "lidar", (0, 0, 1.8), (1, 0, 0, 0), columns=columns, intensity_max=255.0)
        for camera in CAMERAS if cameras else ():
            log.add_sensor(
                camera, "camera", LOOK_AHEAD[:3, 3], matrix_to_quaternion(LOOK_AHEAD[:3, :3]), width=WIDTH,
                height=HEIGHT, intrinsics=np.array([[60.0, 0, 47.5], [0, 60, 31.5], [0, 0, 1]]),
            )  # fmt: skip
        for row in range(15):
            stamp, place = row * 100_000_000, np.array([1.0 * row, 0, 0])
            common = {"is_key_frame": row % 5 == 4, "source_timestamp": stamp // 1000}
            cloud = sweep_of(row)[: 0 if empty else None]
            rows = {"LIDAR": log.add_sweep("LIDAR", stamp, cloud, place, turn, source_name=f"{row}.bin", **common)}
            for camera in CAMERAS if cameras else ():
                picture = np.full((HEIGHT, WIDTH, 3), grey_of(row), np.uint8)
                picture[:, WIDTH // 2 :] += 10
                file = io.BytesIO()
                Image.fromarray(picture).save(file, "PNG")
                data = change(camera, row, file.getvalue())
                image = log.add_image(
                    camera, stamp, data or b"none", WIDTH, HEIGHT, place, turn, source_name=f"{row}.png", **common
                )
                if data is not None:
                    rows[camera] = image
            if row % 5 == 4:
                frame = log.add_frame(
                    stamp, rows=rows, pose_translation=place, pose_rotation=turn, source_timestamp=stamp // 1000,
                    source_token=f"t{row}",
                )  # fmt: skip
                box = np.array([[10.0, 0, 2, 30, 60, 8, 0, 0, 0]])
                log.add_boxes(
                    frame, box, ["vehicle.car"], ["a"], velocity_valid=np.ones(1, bool),
                    num_lidar_points=np.array([5]), source_translation=box[:, :3],
                    source_rotation=quaternion_from_yaw(box[:, 6]), source_size=box[:, 3:6],
                )  # fmt: skip
    return root / name
