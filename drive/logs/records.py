"""What a log hands out: frozen dataclasses over arrays that are views into its files where they can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Sensor:
    """A sensor of a log. Extrinsics float64 [4, 4]; intrinsics float64 [3, 3] pixels or None.

    `intensity_max` scales intensities to 0..1; where it is inf they have no upper bound and tanh does (as every
    published Waymo detector has it).
    """

    name: str
    modality: str
    ego_from_sensor: np.ndarray
    columns: tuple[str, ...]
    intensity_max: float | None
    intrinsics: np.ndarray | None
    distortion: tuple[str, tuple[float, ...]] | None
    width: int | None
    height: int | None
    source_translation: np.ndarray
    source_rotation: np.ndarray
    source_token: str

    def intensity_to(self, top: float, values: np.ndarray) -> np.ndarray:
        """Recorded intensities scaled to 0..top; unchanged where the sensor names no `intensity_max`."""
        if self.intensity_max is None:
            return values
        if self.intensity_max == np.inf:
            return np.tanh(values) * np.float32(top)
        return values * np.float32(top / self.intensity_max)


@dataclass(frozen=True)
class Frame:
    """A labelled instant; `rows` = {sensor: payload row} of what was recorded for it."""

    index: int
    timestamp_ns: int
    token: str
    source_timestamp: int
    global_from_ego: np.ndarray
    pose_translation: np.ndarray
    pose_rotation: np.ndarray
    interpolated: bool
    rows: dict[str, int]


@dataclass(frozen=True)
class Row:
    """What sweeps and images share: time, pose (global from ego) and the names in the source."""

    timestamp_ns: int
    global_from_ego: np.ndarray
    pose_translation: np.ndarray
    pose_rotation: np.ndarray
    is_key_frame: bool
    source_timestamp: int
    source_name: str
    source_token: str
    source_pose_token: str
    source_pose_timestamp: int | None


@dataclass(frozen=True)
class Sweep(Row):
    """Points float32 [P, C] in the SENSOR frame, a read-only view into the file; `extra` = typed columns [P]."""

    points: np.ndarray
    columns: tuple[str, ...]
    extra: dict[str, np.ndarray]


@dataclass(frozen=True)
class Image(Row):
    """An image file's bytes, as recorded."""

    data: bytes
    width: int
    height: int


@dataclass(frozen=True)
class FrameBoxes:
    """The N boxes of a frame: boxes float64 [N, 9] in its ego frame, BOX_COLUMNS of drive.geometry.box.

    Where `velocity_valid` is false vx and vy are 0; where `num_*_points_valid` is false the count is 0.
    `extra` holds the columns that only this data set has.
    """

    boxes: np.ndarray
    category: list[str]
    track: np.ndarray
    track_token: list[str]
    velocity_valid: np.ndarray
    num_lidar_points: np.ndarray
    num_lidar_points_valid: np.ndarray
    num_radar_points: np.ndarray
    num_radar_points_valid: np.ndarray
    attributes: list[str]
    visibility: list[str]
    source_token: list[str]
    source_translation: np.ndarray
    source_rotation: np.ndarray
    source_size: np.ndarray
    interpolated: np.ndarray
    extra: dict[str, list[Any]]
