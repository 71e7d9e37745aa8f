"""Motion blur of an image, as MultiCorrupt (Beemelmanns et al., 2024) has it."""

from __future__ import annotations

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
    height, width = pixels.shape[:2]
    rows, columns = np.arange(height), np.arange(width)
    out = np.zeros(pixels.shape, np.float32)
    for weight, dx, dy in zip(weights.astype(np.float32), right, down, strict=True):
        from_rows, from_columns = np.clip(rows - dy, 0, height - 1), np.clip(columns - dx, 0, width - 1)
        out += weight * pixels[from_rows][:, from_columns]
    return np.clip(out, 0, 255).astype(np.uint8)
