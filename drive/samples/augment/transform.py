"""Carry a sample through recorded geometric augmentations, and back.

A policy only draws a 4x4; here all of a sample's matrices are multiplied and every point is moved once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numba
import numpy as np
import numpy.typing as npt

from drive.geometry.angles import wrap_angle
from drive.samples.sample import VELOCITY, AppliedTransform, FrameSample


def transform_sample(sample: FrameSample, transforms: Sequence[AppliedTransform]) -> FrameSample:
    """The sample after the given augmentations, which are appended to its record.

    The matrices may turn about z, mirror across vertical planes, scale evenly and shift; a tilt would leave boxes
    that are no longer upright and is refused.

    Raises:
        ValueError: A matrix that tilts.
    """
    if not transforms:
        return sample
    matrix = augmented_from_recorded(transforms)
    return replace(
        sample,
        points=_transform_points(sample.points, matrix),
        boxes=transform_boxes_similar(matrix, sample.boxes).astype(np.float32),
        augmentations=sample.augmentations + tuple(transforms),
    )


def augmented_from_recorded(augmentations: Sequence[AppliedTransform]) -> npt.NDArray[np.float64]:
    """All of a sample's geometric augmentations as one matrix, float64 [4, 4]."""
    matrix = np.eye(4)
    for transform in augmentations:
        matrix = transform.augmented_from_original @ matrix
    return matrix


def undo_boxes(boxes: np.ndarray, augmentations: Sequence[AppliedTransform]) -> np.ndarray:
    """Boxes [N, 9] of an augmented frame (detections, labels), carried back to the recorded frame; float64."""
    return transform_boxes_similar(np.linalg.inv(augmented_from_recorded(augmentations)), boxes)


def undo(sample: FrameSample) -> FrameSample:
    """The sample before its geometric augmentations (equal to it up to float32 rounding)."""
    backwards = [
        AppliedTransform(f"undo {t.name}", np.linalg.inv(t.augmented_from_original).astype(np.float64))
        for t in reversed(sample.augmentations)
    ]
    return replace(transform_sample(sample, backwards), augmentations=())


def transform_boxes_similar(matrix: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Boxes [N, 9] under a turn about z, mirror image, even scaling and shift; float64.

    Unlike `drive.geometry.box.transform_boxes`, which moves boxes rigidly, this scales sizes and speeds and
    mirrors headings.
    """
    linear = matrix[:3, :3]
    scale = float(np.cbrt(abs(np.linalg.det(linear))))
    if not (np.allclose(linear[2, :2], 0) and np.allclose(linear[:2, 2], 0) and np.isclose(linear[2, 2], scale)):
        raise ValueError(f"this augmentation would tilt or stretch boxes: {linear.tolist()}")
    out = np.array(boxes, dtype=np.float64)
    out[:, :3] = out[:, :3] @ linear.T + matrix[:3, 3]
    out[:, 3:6] *= scale
    heading = np.stack([np.cos(boxes[:, 6]), np.sin(boxes[:, 6])], axis=-1) @ linear[:2, :2].T
    out[:, 6] = wrap_angle(np.arctan2(heading[:, 1], heading[:, 0]))
    out[:, 7:9] = out[:, 7:9] @ linear[:2, :2].T
    return out


def _transform_points(points: npt.NDArray[np.float32], matrix: np.ndarray) -> npt.NDArray[np.float32]:
    out = points.copy()
    _move(out, np.ascontiguousarray(matrix, dtype=np.float64))
    if out.shape[1] > VELOCITY.start:
        turn_velocities(out, matrix[:2, :2])
    return out


def turn_velocities(points: npt.NDArray[np.float32], linear: np.ndarray) -> None:
    """Carry the velocities of `RADAR_POINT_COLUMNS` through a linear map [2, 2], in place: a speed scales as a way."""
    rows = np.flatnonzero(points[:, VELOCITY].any(axis=1))  # few: a lidar's points have none
    points[rows, VELOCITY] = points[rows, VELOCITY] @ np.asarray(linear, np.float64).T


@numba.njit(cache=True, nogil=True)
def _move(points, m):  # type: ignore[no-untyped-def]
    for i in range(points.shape[0]):
        x, y, z = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        points[i, 0] = m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]
        points[i, 1] = m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]
        points[i, 2] = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]
