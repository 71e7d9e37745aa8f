"""A small log in nuScenes shape that every score can be computed from by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drive.geometry.rigid import quaternion_from_yaw
from drive.logs.writer import LogWriter

EGO_YAW = 0.5
CATEGORIES = ("vehicle.car", "human.pedestrian.adult", "vehicle.bicycle", "static_object.bicycle_rack", "animal")
PLACES = np.array(
    [[10.0, 0.0, 1.0], [5.0, 5.0, 1.0], [0.0, 20.0, 0.5], [0.0, -30.0, 0.5], [3.0, 3.0, 0.2]]
)  # ego frame
SIZES = np.array([[4.0, 2.0, 1.5], [0.6, 0.7, 1.8], [1.8, 0.6, 1.2], [6.0, 2.0, 2.0], [1.0, 0.5, 0.5]])  # l w h
ATTRIBUTES = ["vehicle.moving", "pedestrian.standing", "cycle.without_rider", "", ""]


@pytest.fixture
def town_log(tmp_path: Path) -> Path:
    """Three frames, half a second apart; the ego drives 5 m a frame along its heading, the labels ride along.

    In frame 2 a second bicycle stands inside the rack, and a car has no lidar point.
    """
    direction = np.array([np.cos(EGO_YAW), np.sin(EGO_YAW)])
    rotation = quaternion_from_yaw(EGO_YAW)
    turn = np.array([[direction[0], -direction[1]], [direction[1], direction[0]]])
    with LogWriter(tmp_path, "scene-0001", dataset="nuscenes", source_version="v1.0", licence="made by a test") as log:
        log.add_sensor(
            "LIDAR_TOP", "lidar", np.zeros(3), np.array([1.0, 0, 0, 0]), columns=("x", "y", "z", "intensity")
        )
        for frame in range(3):
            translation = np.array([*(100 + 5 * frame * direction), 0.0])
            stamp = 1_532_402_927_000_000 + 500_000 * frame
            points = np.zeros((4, 4), np.float32)
            row = log.add_sweep(
                "LIDAR_TOP", stamp * 1000, points, translation, rotation, is_key_frame=True, source_timestamp=stamp,
                source_name=f"{frame}.bin",
            )  # fmt: skip
            log.add_frame(
                stamp * 1000, rows={"LIDAR_TOP": row}, pose_translation=translation, pose_rotation=rotation,
                source_timestamp=stamp, source_token=f"token{frame}",
            )  # fmt: skip
            places, sizes = PLACES, SIZES
            categories, attributes = list(CATEGORIES), list(ATTRIBUTES)
            tracks = [f"track{i}" for i in range(5)]
            points_in = np.array([9, 4, 3, 7, 2])
            if frame == 2:
                places = np.concatenate([places, [[0.5, -30.2, 0.5], [20.0, 0.0, 1.0]]])
                sizes = np.concatenate([sizes, SIZES[[2, 0]]])
                categories += ["vehicle.bicycle", "vehicle.car"]
                attributes += ["", "vehicle.parked"]
                tracks += ["racked", "unseen"]
                points_in = np.array([9, 4, 3, 7, 2, 5, 0])
            n = len(places)
            boxes = np.zeros((n, 9))
            boxes[:, :3], boxes[:, 3:6] = places, sizes
            centre = places.copy()
            centre[:, :2] = places[:, :2] @ turn.T
            log.add_boxes(
                frame, boxes, categories, tracks, velocity_valid=np.zeros(n, bool), num_lidar_points=points_in,
                num_radar_points=np.zeros(n, int), source_translation=centre + translation,
                source_rotation=np.repeat(rotation[None], n, 0), source_size=sizes[:, [1, 0, 2]], attributes=attributes,
                visibility=["4"] * n, source_token=[f"ann{frame}-{i}" for i in range(n)],
            )  # fmt: skip
    return tmp_path / "scene-0001"
