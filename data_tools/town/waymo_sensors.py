"""The Waymo-shaped car: five lidars as range images and five cameras. Mounting and beams after the real ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from data_tools.town.sensors import camera_model, camera_mount
from data_tools.waymo_perception.messages import CAMERAS, LASERS
from data_tools.waymo_perception.range_image import Laser
from data_tools.waymo_perception.sensors import WAYMO_FROM_OPTICAL
from drive.render.camera import CameraModel
from drive.render.lidar import WAYMO_64, ColumnPoses, LidarModel, SweepReturn

TOP = 1
# Laser number: position in the vehicle frame (m), yaw pitch roll (degrees). The top one turns against the car's axes.
_MOUNTS = {
    1: ((1.43, 0.0, 2.184), (147.9, -0.1, 0.36)),
    2: ((3.30, 0.0, 0.689), (-0.3, 1.2, -0.2)),
    3: ((2.60, 0.95, 0.979), (88.8, 1.3, 0.3)),
    4: ((2.60, -0.95, 0.979), (-92.2, 1.4, 0.2)),
    5: ((-1.155, 0.0, 0.464), (178.4, 1.5, 0.5)),
}
_SHORT_BOUNDS = (np.radians(-75.0), np.radians(30.0))  # edges of the short lidars' field; the real ones see to -90
_SHORT_SIZE, _THIN_ROWS = (200, 600), 40
# Waymo's five cameras on the places of the town's own.
CHANNELS = {1: "CAM_FRONT", 2: "CAM_FRONT_LEFT", 3: "CAM_FRONT_RIGHT", 4: "CAM_BACK_LEFT", 5: "CAM_BACK_RIGHT"}


@dataclass(frozen=True)
class Lidar:
    """One lidar: its calibration as a converter sees it, and the renderer's model. Pixel (row, column) of the range
    image is ring `row` of the model's column `column`."""

    number: int
    laser: Laser
    model: LidarModel

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of its range images."""
        return len(self.model.beam_elevations_rad), self.model.columns


def lidars(columns: int | None) -> list[Lidar]:
    """The five lidars; `columns` thins the turn of the top one, and the short ones with it."""
    out = []
    for number, (position, (yaw, pitch, roll)) in _MOUNTS.items():
        extrinsic = np.eye(4)
        extrinsic[:3, :3] = _rotation(*np.radians([yaw, pitch, roll]))
        extrinsic[:3, 3] = position
        if number == TOP:
            beams = np.sort(WAYMO_64.beam_elevations_rad)
            laser = Laser(LASERS[number], extrinsic, beams, float(beams[0]), float(beams[-1]))
            height, width, base = len(beams), columns or WAYMO_64.columns, WAYMO_64
        else:
            laser = Laser(LASERS[number], extrinsic, np.zeros(0), *_SHORT_BOUNDS)
            height, width = _SHORT_SIZE if columns is None else (_THIN_ROWS, max(columns // 4, 8))
            # They do not turn: the whole picture is of one moment.
            base = replace(WAYMO_64, name="short", period_s=1e-6, max_range_m=20.0, min_range_m=0.3, half_range_m=30.0)
        start = np.pi - float(np.arctan2(extrinsic[1, 0], extrinsic[0, 0]))  # column 0 looks backwards
        rows = tuple(float(v) for v in laser.rows(height, "town"))
        model = replace(base, beam_elevations_rad=rows, columns=width, start_azimuth_rad=start)
        out.append(Lidar(number, laser, model))
    return out


def _rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Rz(yaw) Ry(pitch) Rx(roll)."""
    cz, sz, cy, sy, cx, sx = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    turn = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1.0]])
    nod = np.array([[cy, 0, sy], [0, 1.0, 0], [-sy, 0, cy]])
    lean = np.array([[1.0, 0, 0], [0, cx, -sx], [0, sx, cx]])
    return turn @ nod @ lean


@dataclass(frozen=True)
class Camera:
    """One camera: number, extrinsic in Waymo's axes float64 [4, 4], the renderer's model, its mount (optical axes)."""

    number: int
    extrinsic: np.ndarray
    model: CameraModel
    ego_from_optical: np.ndarray

    @property
    def name(self) -> str:
        """Waymo's name."""
        return CAMERAS[self.number]


def cameras(width: int, rng: np.random.Generator) -> list[Camera]:
    """The five cameras, pictures `width` pixels wide; 0 = none."""
    if not width:
        return []
    out = []
    for number, channel in CHANNELS.items():
        mount = camera_mount(channel, rng).ego_from_sensor
        out.append(Camera(number, mount @ WAYMO_FROM_OPTICAL.T, camera_model(channel, width), mount))
    return out


@dataclass(frozen=True)
class Picture:
    """A sweep as a range image: range_m (0 = nothing), intensity 0..1 float32 [H, W]; actor int32 [H, W] (-1 = none
    or static); points float64 [H, W, 3], global."""

    range_m: np.ndarray
    intensity: np.ndarray
    actor: np.ndarray
    points: np.ndarray


def to_picture(lidar: Lidar, returns: SweepReturn, poses: ColumnPoses, global_from_end: np.ndarray) -> Picture:
    """Put the renderer's returns back on the grid that they were cast from; ranges from where each column stood."""
    height, width = lidar.size
    turned = returns.time_offset_s.astype(np.float64) / lidar.model.period_s + 1.0
    column = np.rint(turned * width).astype(np.int64) - 1
    row = returns.ring.astype(np.int64)
    points = returns.points.astype(np.float64) @ global_from_end[:3, :3].T + global_from_end[:3, 3]
    out = Picture(
        np.zeros((height, width), np.float32), np.zeros((height, width), np.float32),
        np.full((height, width), -1, np.int32), np.zeros((height, width, 3)),
    )  # fmt: skip
    out.range_m[row, column] = np.linalg.norm(points - poses.origin[column], axis=1)
    out.intensity[row, column] = returns.intensity / 255.0
    out.actor[row, column] = returns.actor
    out.points[row, column] = points
    return out


def pixel_poses(lidar: Lidar, poses: ColumnPoses) -> np.ndarray:
    """float32 [H, W, 6] roll pitch yaw x y z of the vehicle in the global frame while each pixel was measured."""
    height, width = lidar.size
    beam = lidar.model.start_azimuth_rad - poses.azimuth
    axes = np.stack([poses.along, np.cross(poses.up, poses.along), poses.up], axis=2)  # [W, 3, 3], of the fired column
    turn = np.zeros((width, 3, 3))
    turn[:, 0, 0] = turn[:, 1, 1] = np.cos(beam)
    turn[:, 0, 1], turn[:, 1, 0] = np.sin(beam), -np.sin(beam)
    turn[:, 2, 2] = 1.0
    global_from_lidar = axes @ turn
    mount = lidar.laser.ego_from_sensor
    rotation = global_from_lidar @ mount[:3, :3].T
    place = poses.origin - rotation @ mount[:3, 3]
    roll = np.arctan2(rotation[:, 2, 1], rotation[:, 2, 2])
    pitch = np.arcsin(np.clip(-rotation[:, 2, 0], -1.0, 1.0))
    yaw = np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])
    columns = np.column_stack([roll, pitch, yaw, place]).astype(np.float32)
    return np.broadcast_to(columns, (height, width, 6))
