"""Which corruption of which sensors, how severe: one field of the data's configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from drive.errors import UserError
from drive.samples.corrupt.image_blur import blur_motion_of
from drive.samples.corrupt.image_light import Pixels, blacken, brighten, darken, noise_pixels
from drive.samples.corrupt.image_weather import fog_image, snow_image
from drive.samples.corrupt.lidar_fog import add_fog
from drive.samples.corrupt.lidar_points import (
    blur_motion,
    drop_sector,
    misalign,
    noise_reflectance,
    reduce_beams,
    reduce_points,
)
from drive.samples.corrupt.lidar_snow import add_snow
from drive.samples.corrupt.scan import SEVERITIES, Scan, Severity

SEED = 1000
"""MultiCorrupt's."""

LidarFunction = Callable[[Scan, Severity, np.random.Generator], Scan]
ImageFunction = Callable[[Pixels, Severity, np.random.Generator], Pixels]


@dataclass(frozen=True)
class Corruption:
    """One way in which sensors fail.

    Attributes:
        lidar: What it does to a sweep; None where it leaves the returns of a sweep alone.
        image: What it does to a picture.
        touches: Sensors that it touches, of "lidar" and "camera".
        published: It is one of MultiCorrupt's ten; the others are ours.
        by_frame: Drawn once a key frame, not once a sweep (and so alike for every sweep of a sample).
        beams: It asks which beam a return comes from.
    """

    touches: tuple[str, ...]
    lidar: LidarFunction | None = None
    image: ImageFunction | None = None
    published: bool = True
    by_frame: bool = False
    beams: bool = False


CORRUPTIONS: dict[str, Corruption] = {
    "points_reducing": Corruption(("lidar",), lidar=reduce_points),
    "beams_reducing": Corruption(("lidar",), lidar=reduce_beams, beams=True),
    "motion_blur": Corruption(("lidar", "camera"), lidar=blur_motion, image=blur_motion_of),
    "spatial_misalignment": Corruption(("lidar",), lidar=misalign),
    "temporal_misalignment": Corruption(("lidar", "camera"), by_frame=True),  # takes other rows: `moments.py`
    "missing_camera": Corruption(("camera",), image=blacken),  # by chance: `cameras.py`
    "brightness": Corruption(("camera",), image=brighten),
    "dark": Corruption(("camera",), image=darken),
    "fog": Corruption(("lidar", "camera"), lidar=add_fog, image=fog_image),
    "snow": Corruption(("lidar", "camera"), lidar=add_snow, image=snow_image, beams=True),
    "camera_drop": Corruption(("camera",), image=blacken, published=False, by_frame=True),  # which: `cameras.py`
    "lidar_drop": Corruption(("lidar",), lidar=drop_sector, published=False, by_frame=True),
    "calibration_shift": Corruption(("camera",), published=False),  # turns poses: `cameras.py`
    "time_shift": Corruption(("camera",), published=False),  # takes other rows: `moments.py`
    "reflectance_noise": Corruption(("lidar",), lidar=noise_reflectance, published=False),
    "pixel_noise": Corruption(("camera",), image=noise_pixels, published=False),
}
"""MultiCorrupt's ten in the order of its paper's table, then ours."""


@dataclass(frozen=True)
class CorruptConfig:
    """A corruption of every frame of a data set.

    Attributes:
        name: One of `CORRUPTIONS`.
        severity: 1, 2 or 3, rising.
        seed: Of everything that is drawn, together with the log, the sensor and the sweep, image or frame.
    """

    name: str
    severity: int = 1
    seed: int = SEED

    def __post_init__(self) -> None:
        if self.name not in CORRUPTIONS:
            raise UserError("data.corrupt.name", f"no corruption {self.name!r}", f"use one of {', '.join(CORRUPTIONS)}")
        if self.severity not in SEVERITIES:
            raise UserError("data.corrupt.severity", f"{self.severity} is no severity", "use 1, 2 or 3")

    @property
    def corruption(self) -> Corruption:
        """What `name` names."""
        return CORRUPTIONS[self.name]
