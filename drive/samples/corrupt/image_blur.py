"""Motion blur of an image, as MultiCorrupt (Beemelmanns et al., 2024) has it."""

from __future__ import annotations

import numba
import numpy as np

from drive.samples.corrupt.image_light import Pixels
from drive.samples.corrupt.scan import Severity

REFERENCE_WIDTH = 1600
"""Width of the pictures for which MultiCorrupt gives its lengths in pixels; on others they grow with the width."""

KERNEL_PX = 31
SIGMA_PX = (6.0, 10.0, 13.0)
ANGLE_RAD = np.radians(45.0)


def blur_motion_of(pixels: Pixels, severity: Severity, rng: np.random.Generator) -> Pixels:
    """Smear along a drawn direction within 45 degrees of the horizontal: a one-sided Gaussian of 31 pixels."""
    angle = rng.uniform(-ANGLE_RAD, ANGLE_RAD)
    scale = pixels.shape[1] / REFERENCE_WIDTH
    return smear(pixels, max(round(KERNEL_PX * scale), 1), SIGMA_PX[severity - 1] * scale, angle)


def smear(pixels: np.ndarray, length: int, sigma: float, angle_rad: float) -> Pixels:
    """The picture's copies at 0 to length - 1 pixels along a direction, weighted by half a Gaussian; edges go on.

    Args:
        pixels: uint8 [H, W, 3].
        length: Copies.
        sigma: Of the Gaussian, pixels.
        angle_rad: Against the horizontal, positive moves the copies up.
    """
    steps = np.arange(length)
    weights = np.exp(-(steps**2) / (2 * max(sigma, 1e-6) ** 2))
    weights /= weights.sum()
    right = np.rint(steps * np.cos(angle_rad)).astype(np.int64)
    down = np.rint(-steps * np.sin(angle_rad)).astype(np.int64)
    out = np.empty(pixels.shape, np.uint8)
    held = np.ascontiguousarray(pixels).view()
    held.flags.writeable = False  # one compiled variant, whether a picture may be written to or not
    _sum_copies(held, weights.astype(np.float32), right, down, out)
    return out


@numba.njit(cache=True, nogil=True)
def _sum_copies(pixels, weights, right, down, out):  # type: ignore[no-untyped-def]
    height, width, channels = pixels.shape
    row = np.empty((width, channels), np.float32)
    for y in range(height):
        row[:] = 0.0
        for i in range(len(weights)):
            weight = weights[i]
            source = pixels[min(max(y - down[i], 0), height - 1)]
            for x in range(width):
                column = min(max(x - right[i], 0), width - 1)
                for c in range(channels):
                    row[x, c] += weight * source[column, c]
        for x in range(width):
            for c in range(channels):
                # The weights add up to 1 but for rounding: a flat picture keeps its value.
                out[y, x, c] = np.uint8(min(row[x, c] + np.float32(1e-3), np.float32(255.0)))
