"""Modality drop-out: in training a sample sometimes loses all its images or all its lidar points, never both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from drive.errors import UserError
from drive.samples.images import CameraImages
from drive.samples.sample import POINT_COLUMNS, RADAR_POINT_COLUMNS, FrameSample, take_points

LEFT_OUT = "left out with all others at random, for training"

_IS_RADAR = RADAR_POINT_COLUMNS.index("is_radar")


def check_drop(drop: tuple[float, float], with_images: bool) -> tuple[float, float]:
    """The probabilities of losing all images and of losing all lidar points, given back.

    Raises:
        UserError: No probabilities, more than 1 together, or one of them where no image is read.
    """
    cameras, lidar = drop
    if min(drop) < 0 or cameras + lidar > 1:
        what = f"drop_cameras {cameras:g} and drop_lidar {lidar:g} are no chances of two things that exclude each other"
        raise UserError("data", what, "set them to 0 or more, together at most 1")
    if any(drop) and not with_images:
        what = "drop_cameras and drop_lidar are for samples with images"
        raise UserError("data", what, "set both to 0, or data.images")
    return drop


def drop_modality(sample: FrameSample, cameras: float, lidar: float, rng: np.random.Generator) -> FrameSample:
    """The sample without its images (with chance `cameras`), or without its lidar points (with chance `lidar`).

    One draw decides, so it is never both. A frame that has no image to go by keeps its points. Boxes stay, with the
    number of points that they had; radar returns stay.
    """
    drawn = rng.random()
    if drawn < cameras:
        return sample if sample.images is None else replace(sample, images=without_images(sample.images))
    if drawn >= 1 - lidar and sample.images is not None and sample.images.present.any():
        return without_lidar(sample)
    return sample


def without_images(images: CameraImages) -> CameraImages:
    """Every camera missing: black, not present, with poses and intrinsics of a missing one."""
    n = len(images.names)
    return replace(
        images,
        pixels=np.zeros_like(images.pixels),
        present=np.zeros(n, np.bool_),
        camera_from_ego=np.tile(np.eye(4), (n, 1, 1)),
        intrinsics=np.tile(np.eye(3), (n, 1, 1)),
        missing=tuple(f"{name}: {LEFT_OUT}" for name in images.names),
    )


def without_lidar(sample: FrameSample) -> FrameSample:
    """The sample without lidar points; radar returns and boxes stay, with the boxes' numbers of points."""
    if sample.points.shape[1] == len(POINT_COLUMNS):
        return take_points(sample, np.zeros(len(sample.points), np.bool_))
    return take_points(sample, sample.points[:, _IS_RADAR] > 0.5)
