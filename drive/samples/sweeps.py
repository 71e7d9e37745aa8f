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
        intensity_max: Value that becomes 1 (255 for nuScenes and Argoverse 2, 1 for KITTI); inf = tanh (Waymo).
        key_ego_from_sensor: float64 [4, 4], sensor at the sweep's instant to the ego frame of the key frame.
        dt_s: Seconds before the key frame, >= 0 for the past.
    """

    points: npt.NDArray[np.float32]
    intensity_column: int
    elongation_column: int
    intensity_max: float
    key_ego_from_sensor: npt.NDArray[np.float64]
    dt_s: float


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _append_sweep(  # type: ignore[no-untyped-def]
    points, intensity_column, elongation_column, intensity_scale, matrix, dt, ego_radius, low, high, out, start
):
    """Transform, crop and append in one pass; every row is written, those that do not count are written over.

    `out` has a row to spare. No branch in the loop but the loop: that made it a quarter faster. `low` and the columns
    may be None: numba compiles a variant that has nothing of them, the usual one a quarter faster again.
    """
    m00, m01, m02, m03 = matrix[0, 0], matrix[0, 1], matrix[0, 2], matrix[0, 3]
    m10, m11, m12, m13 = matrix[1, 0], matrix[1, 1], matrix[1, 2], matrix[1, 3]
    m20, m21, m22, m23 = matrix[2, 0], matrix[2, 1], matrix[2, 2], matrix[2, 3]
    # Unsigned: no test for indices that count from the end.
    row, count = np.uint64(start), np.uint64(points.shape[0])
    for i in range(count):
        own_x, own_y = points[i, 0], points[i, 1]
        x, y, z = np.float64(own_x), np.float64(own_y), np.float64(points[i, 2])
        at_x = np.float32(m00 * x + m01 * y + m02 * z + m03)
        at_y = np.float32(m10 * x + m11 * y + m12 * z + m13)
        at_z = np.float32(m20 * x + m21 * y + m22 * z + m23)
        out[row, 0], out[row, 1], out[row, 2] = at_x, at_y, at_z
        out[row, 3], out[row, 4], out[row, 5] = np.float32(0), np.float32(0), dt
        if intensity_column is not None:
            out[row, 3] = points[i, np.uint64(intensity_column)] * intensity_scale
        if elongation_column is not None:
            out[row, 4] = points[i, np.uint64(elongation_column)]
        outside = (abs(own_x) < ego_radius) & (abs(own_y) < ego_radius)
        if low is not None:
            outside |= (at_x < low[0]) | (at_x >= high[0]) | (at_y < low[1]) | (at_y >= high[1])
            outside |= (at_z < low[2]) | (at_z >= high[2])
        row += np.uint64(not outside)
    return row


def merge_sweeps(
    sweeps: Sequence[RawSweep], ego_radius_m: float = 1.0, range_m: Sequence[float] | None = None
) -> npt.NDArray[np.float32]:
    """All sweeps as one cloud in the key frame's ego frame, in the given order.

    Args:
        sweeps: Key sweep first, then older ones.
        ego_radius_m: Points with |x| and |y| below this in their own sensor frame are returns from the ego itself and
            are dropped (1 m in the nuScenes devkit, for the key sweep as well).
        range_m: Drop what is outside x0 y0 z0 x1 y1 z1 (half-open, as `crop_points`) of the result's frame as well.

    Returns:
        float32 [P, 6], see `POINT_COLUMNS`.
    """
    out = np.empty((sum(len(s.points) for s in sweeps) + 1, len(POINT_COLUMNS)), np.float32)
    bounds = None if range_m is None else np.array(range_m, dtype=np.float32)
    low, high = (None, None) if bounds is None else (bounds[:3], bounds[3:])
    row = 0
    for sweep in sweeps:
        points = sweep.points
        if points.flags.writeable:  # one compiled variant, whether the cloud is mapped from a file or not
            points = points.view()
            points.flags.writeable = False
        begin, unbounded = int(row), sweep.intensity_max == np.inf
        row = _append_sweep(
            points,
            sweep.intensity_column if sweep.intensity_column >= 0 else None,
            sweep.elongation_column if sweep.elongation_column >= 0 else None,
            np.float32(1.0 if unbounded else 1.0 / sweep.intensity_max),
            np.ascontiguousarray(sweep.key_ego_from_sensor, dtype=np.float64),
            np.float32(sweep.dt_s),
            np.float32(ego_radius_m),
            low,
            high,
            out,
            begin,
        )
        if unbounded:
            np.tanh(out[begin : int(row), 3], out=out[begin : int(row), 3])
    return out[: int(row)]


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


def in_range(points: npt.NDArray[np.float32], range_m: Sequence[float]) -> npt.NDArray[np.bool_]:
    """Which points `crop_points` keeps, bool [P]."""
    bounds = np.asarray(range_m, dtype=np.float32)
    return np.asarray(((points[:, :3] >= bounds[:3]) & (points[:, :3] < bounds[3:])).all(axis=1))
