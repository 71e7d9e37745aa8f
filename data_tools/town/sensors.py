"""The recording car's sensors, mounted as on the real one: a roof lidar and six cameras, nuScenes channel names."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from drive.geometry.rigid import from_translation_rotation, matrix_to_quaternion
from drive.render.camera import CameraModel
from drive.render.lidar import NUSCENES_32, WAYMO_64, LidarModel

LIDAR = "LIDAR_TOP"
FULL_WIDTH = 1600
# Channel: yaw in degrees, position in the ego frame, focal length at 1600 pixels, trigger in microseconds after the
# lidar sweep's end (each fires while the beam passes its view, so that pixels and points agree).
CAMERAS = {
    "CAM_FRONT": (0.0, (1.701, 0.016, 1.511), 1266.4, -35000),
    "CAM_FRONT_RIGHT": (-56.0, (1.551, -0.493, 1.496), 1260.8, -27000),
    "CAM_BACK_RIGHT": (-111.0, (1.015, -0.481, 1.562), 1259.5, -20000),
    "CAM_BACK": (180.0, (0.028, 0.003, 1.579), 809.2, -10000),
    "CAM_BACK_LEFT": (109.5, (1.036, 0.485, 1.591), 1256.7, -500),
    "CAM_FRONT_LEFT": (55.5, (1.524, 0.495, 1.509), 1272.6, -43000),
}
LIDAR_POSITION = (0.944, 0.0, 1.840)
LIDAR_START_RAD = NUSCENES_32.start_azimuth_rad


@dataclass(frozen=True)
class Mounted:
    """A sensor's place on the car: translation [3], quaternion [4] (w x y z) and the same as a matrix."""

    translation: tuple[float, float, float]
    rotation: tuple[float, float, float, float]

    @property
    def ego_from_sensor(self) -> np.ndarray:
        return from_translation_rotation(self.translation, self.rotation)


def _mounted(translation: tuple[float, float, float], matrix: np.ndarray) -> Mounted:
    w, x, y, z = (float(v) for v in matrix_to_quaternion(matrix))
    return Mounted(translation, (w, x, y, z))


def lidar_mount(rng: np.random.Generator) -> Mounted:
    """Lidar frame x right, y forward, z up; each car is assembled a little differently (up to half a degree)."""
    roll, pitch, yaw = np.radians(rng.uniform(-0.4, 0.4, 3)) + np.array([0.0, 0.0, -np.pi / 2])
    cz, sz, cy, sy, cx, sx = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    turn = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1.0]])
    nod = np.array([[cy, 0, sy], [0, 1.0, 0], [-sy, 0, cy]])
    lean = np.array([[1.0, 0, 0], [0, cx, -sx], [0, sx, cx]])
    return _mounted(LIDAR_POSITION, turn @ nod @ lean)


def camera_mount(channel: str, rng: np.random.Generator) -> Mounted:
    """Camera frame x right, y down, z forward, level; a small error of mounting in yaw only."""
    degrees, position, _, _ = CAMERAS[channel]
    yaw = np.radians(degrees + rng.uniform(-0.5, 0.5))
    forward = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    return _mounted(position, np.column_stack([right, [0.0, 0.0, -1.0], forward]))


def camera_model(channel: str, width: int) -> CameraModel:
    """The camera at `width` x 9/16 `width` pixels, with the field of view of the 1600 x 900 original."""
    scale, height = width / FULL_WIDTH, round(width * 9 / 16)
    focal = CAMERAS[channel][2] * scale
    intrinsics = np.array([[focal, 0.0, 0.51 * width], [0.0, focal, 0.54 * height], [0.0, 0.0, 1.0]])
    return CameraModel(channel, width, height, intrinsics)


def lidar_model(beams: int, columns: int | None) -> LidarModel:
    """32 beams at 20 Hz or 64 at 10 Hz, both turning clockwise from the car's left; `columns` thins the turn."""
    model = NUSCENES_32 if beams == 32 else replace(WAYMO_64, start_azimuth_rad=LIDAR_START_RAD)
    return model if columns is None else replace(model, columns=columns)
