"""Cameras: optical frame x right, y down, z forward; pixels (u right, v down), pixel centres at integers."""

from __future__ import annotations

import numpy as np

from ops.lens import bend

# Names of the distortion models that logs may carry.
PLUMB_BOB = "plumb_bob"  # k1 k2 p1 p2 k3: OpenCV's order; Waymo's five coefficients
RADIAL = "radial"  # k1 k2 k3: Argoverse 2


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
