"""Images too bright, too dark, blurred, in fog, in snow: pixels worked out by hand where that can be."""

from __future__ import annotations

import numpy as np
import pytest

from drive.samples.corrupt.config import CORRUPTIONS
from drive.samples.corrupt.image_blur import smear
from drive.samples.corrupt.image_light import brighten, darken, noise_pixels
from drive.samples.corrupt.image_weather import clouds, fog_image, snow_image
from drive.samples.corrupt.scan import SEVERITIES

IMAGE = [name for name, corruption in CORRUPTIONS.items() if corruption.image is not None]


def rng(seed: int = 1000) -> np.random.Generator:
    return np.random.default_rng(seed)


def scene() -> np.ndarray:
    """A sky above a street, 200 x 120, with colours."""
    rows, columns = np.mgrid[0:120, 0:200]
    grey = np.where(rows < 50, 180, 60 + columns % 50)
    return np.stack([grey, grey * 0.9, np.minimum(grey * 1.1, 255)], axis=2).astype(np.uint8)


def test_brightness_on_paper() -> None:
    # Value 200 / 255 + 0.5 is more than 1: the pixel is scaled by 255 / 200. 51 / 255 + 0.5 = 0.7: by 3.5.
    pixels = np.array([[[200, 100, 0], [51, 51, 0], [0, 0, 0]]], np.uint8)
    out = brighten(pixels, 1, rng())
    np.testing.assert_allclose(out[0], [[255, 127.5, 0], [178.5, 178.5, 0], [127.5, 127.5, 127.5]], atol=1)


def test_dark_on_paper() -> None:
    # Stretched to 0..1, squared, times 0.6, 0.4 or 0.3; the noises have mean zero where nothing is clipped.
    pixels = np.zeros((200, 200, 3), np.uint8)
    pixels[:, 100:] = 128
    pixels[0, 0], pixels[0, 1] = 0, 255
    for severity, gain in zip(SEVERITIES, (0.6, 0.4, 0.3), strict=True):
        right = darken(pixels, severity, rng())[:, 100:].astype(np.float64)
        share = gain * (128 / 255) ** 2
        assert right.mean() == pytest.approx(255 * share - 0.5, abs=0.5)  # rounded down
        photons, read_out = (250, 120, 50)[severity - 1], (0.008, 0.018, 0.026)[severity - 1]
        assert right.std() == pytest.approx(255 * np.sqrt(share / photons + read_out**2), rel=0.05)
    assert darken(np.full((4, 4, 3), 90, np.uint8), 1, rng()).max() < 15  # one colour has no contrast: black


def test_pixel_noise_has_the_tables_spread() -> None:
    grey = np.full((100, 100, 3), 128, np.uint8)
    for severity, std in zip(SEVERITIES[:2], (10, 25), strict=True):
        assert noise_pixels(grey, severity, rng()).std() == pytest.approx(std, rel=0.03)


def test_blur_on_paper() -> None:
    pixels = np.zeros((5, 9, 3), np.uint8)
    pixels[2, 3] = 200
    weights = np.exp(-(np.arange(3) ** 2) / 2)
    weights /= weights.sum()
    along = smear(pixels, 3, 1.0, 0.0)
    assert along[2, 3:6, 0].tolist() == (200 * weights).astype(int).tolist()
    assert along.astype(int).sum() == 3 * (200 * weights).astype(int).sum()  # nowhere else
    up = smear(pixels, 3, 1.0, np.pi / 2)
    assert up[2::-1, 3, 0].tolist() == (200 * weights).astype(int).tolist()
    assert smear(pixels, 1, 1.0, 0.3).tolist() == pixels.tolist()
    flat = np.full((6, 6, 3), 77, np.uint8)
    assert (smear(flat, 31, 13.0, 0.5) == 77).all()  # edges go on
    assert flat.flags.writeable


def test_fog_lifts_the_dark_and_greys_the_far() -> None:
    haze = clouds(128, 256, rng())
    assert haze.shape == (128, 256)
    assert haze.min() >= 0
    assert haze.max() <= 1
    whole = clouds(256, 256, rng())
    assert (whole.min(), whole.max()) == (0.0, 1.0)
    assert (whole[:128] == haze).all()
    assert np.abs(np.diff(whole, axis=1)).max() < 0.1  # smooth
    contrast = [fog_image(scene(), severity, rng()).std() for severity in SEVERITIES]
    assert scene().std() > contrast[0] > contrast[1] > contrast[2]
    black = fog_image(np.zeros((120, 200, 3), np.uint8), 1, rng())
    # Nothing to scatter clouds in a black picture: the airlight 0.5 alone, more of it away from the road ahead.
    assert black.max() <= 128
    assert black[:20].mean() > black[85:110, 40:150].mean()


def test_snow_pales_and_adds_flakes() -> None:
    flakes = []
    for severity in SEVERITIES:
        out = snow_image(scene(), severity, rng()).astype(np.float64)
        flakes.append(np.abs(out - scene() * 0.9).mean())
    assert flakes[0] < flakes[1] < flakes[2]


@pytest.mark.parametrize("name", IMAGE)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_every_image_corruption_is_a_pure_function(name: str, severity: int) -> None:
    function = CORRUPTIONS[name].image
    assert function is not None
    pixels = scene()
    pixels.flags.writeable = False
    one, other = function(pixels, severity, rng()), function(pixels, severity, rng())
    assert one.tobytes() == other.tobytes()
    assert (one.shape, one.dtype) == (pixels.shape, np.uint8)
    assert (one != pixels).any()
    assert function(np.zeros((3, 5, 3), np.uint8), severity, rng()).shape == (3, 5, 3)


@pytest.mark.parametrize("name", ["brightness", "pixel_noise", "motion_blur", "snow"])
def test_severities_rise(name: str) -> None:
    function = CORRUPTIONS[name].image
    assert function is not None
    away = [np.abs(function(scene(), s, rng()).astype(float) - scene()).mean() for s in SEVERITIES]
    assert away[0] < away[1] < away[2]
