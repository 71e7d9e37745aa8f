"""Hand-made worlds and plain helpers that the renderer's tests share."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from drive.render.camera import CameraModel
from drive.render.lidar import NUSCENES_32, LidarModel
from drive.render.scene import Actors, Ground, Material, Primitives, StaticScene


def solids(*rows: tuple, material: int = Material.BUILDING) -> Primitives:
    """Rows (kind, centre, half size, yaw)."""
    n = len(rows)
    return Primitives(
        np.array([r[0] for r in rows]),
        np.array([r[1] for r in rows], dtype=float).reshape(n, 3),
        np.array([r[2] for r in rows], dtype=float).reshape(n, 3),
        np.array([r[3] for r in rows], dtype=float),
        np.full(n, int(material)),
        np.full((n, 3), 200),
        np.zeros(n),
    )


def world(primitives: Primitives | None = None, ground: Ground | None = None, seed: int = 0) -> StaticScene:
    ground = ground or Ground(np.zeros((0, 0), np.uint8), 0.5, (0.0, 0.0))
    return StaticScene(primitives or Primitives.empty(), ground, 0.7, 0.9, 0.4, (100, 150, 210), seed)


def one_actor(parts: Primitives, pose: tuple, velocity: tuple = (0.0, 0.0)) -> Actors:
    return Actors(np.array([pose]), np.array([velocity]), np.zeros(1), np.array([0, len(parts)]), parts)


# A lidar without chance: no noise, no drops, solid leaves, sees black walls at any range.
EXACT = replace(NUSCENES_32, range_noise_m=0.0, dropout=0.0, glass_dropout=0.0, half_range_m=1e6, foliage_depth_m=0.0)


def exact(elevations_deg: tuple[float, ...], columns: int = 360, **changes: object) -> LidarModel:
    elevations = tuple(math.radians(e) for e in elevations_deg)
    fields: dict = {"beam_elevations_rad": elevations, "columns": columns, "min_range_m": 0.1, **changes}
    return replace(EXACT, **fields)


def lidar_pose(x: float = 0.0, y: float = 0.0, z: float = 2.0, yaw: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """x right, y forward, z up; ``yaw`` is the heading of the sensor's y axis, ``roll`` tilts it about that axis."""
    cos, sin, cr, sr = math.cos(yaw), math.sin(yaw), math.cos(roll), math.sin(roll)
    heading = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    mounting = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    tilt = np.array([[cr, 0.0, sr], [0.0, 1.0, 0.0], [-sr, 0.0, cr]])
    pose = np.eye(4)
    pose[:3, :3] = heading @ mounting @ tilt
    pose[:3, 3] = (x, y, z)
    return pose


def camera_pose(x: float = 0.0, y: float = 0.0, z: float = 1.5, yaw: float = 0.0) -> np.ndarray:
    cos, sin = math.cos(yaw), math.sin(yaw)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = (sin, -cos, 0.0), (0.0, 0.0, -1.0), (cos, sin, 0.0)
    pose[:3, 3] = (x, y, z)
    return pose


def camera(width: int = 160, height: int = 90, focal: float = 120.0) -> CameraModel:
    return CameraModel("front", width, height, np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]]))


def to_global(pose: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points.astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]
