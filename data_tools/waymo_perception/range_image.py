"""Range images to points and back (waymo_open_dataset ``utils/range_image_utils.py``, ``frame_utils.py``).

A range image has one pixel a beam and azimuth step. Polar coordinates are computed in float32, step by step as the
official code does (its azimuths are what they are because of it); everything after that is float64, so that the hop
through global coordinates, where a float32 is 4 mm wide, costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from zlib_ng import zlib_ng as zlib

from data_tools.waymo_perception.messages import MATRIX_FLOAT, MATRIX_INT32
from data_tools.wire import WireError, decode
from drive.errors import UserError

MAX_INFLATED = 1 << 26  # 16 times the largest real matrix: a stream that inflates to more is no range image
_AGAIN = "copy the file again"
CHANNELS = 4  # range, intensity, elongation, no-label-zone flag (1 inside, -1 outside, 0 unknown)


def inflate(data: bytes | memoryview, place: str) -> bytes:
    """A zlib stream's content; UserError where it is broken or larger than ``MAX_INFLATED``."""
    stream = zlib.decompressobj()
    try:
        out = stream.decompress(data, MAX_INFLATED)
    except zlib.error as error:  # type: ignore[misc]  # its stub gives the exception as a value
        raise UserError(place, f"broken zlib stream ({error})", _AGAIN) from None
    if not stream.eof:
        what = "is larger than any range image" if len(out) == MAX_INFLATED else "is cut off"
        raise UserError(place, f"its zlib stream {what}", _AGAIN)
    return out


def read_matrix(data: bytes | memoryview, place: str, *, integers: bool = False) -> np.ndarray:
    """float32 (or int32) [H, W, C] of a compressed MatrixFloat (MatrixInt32)."""
    try:
        found = decode(inflate(data, place), MATRIX_INT32 if integers else MATRIX_FLOAT)
    except WireError as error:
        raise UserError(place, str(error), _AGAIN) from None
    return shaped(found["data"], found.get("shape", {}).get("dims", ()), place)


def shaped(values: np.ndarray, dims: np.ndarray | tuple[int, ...], place: str) -> np.ndarray:
    """Values [H * W * C] as [H, W, C]; UserError where the numbers do not fit."""
    shape = tuple(int(d) for d in dims)
    if len(shape) != 3 or not all(0 < d < 1 << 16 for d in shape) or shape[0] * shape[1] * shape[2] != len(values):
        raise UserError(place, f"{len(values)} values cannot have the shape {list(shape)}", _AGAIN)
    return values.reshape(shape)


@njit(cache=True, nogil=True)
def _atan2(y: float, x: float) -> float:
    """The C library's float32 arctangent, which TensorFlow takes: numpy's own, or the double one rounded, differ from
    it in the last bit for some angles, which is 0.02 mm at 75 m."""
    return math.atan2(y, x)


@dataclass(frozen=True)
class Laser:
    """Calibration of one lidar: vehicle from sensor float64 [4, 4]; inclinations float64 [H] ascending, or empty with
    the field's lower and upper edge (radians)."""

    name: str
    ego_from_sensor: np.ndarray
    inclinations: np.ndarray
    inclination_min: float
    inclination_max: float

    def rows(self, height: int, place: str) -> np.ndarray:
        """float32 [H] inclination of every row of an image, row 0 the highest."""
        if not len(self.inclinations):
            low, high = np.float32(self.inclination_min), np.float32(self.inclination_max)
            steps = (np.float32(0.5) + np.arange(height, dtype=np.float32)) / np.float32(height)
            return (steps * (high - low) + low)[::-1]
        if len(self.inclinations) != height:
            raise UserError(place, f"{len(self.inclinations)} beams for {height} rows", _AGAIN)
        return self.inclinations.astype(np.float32)[::-1]

    def columns(self, width: int) -> np.ndarray:
        """float32 [W] azimuth of every column in the sensor frame; column 0 looks backwards in the vehicle frame."""
        extrinsic = self.ego_from_sensor.astype(np.float32)
        correction = np.float32(_atan2(extrinsic[1, 0], extrinsic[0, 0]))
        ratios = (np.arange(width, 0, -1).astype(np.float32) - np.float32(0.5)) / np.float32(width)
        return (ratios * np.float32(2) - np.float32(1)) * np.float32(np.pi) - correction


@dataclass(frozen=True)
class Returns:
    """The P points of the images of one lidar, image after image, each row by row.

    points float32 [P, 5] x y z (vehicle frame at the frame's pose, metres) intensity elongation; range_m float32 [P];
    row, column uint16 [P]; nlz int8 [P]: the flag where it is -1 or 1, else 0; counts: points of each image.
    """

    points: np.ndarray
    range_m: np.ndarray
    row: np.ndarray
    column: np.ndarray
    nlz: np.ndarray
    counts: tuple[int, ...]

    def image(self, index: int) -> slice:
        """Which points are those of one image."""
        start = sum(self.counts[:index])
        return slice(start, start + self.counts[index])


def to_float32(values: np.ndarray) -> np.ndarray:
    """Numbers as the data set's own float32; those of a damaged file may not fit and become infinite, without a
    warning: whoever uses them refuses points that are not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32)


def to_points(
    images: Sequence[np.ndarray], laser: Laser, pose: np.ndarray | None, ego_from_global: np.ndarray, place: str
) -> Returns:
    """Points of all pixels with a range above 0.

    Args:
        images: one a return, float32 [H, W, 4] range (m), intensity, elongation, no-label-zone flag.
        pose: float32 [H, W, 6] roll pitch yaw x y z (global from vehicle when the pixel was measured), or None for
            lidars whose points are given in the vehicle frame of the whole frame.
        ego_from_global: float64 [4, 4], inverse of the frame's pose.
    """
    for image in images:
        if image.ndim != 3 or image.shape[2] != CHANNELS:
            raise UserError(place, f"a range image of shape {list(image.shape)}, not [H, W, {CHANNELS}]", _AGAIN)
        if pose is not None and pose.shape != (*image.shape[:2], 6):
            raise UserError(place, f"pixel poses of shape {list(pose.shape)} for {list(image.shape)}", _AGAIN)
    extrinsic = np.ascontiguousarray(to_float32(laser.ego_from_sensor), np.float64)
    if not np.isfinite(extrinsic).all():
        raise UserError(place, "the laser's extrinsic is beyond what a float32 holds", _AGAIN)
    counts = tuple(count_returns(image) for image in images)
    total = sum(counts)
    out = Returns(
        np.empty((total, 5), np.float32), np.empty(total, np.float32), np.empty(total, np.uint16),
        np.empty(total, np.uint16), np.empty(total, np.int8), counts,
    )  # fmt: skip
    nothing = np.empty((0, 0, 6), np.float32)
    for index, image in enumerate(images):
        rows = laser.rows(image.shape[0], place).astype(np.float64)
        columns = laser.columns(image.shape[1]).astype(np.float64)
        part = out.image(index)
        finite = fill_points(
            np.ascontiguousarray(image), nothing if pose is None else np.ascontiguousarray(pose), pose is not None,
            np.cos(rows), np.sin(rows), np.cos(columns), np.sin(columns), extrinsic,
            np.ascontiguousarray(ego_from_global), out.points[part], out.range_m[part], out.row[part],
            out.column[part], out.nlz[part],
        )  # fmt: skip
        if finite != counts[index]:
            at = f"row {out.row[part][finite]} column {out.column[part][finite]} of return {index + 1}"
            raise UserError(
                place, f"the pixel at {at} gives a point that is not finite", "mend or leave out this frame"
            )
    return out


@njit(cache=True, nogil=True)
def count_returns(image: np.ndarray) -> int:
    """Pixels with a range above 0."""
    count = 0
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            count += image[row, column, 0] > 0
    return count


@njit(cache=True, nogil=True, inline="always")
def _turned(p: float, q: float, angle: float, base: float, sine: float, cosine: float) -> tuple[float, float]:
    """(p, q) turned by `angle`, which is near `base` whose sine and cosine are known (series: below 1e-17 at 0.1)."""
    d = angle - base
    if abs(d) < 0.1:
        w = d * d
        s = d * (1.0 - w * (1 / 6) * (1.0 - w * (1 / 20) * (1.0 - w * (1 / 42) * (1.0 - w * (1 / 72)))))
        c = 1.0 - w * 0.5 * (1.0 - w * (1 / 12) * (1.0 - w * (1 / 30) * (1.0 - w * (1 / 56) * (1.0 - w * (1 / 90)))))
        s, c = sine * c + cosine * s, cosine * c - sine * s
    else:
        s, c = np.sin(angle), np.cos(angle)
    return c * p - s * q, s * p + c * q


@njit(cache=True, nogil=True, error_model="numpy")
def fill_points(
    image: np.ndarray, pose: np.ndarray, has_pose: bool, cos_row: np.ndarray, sin_row: np.ndarray,
    cos_column: np.ndarray, sin_column: np.ndarray, e: np.ndarray, g: np.ndarray, points: np.ndarray,
    range_m: np.ndarray, out_row: np.ndarray, out_column: np.ndarray, nlz: np.ndarray,
) -> int:  # fmt: skip
    """Fill the last five arrays; returns the number of points, or the index of the first that is not finite."""
    base, sine, cosine = np.zeros(3), np.zeros(3), np.ones(3)
    if has_pose:  # angles of a pixel in the middle: all others are near them
        for k in range(3):
            base[k] = pose[pose.shape[0] // 2, pose.shape[1] // 2, k]
            sine[k], cosine[k] = np.sin(base[k]), np.cos(base[k])
    base0, base1, base2 = base[0], base[1], base[2]
    sine0, sine1, sine2, cosine0, cosine1, cosine2 = sine[0], sine[1], sine[2], cosine[0], cosine[1], cosine[2]
    e00, e01, e02, e03 = e[0, 0], e[0, 1], e[0, 2], e[0, 3]
    e10, e11, e12, e13 = e[1, 0], e[1, 1], e[1, 2], e[1, 3]
    e20, e21, e22, e23 = e[2, 0], e[2, 1], e[2, 2], e[2, 3]
    g00, g01, g02, g10, g11, g12 = g[0, 0], g[0, 1], g[0, 2], g[1, 0], g[1, 1], g[1, 2]
    g20, g21, g22 = g[2, 0], g[2, 1], g[2, 2]
    # The frame's own place is subtracted from the pixel's before anything is rotated: both are large.
    home_x = -(g00 * g[0, 3] + g10 * g[1, 3] + g20 * g[2, 3])
    home_y = -(g01 * g[0, 3] + g11 * g[1, 3] + g21 * g[2, 3])
    home_z = -(g02 * g[0, 3] + g12 * g[1, 3] + g22 * g[2, 3])
    count = 0
    for row in range(image.shape[0]):
        cos_r, sin_r = cos_row[row], sin_row[row]
        for column in range(image.shape[1]):
            r = np.float64(image[row, column, 0])
            if not r > 0:
                continue
            flat, c = r * cos_r, r * sin_r
            a, b = flat * cos_column[column], flat * sin_column[column]
            x = e00 * a + e01 * b + e02 * c + e03
            y = e10 * a + e11 * b + e12 * c + e13
            z = e20 * a + e21 * b + e22 * c + e23
            if has_pose:
                y, z = _turned(y, z, np.float64(pose[row, column, 0]), base0, sine0, cosine0)
                z, x = _turned(z, x, np.float64(pose[row, column, 1]), base1, sine1, cosine1)
                x, y = _turned(x, y, np.float64(pose[row, column, 2]), base2, sine2, cosine2)
                x += np.float64(pose[row, column, 3]) - home_x
                y += np.float64(pose[row, column, 4]) - home_y
                z += np.float64(pose[row, column, 5]) - home_z
                x, y, z = (
                    g00 * x + g01 * y + g02 * z,
                    g10 * x + g11 * y + g12 * z,
                    g20 * x + g21 * y + g22 * z,
                )
            intensity, elongation = image[row, column, 1], image[row, column, 2]
            points[count, 0], points[count, 1], points[count, 2] = x, y, z
            points[count, 3], points[count, 4] = intensity, elongation
            range_m[count], flag = image[row, column, 0], image[row, column, 3]
            nlz[count] = 1 if flag == 1 else (-1 if flag == -1 else 0)
            out_row[count], out_column[count] = row, column
            if not np.isfinite(x + y + z + intensity + elongation):
                return count
            count += 1
    return count
