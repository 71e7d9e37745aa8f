"""What a lidar corruption works on: one recorded sweep, in its own sensor frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Severity = int
"""1, 2 or 3, rising."""

SEVERITIES: tuple[Severity, ...] = (1, 2, 3)

RINGS_ASSUMED = 32
"""Beams that a sensor without a ring column is taken to have; its elevation angles are cut into as many equal parts."""

_OUTLIERS_PERCENT = 0.1  # of the elevations at either end, so that a stray return does not stretch the parts


@dataclass(frozen=True, eq=False)
class Scan:
    """P returns of one sweep.

    Attributes:
        xyz: float32 [P, 3], m, SENSOR frame.
        intensity: float32 [P], 0..1.
        ring: int64 [P], beam of each return, 0 the lowest where it was told from the elevation angle.
        source: int64 [P], the recorded row that each return comes from (its other columns stay as recorded).
    """

    xyz: npt.NDArray[np.float32]
    intensity: npt.NDArray[np.float32]
    ring: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.xyz)

    @staticmethod
    def of(xyz: np.ndarray, intensity: np.ndarray, ring: np.ndarray | None = None) -> Scan:
        """A scan of whole columns; without `ring` the beams are told from the elevation (`rings_by_elevation`)."""
        place = np.ascontiguousarray(xyz, dtype=np.float32)
        beams = rings_by_elevation(place) if ring is None else np.asarray(ring).astype(np.int64)
        return Scan(place, np.asarray(intensity, np.float32), beams, np.arange(len(place)))

    def take(self, rows: np.ndarray) -> Scan:
        """The returns at `rows` (mask or indices)."""
        return Scan(self.xyz[rows], self.intensity[rows], self.ring[rows], self.source[rows])

    def distance_m(self) -> npt.NDArray[np.float64]:
        """float64 [P], from the sensor."""
        return np.sqrt(np.einsum("ij,ij->i", self.xyz, self.xyz, dtype=np.float64))


def rings_by_elevation(xyz: np.ndarray, rings: int = RINGS_ASSUMED) -> npt.NDArray[np.int64]:
    """Beam of each return where the recording does not say it: equal parts of the elevation angle, 0 the lowest.

    Args:
        xyz: float [P, 3], sensor frame.
        rings: Number of parts.

    Returns:
        int64 [P], 0 to rings - 1.
    """
    if len(xyz) == 0:
        return np.zeros(0, np.int64)
    place = np.asarray(xyz, np.float64)
    elevation = np.arctan2(place[:, 2], np.hypot(place[:, 0], place[:, 1]))
    low, high = np.percentile(elevation, [_OUTLIERS_PERCENT, 100 - _OUTLIERS_PERCENT])
    share = (elevation - low) / max(float(high - low), 1e-9)
    return np.clip(np.rint(share * (rings - 1)), 0, rings - 1).astype(np.int64)
