"""Image corruptions of light: too much, too little, a noisy chip, no picture at all.

Brightness and dark are those of MultiCorrupt (Beemelmanns et al., 2024), with its numbers; pixel noise is ours. Each is
a pure function of the recorded picture (uint8 [H, W, 3], RGB), severity and random state.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from drive.samples.corrupt.scan import Severity

Pixels = npt.NDArray[np.uint8]

BRIGHTER = (0.5, 0.6, 0.7)  # added to the value of HSV, 0..1
DARK_GAMMA = 2.0
DARK_GAIN = (0.6, 0.4, 0.3)
DARK_PHOTONS = (250.0, 120.0, 50.0)  # that a white pixel counts
DARK_NOISE = (0.008, 0.018, 0.026)  # of the read-out, of 0..1
PIXEL_NOISE = (10.0, 25.0, 50.0)  # of 0..255


def brighten(pixels: Pixels, severity: Severity, rng: np.random.Generator) -> Pixels:
    """Raise the value of each pixel (hue, saturation, value) by 0.5, 0.6 or 0.7 of the full scale; nothing is drawn."""
    shares = pixels.astype(np.float32) / 255
    value = shares.max(axis=2, keepdims=True)
    raised = np.minimum(value + np.float32(BRIGHTER[severity - 1]), 1)
    # Hue and saturation stay where all three grow alike; black has none and becomes grey.
    out = np.where(value > 0, shares * (raised / np.maximum(value, 1e-6)), raised)
    return _bytes(out)


def darken(pixels: Pixels, severity: Severity, rng: np.random.Generator) -> Pixels:
    """A picture in little light: stretched to 0..1, squared, weakened, then photon noise and read-out noise."""
    shares = pixels.astype(np.float32) / 255
    low, high = float(shares.min(initial=1.0)), float(shares.max(initial=0.0))
    stretched = (shares - low) / (high - low) if high > low else np.zeros_like(shares)
    dim = DARK_GAIN[severity - 1] * stretched**DARK_GAMMA
    photons = DARK_PHOTONS[severity - 1]
    counted = np.clip(rng.poisson(dim * photons) / photons, 0, 1)
    return _bytes(counted + rng.standard_normal(dim.shape, np.float32) * np.float32(DARK_NOISE[severity - 1]))


def noise_pixels(pixels: Pixels, severity: Severity, rng: np.random.Generator) -> Pixels:
    """Add Gaussian noise of 10, 25 or 50 (of 255) to every channel, clipped."""
    noise = rng.standard_normal(pixels.shape, np.float32) * np.float32(PIXEL_NOISE[severity - 1])
    return _bytes((pixels + noise) / np.float32(255))


def blacken(pixels: Pixels, severity: Severity, rng: np.random.Generator) -> Pixels:
    """No picture."""
    return np.zeros_like(pixels)


def _bytes(shares: np.ndarray) -> Pixels:
    return np.asarray(np.clip(shares, 0, 1) * 255, np.float32).astype(np.uint8)
