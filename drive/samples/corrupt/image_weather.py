"""Fog and snow in an image, as MultiCorrupt (Beemelmanns et al., 2024) has them: no depth is needed.

Lengths in pixels are those of a picture 1600 wide and grow with the width. The clouds of the fog are a sum of octaves
of smooth noise whose amplitude falls by 1.7^2 from one to the next; MultiCorrupt gets the same fall by the
diamond-square algorithm.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from drive.samples.corrupt.image_blur import REFERENCE_WIDTH, smear
from drive.samples.corrupt.image_light import Pixels
from drive.samples.corrupt.scan import Severity

CLOUDS = (2.0, 3.0, 4.0)  # strength of the haze's clouds
CLOUDS_THINNED, CLOUDS_LIT = 0.8, 0.5  # by a second and a third drawing
FOG_BETA = (0.0005, 0.001, 0.002)  # 1/pixel
AIRLIGHT = 0.5
_CLEAR = (0.65, 0.99, 0.1, 0.85)  # rows from, to and columns from, to (shares): the road ahead, where fog is thinnest
_DECAY = 1.7**2

FLAKES = ((0.3, 5.0, 0.9, 7, 0.9), (0.4, 4.0, 0.85, 8, 0.85), (0.5, 3.0, 0.8, 10, 0.8))
"""Mean of the noise, its enlargement, threshold, length and sigma of the streaks in pixels, share of the picture."""
_FLAKE_SPREAD = 0.3
_SNOW_DIM = 0.9


def fog_image(pixels: Pixels, severity: Severity, rng: np.random.Generator) -> Pixels:
    """Clouds over the picture, then a grey that thickens with the distance from the road ahead."""
    height, width = pixels.shape[:2]
    if pixels.size == 0:
        return pixels
    shares = pixels.astype(np.float32) / 255
    strength, top = np.float32(CLOUDS[severity - 1]), float(shares.max())
    haze = clouds(height, width, rng) * (1 - CLOUDS_THINNED * clouds(height, width, rng))
    haze *= 1 + CLOUDS_LIT * clouds(height, width, rng)
    shares = np.clip((shares + strength * haze[..., None]) * (top / (top + strength)), 0, 1)
    y0, y1, x0, x1 = (int(share * side) for share, side in zip(_CLEAR, (height, height, width, width), strict=True))
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    away = np.hypot(
        np.maximum(0, np.maximum(rows - y1, y0 - rows)), np.maximum(0, np.maximum(columns - x1, x0 - columns))
    )
    scale = REFERENCE_WIDTH / width
    depth = 2 * away * scale * (1 + rng.random((height, width)) / 4) + np.sqrt(max(height, width) * scale)
    clear = np.exp(-FOG_BETA[severity - 1] * depth)[..., None].astype(np.float32)
    return np.asarray(np.clip(shares * clear + AIRLIGHT * (1 - clear), 0, 1) * 255).astype(np.uint8)


def clouds(height: int, width: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Smooth noise float32 [height, width], 0 at the lowest and 1 at the highest place of the square it is cut from."""
    side = 1 << (max(height, width, 2) - 1).bit_length()
    out, amplitude = rng.uniform(-1, 1, (2, 2)).astype(np.float32), 1.0
    while len(out) < side:
        amplitude /= _DECAY
        larger = (2 * len(out), 2 * len(out))
        out = np.array(Image.fromarray(out).resize(larger, Image.Resampling.BICUBIC))
        out += np.float32(amplitude) * rng.uniform(-1, 1, larger).astype(np.float32)
    out -= out.min()
    return np.asarray(out[:height, :width] / max(float(out.max()), 1e-9), np.float32)


def snow_image(pixels: Pixels, severity: Severity, rng: np.random.Generator) -> Pixels:
    """A paler picture with streaks of flakes, and the same streaks turned by half a turn."""
    if pixels.size == 0:
        return pixels
    mean, zoom, threshold, length, kept = FLAKES[severity - 1]
    height, width = pixels.shape[:2]
    scale = width / REFERENCE_WIDTH
    noise = rng.normal(mean, _FLAKE_SPREAD, (height, width)).astype(np.float32)
    rows, columns = _middle(height, zoom * scale), _middle(width, zoom * scale)
    flakes = np.asarray(Image.fromarray(noise[rows][:, columns]).resize((width, height), Image.Resampling.BILINEAR))
    flakes = np.clip(np.where(flakes < threshold, 0, flakes), 0, 1)
    angle = np.radians(rng.uniform(-135, -45))
    layer = np.repeat((flakes * 255).astype(np.uint8)[..., None], 3, axis=2)
    streaks = smear(layer, max(round((2 * length + 1) * scale), 1), length * scale, angle)[..., :1] / np.float32(255)
    shares = pixels.astype(np.float32) / 255
    grey = (shares @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    pale = kept * shares + (1 - kept) * np.maximum(shares, grey * 1.5 + 0.5)
    out = np.clip(pale * _SNOW_DIM + streaks + np.rot90(streaks, 2), 0, 1) * 255
    return np.asarray(out, np.float32).astype(np.uint8)


def _middle(side: int, zoom: float) -> slice:
    """The middle part of a side that a zoom enlarges to the whole."""
    part = max(int(np.ceil(side / max(zoom, 1.0))), 1)
    first = (side - part) // 2
    return slice(first, first + part)
