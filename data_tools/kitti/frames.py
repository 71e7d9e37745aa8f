"""KITTI's camera-frame boxes and matrices in our frames: ego = Velodyne (x forward, y left, z up)."""

from __future__ import annotations

import numpy as np

from data_tools.kitti.read import Labels
from drive.geometry.angles import wrap_angle

GROUND_Z_M = -1.73  # height of the scanner above ground, KITTI's sensor drawing


def rectified_from_velodyne(calibration: dict[str, np.ndarray]) -> np.ndarray:
    """4x4 R0_rect * Tr_velo_to_cam. Its numbers have 7 digits, so it is rigid only to about 1e-6."""
    rect, velo = np.eye(4), np.eye(4)
    rect[:3, :3] = calibration["R0_rect"]
    velo[:3] = calibration["Tr_velo_to_cam"]
    return rect @ velo


def velodyne_from_camera(calibration: dict[str, np.ndarray], projection: str) -> np.ndarray:
    """Pose 4x4 of one camera's optical frame, such that ``P[:, :3]`` alone projects as the 3x4 matrix P does.

    P x = K (R x + t) with K t = P[:, 3]: the camera sits at -K^-1 P[:, 3] in the rectified frame of camera 0.
    """
    P = calibration[projection]
    camera_from_rectified = np.eye(4)
    camera_from_rectified[:3, 3] = np.linalg.solve(P[:, :3], P[:, 3])
    return np.linalg.inv(camera_from_rectified @ rectified_from_velodyne(calibration))


def boxes_of_labels(labels: Labels, calibration: dict[str, np.ndarray]) -> np.ndarray:
    """Boxes [N, 9] in the Velodyne frame (velocity columns 0: KITTI has none) of labels without DontCare."""
    velodyne_from_rectified = np.linalg.inv(rectified_from_velodyne(calibration))
    return boxes_of_camera(labels.numbers[:, 7:14], velodyne_from_rectified)


def boxes_of_camera(numbers: np.ndarray, ego_from_camera: np.ndarray) -> np.ndarray:
    """Upright boxes [N, 9] in the ego frame of KITTI's seven numbers a box.

    Args:
        numbers: [N, 7] height, width, length, bottom centre x y z, rotation_y; camera axes right, down, forward.
        ego_from_camera: 4x4. It moves the centre; yaw = -(rotation_y + pi / 2) leaves its small turns out.
    """
    height, width, length = numbers[:, 0], numbers[:, 1], numbers[:, 2]
    boxes = np.zeros((len(numbers), 9))
    boxes[:, :3] = numbers[:, 3:6] @ ego_from_camera[:3, :3].T + ego_from_camera[:3, 3]
    boxes[:, 2] += height / 2
    boxes[:, 3], boxes[:, 4], boxes[:, 5] = length, width, height
    boxes[:, 6] = wrap_angle(-(numbers[:, 6] + np.pi / 2))
    return boxes


def camera_rotations(labels: Labels) -> np.ndarray:
    """Quaternions [N, 4] (w x y z) of the source's rotation_y about the camera's y axis."""
    half = labels.numbers[:, 13] / 2
    zero = np.zeros_like(half)
    return np.stack([np.cos(half), zero, np.sin(half), zero], axis=1)
