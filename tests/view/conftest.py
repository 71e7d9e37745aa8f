"""A log with a camera of known geometry."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drive.geometry.rigid import matrix_to_quaternion, quaternion_from_yaw
from drive.logs.writer import LogWriter

WIDTH, HEIGHT = 320, 200
INTRINSICS = np.array([[160.0, 0, 159.5], [0, 160, 99.5], [0, 0, 1]])
EGO_FROM_CAMERA = np.array([[0.0, 0, 1, 1.0], [-1, 0, 0, 0], [0, -1, 0, 1.0], [0, 0, 0, 1]])  # ahead, 1 m up
CAR = np.array([21.0, 0, 1.0, 4, 2, 2.0, 0, 10, 0])


@pytest.fixture
def camera_log(tmp_path: Path) -> Path:
    """Two frames at 10 m/s; the camera's picture is taken 0.1 s after the frame, one metre further on."""
    picture = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (40, 40, 40)).save(picture, "PNG")
    rotation = quaternion_from_yaw(0.3)
    forward = np.array([np.cos(0.3), np.sin(0.3), 0.0])
    with LogWriter(tmp_path, "drive-1", dataset="nuscenes", source_version="test", licence="made by a test") as log:
        log.add_sensor(
            "LIDAR_TOP", "lidar", np.array([0.0, 0, 2]), np.array([1.0, 0, 0, 0]),
            columns=("x", "y", "z", "intensity"), intensity_max=255.0,
        )  # fmt: skip
        log.add_sensor(
            "CAM_FRONT", "camera", EGO_FROM_CAMERA[:3, 3], matrix_to_quaternion(EGO_FROM_CAMERA[:3, :3]),
            intrinsics=INTRINSICS, width=WIDTH, height=HEIGHT,
        )  # fmt: skip
        for frame in range(2):
            stamp = 1_000_000_000 + frame * 500_000_000
            here = forward * 5 * frame + [50, 20, 0]
            cloud = np.array([[10.0, 5, -2, 255], [20, -5, 0, 0]], np.float32)
            common = {"is_key_frame": True, "source_timestamp": stamp // 1000}
            rows = {
                "LIDAR_TOP": log.add_sweep(
                    "LIDAR_TOP", stamp, cloud, here, rotation, source_name=f"{frame}.bin", **common
                ),
                "CAM_FRONT": log.add_image(
                    "CAM_FRONT", stamp + 100_000_000, picture.getvalue(), WIDTH, HEIGHT, here + forward, rotation,
                    source_name=f"{frame}.png", **common,
                ),
            }  # fmt: skip
            log.add_frame(
                stamp, rows=rows, pose_translation=here, pose_rotation=rotation, source_timestamp=stamp // 1000,
                source_token=f"token{frame}",
            )  # fmt: skip
            turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
            place = np.array([*(turn @ CAR[:2] + here[:2]), CAR[2]])
            log.add_boxes(
                frame, CAR[None], ["vehicle.car"], ["a"], velocity_valid=np.ones(1, bool),
                num_lidar_points=np.array([5]), num_radar_points=np.array([0]), source_translation=place[None],
                source_rotation=rotation[None], source_size=CAR[None, [4, 3, 5]], attributes=["vehicle.moving"],
            )  # fmt: skip
        square = np.array([[40.0, 10, 0], [80, 10, 0], [80, 40, 0], [40, 40, 0]])
        hole = np.array([[55.0, 20, 0], [60, 20, 0], [60, 25, 0]])
        log.add_map_feature("area", "drivable_area", square, holes=[hole], is_polygon=True, attributes={})
        log.add_map_feature("line", "lane_divider", square[:2], is_polygon=False, attributes={})
    return tmp_path / "drive-1"
