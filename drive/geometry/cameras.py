"""Cameras: optical frame x right, y down, z forward; pixels (u right, v down), pixel centres at integers."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from ops.lens import bend, farthest

# Names of the distortion models that logs may carry.
PLUMB_BOB = "plumb_bob"  # k1 k2 p1 p2 k3: OpenCV's order; Waymo's five coefficients
RADIAL = "radial"  # k1 k2 k3: Argoverse 2

# Of `project_rolling`: it stops where a round moves a line's time by less than this, a thousandth of a line's.
ROUNDS, SETTLED_S = 12, 1e-8


def distort(normalised: np.ndarray, model: str, coefficients: np.ndarray) -> np.ndarray:
    """Distorted image-plane coordinates [P, 2] of undistorted ones (x/z, y/z).

    ``plumb_bob``: k1 k2 p1 p2 k3 (OpenCV's ``projectPoints``); ``radial``: k1 k2 k3. Unknown names raise ValueError.
    """
    x, y = normalised[:, 0], normalised[:, 1]
    if model == PLUMB_BOB:
        k1, k2, p1, p2, k3 = coefficients
    elif model == RADIAL:
        (k1, k2, k3), p1, p2 = coefficients, 0.0, 0.0
    else:
        raise ValueError(f"unknown distortion model {model!r}")
    return np.stack(bend(x, y, k1, k2, p1, p2, k3), axis=-1)


def project(
    points: np.ndarray, intrinsics: np.ndarray, distortion: tuple[str, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [P, 2] and depths [P] (metres along z) of points [P, 3] in the camera's optical frame.

    Points at or behind the camera (depth <= 0) get pixels of NaN: a caller masks by depth first.
    """
    points = np.asarray(points, dtype=np.float64)
    depth = points[:, 2]
    in_front = depth > 0
    normalised = np.full((len(points), 2), np.nan)
    np.divide(points[:, :2], depth[:, None], out=normalised, where=in_front[:, None])
    if distortion is not None:
        normalised = distort(normalised, distortion[0], np.asarray(distortion[1], dtype=np.float64))
    pixels = normalised @ np.asarray(intrinsics, dtype=np.float64)[:2, :2].T + intrinsics[:2, 2]
    return pixels, depth


READOUTS = ("TOP_TO_BOTTOM", "LEFT_TO_RIGHT", "BOTTOM_TO_TOP", "RIGHT_TO_LEFT")
"""Where a rolling shutter begins and ends, by Waymo's names."""


@dataclass(frozen=True, eq=False)
class RollingShutter:
    """When each line of an image was exposed, and how the ego moved meanwhile.

    Attributes:
        direction: One of `READOUTS`: rows or columns, and which end comes first.
        first_s: Middle of the exposure of the image's first edge, in seconds after the instant of the ego pose that
            goes with the image (Waymo: trigger time + shutter / 2 - pose timestamp).
        readout_s: Seconds from the first edge to the last (Waymo: readout done - trigger - shutter).
        velocity_mps: float64 [3], of the ego, in its own frame at the pose's instant.
        rate_radps: float64 [3], turn rates of the ego about its own axes.
    """

    direction: str
    first_s: float
    readout_s: float
    velocity_mps: np.ndarray
    rate_radps: np.ndarray


def project_rolling(
    points: np.ndarray,
    camera_from_ego: np.ndarray,
    intrinsics: np.ndarray,
    size: tuple[int, int],
    shutter: RollingShutter,
    distortion: np.ndarray | None = None,
    velocity_mps: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a rolling shutter puts places: each line of the image is taken from another place of the ego's way.

    The pixel depends on the line's time and the time on the pixel: t = time(pixel(t)) is solved by repeating it, which
    ends after three or four rounds because lines are read a hundred times faster than pixels move. Between its poses
    the ego moves with constant velocity and, to first order, constant turn rate (as in the waymo-open-dataset
    package, whose projection gives times to undistorted coordinates instead of pixels: 0.005 px apart, 0.1 at most).

    Args:
        points: [P, 3] metres, in the ego frame of the pose that goes with the image.
        camera_from_ego: [4, 4], the mounting: optical frame from ego frame.
        intrinsics: [3, 3].
        size: Width and height in pixels.
        shutter: Times and motion.
        distortion: plumb_bob k1 k2 p1 p2 k3 [5], None for none.
        velocity_mps: [P, 3] of the places themselves, ego frame; they are at `points` at the pose's instant.

    Returns:
        Pixels float64 [P, 2] and depths [P] in metres at the exposure; exposure in seconds after the pose [P]. NaN
        where a place is behind the camera, or where the lens's polynomial folds back.

    Raises:
        ValueError: An unknown direction; shapes.
    """
    if shutter.direction not in READOUTS:
        raise ValueError(f"unknown readout direction {shutter.direction!r}, use one of {READOUTS}")
    points = np.ascontiguousarray(points, dtype=np.float64)
    moving = np.zeros_like(points) if velocity_mps is None else np.ascontiguousarray(velocity_mps, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or moving.shape != points.shape:
        raise ValueError(f"points and their velocities must be [P, 3], got {points.shape} and {moving.shape}")
    lens = np.zeros(5) if distortion is None else np.asarray(distortion, dtype=np.float64)
    by_column = shutter.direction in ("LEFT_TO_RIGHT", "RIGHT_TO_LEFT")
    per_pixel = shutter.readout_s / (size[0] if by_column else size[1])
    first = shutter.first_s
    if shutter.direction in ("RIGHT_TO_LEFT", "BOTTOM_TO_TOP"):
        first, per_pixel = first + shutter.readout_s, -per_pixel
    out = np.empty((len(points), 4))
    _project_rolling(
        points, moving, np.ascontiguousarray(camera_from_ego, dtype=np.float64),
        np.ascontiguousarray(intrinsics, dtype=np.float64), lens, farthest(lens[0], lens[1], lens[4]), by_column, first,
        per_pixel, shutter.first_s - shutter.readout_s, shutter.first_s + 2 * shutter.readout_s,
        np.asarray(shutter.velocity_mps, np.float64), np.asarray(shutter.rate_radps, np.float64), out,
    )  # fmt: skip
    return out[:, :2], out[:, 2], out[:, 3]


_bend = numba.njit(cache=True, nogil=True)(bend)


@numba.njit(cache=True, nogil=True)
def _project_rolling(  # type: ignore[no-untyped-def]
    points, moving, m, k, lens, reach, by_column, first, per_pixel, earliest, latest, velocity, rate, out
):
    for i in range(points.shape[0]):
        t, u, v, z = min(max(0.0, earliest), latest), np.nan, np.nan, np.nan
        for _ in range(ROUNDS):
            # Ego frame at t: shifted by velocity t, turned by rate t (first order).
            x0 = points[i, 0] + (moving[i, 0] - velocity[0]) * t
            y0 = points[i, 1] + (moving[i, 1] - velocity[1]) * t
            z0 = points[i, 2] + (moving[i, 2] - velocity[2]) * t
            x1 = x0 - t * (rate[1] * z0 - rate[2] * y0)
            y1 = y0 - t * (rate[2] * x0 - rate[0] * z0)
            z1 = z0 - t * (rate[0] * y0 - rate[1] * x0)
            x = m[0, 0] * x1 + m[0, 1] * y1 + m[0, 2] * z1 + m[0, 3]
            y = m[1, 0] * x1 + m[1, 1] * y1 + m[1, 2] * z1 + m[1, 3]
            z = m[2, 0] * x1 + m[2, 1] * y1 + m[2, 2] * z1 + m[2, 3]
            # Far outside the lens's circle its polynomial folds back, and no time would be right.
            if not z > 0 or (x * x + y * y) >= reach * z * z:
                u, v, z, t = np.nan, np.nan, np.nan, np.nan
                break
            x, y = _bend(x / z, y / z, lens[0], lens[1], lens[2], lens[3], lens[4])
            u = k[0, 0] * x + k[0, 1] * y + k[0, 2]
            v = k[1, 0] * x + k[1, 1] * y + k[1, 2]
            # Far outside the image there is no line: the nearest times that still tell the direction.
            before, t = t, min(max(first + per_pixel * (u if by_column else v), earliest), latest)
            if abs(t - before) < SETTLED_S:
                break
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = u, v, z, t
