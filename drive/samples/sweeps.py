"""Past sweeps carried into the key frame by the ego's own motion.

The chain of the nuScenes devkit's ``LidarPointCloud.from_file_multisweep``: sensor at t_i -> ego(t_i) -> global ->
ego(key frame), one 4x4 a sweep; the devkit goes on into the reference sensor, we stop in the ego frame. Objects that
move smear, as in every published multi-sweep detector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from drive.samples.sample import POINT_COLUMNS


@dataclass(frozen=True, eq=False)
class RawSweep:
    """One recorded sweep and where it was recorded.

    Attributes:
        points: float32 [P, C] in the sensor frame, C-contiguous, starting with x y z.
        intensity_column: Column of the intensity, -1 where there is none.
        elongation_column: Column of the elongation, -1 where there is none.
        intensity_max: Value that becomes 1 (255 for nuScenes and Argoverse 2, 1 for KITTI and Waymo).
        key_ego_from_sensor: float64 [4, 4], sensor at the sweep's instant to the ego frame of the key frame.
        dt_s: Seconds before the key frame, >= 0 for the past.
    """

    points: npt.NDArray[np.float32]
    intensity_column: int
    elongation_column: int
    intensity_max: float
    key_ego_from_sensor: npt.NDArray[np.float64]
    dt_s: float


@numba.njit(cache=True, nogil=True)
def _append_sweep(  # type: ignore[no-untyped-def]
    points, intensity_column, elongation_column, intensity_scale, matrix, dt, ego_radius, out, start
):
    m = matrix
    row = start
    for i in range(points.shape[0]):
        x, y, z = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        if abs(x) < ego_radius and abs(y) < ego_radius:
            continue
        out[row, 0] = m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]
        out[row, 1] = m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]
        out[row, 2] = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]
        out[row, 3] = points[i, intensity_column] * intensity_scale if intensity_column >= 0 else np.float32(0)
        out[row, 4] = points[i, elongation_column] if elongation_column >= 0 else np.float32(0)
        out[row, 5] = dt
        row += 1
    return row


def merge_sweeps(sweeps: Sequence[RawSweep], ego_radius_m: float = 1.0) -> npt.NDArray[np.float32]:
    """All sweeps as one cloud in the key frame's ego frame, in the given order.

    Args:
        sweeps: Key sweep first, then older ones.
        ego_radius_m: Points with |x| and |y| below this in their own sensor frame are returns from the ego itself and
            are dropped (1 m in the nuScenes devkit, for the key sweep as well).

    Returns:
        float32 [P, 6], see `POINT_COLUMNS`.
    """
    out = np.empty((sum(len(s.points) for s in sweeps), len(POINT_COLUMNS)), np.float32)
    row = 0
    for sweep in sweeps:
        points = sweep.points.view()
        points.flags.writeable = False  # one compiled variant, whether the cloud is mapped from a file or not
        row = _append_sweep(
            points,
            sweep.intensity_column,
            sweep.elongation_column,
            np.float32(1.0 / sweep.intensity_max),
            np.ascontiguousarray(sweep.key_ego_from_sensor, dtype=np.float64),
            np.float32(sweep.dt_s),
            float(ego_radius_m),
            out,
            row,
        )
    return out[:row]


@numba.njit(cache=True, nogil=True)
def _crop(points, low, high, out):  # type: ignore[no-untyped-def]
    row = 0
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        if low[0] <= x < high[0] and low[1] <= y < high[1] and low[2] <= z < high[2]:
            for c in range(points.shape[1]):
                out[row, c] = points[i, c]
            row += 1
    return row


def crop_points(points: npt.NDArray[np.float32], range_m: Sequence[float]) -> npt.NDArray[np.float32]:
    """The points inside the half-open range x0 y0 z0 x1 y1 z1 (metres, ego frame), order kept."""
    out = np.empty_like(points)
    bounds = np.asarray(range_m, dtype=np.float32)
    return out[: _crop(points, bounds[:3], bounds[3:], out)]
