"""Dropped and moved returns, on clouds small enough to count."""

from __future__ import annotations

import numpy as np
import pytest

from drive.samples.corrupt.config import CORRUPTIONS
from drive.samples.corrupt.lidar_points import (
    BLUR_JITTER,
    BLUR_M,
    blur_motion,
    drop_sector,
    misalign,
    misalignment,
    noise_reflectance,
    reduce_beams,
    reduce_points,
)
from drive.samples.corrupt.scan import SEVERITIES, Scan, rings_by_elevation

LIDAR = [name for name, corruption in CORRUPTIONS.items() if corruption.lidar is not None]


def rng(seed: int = 1000) -> np.random.Generator:
    return np.random.default_rng(seed)


def cloud(points: int = 1000) -> Scan:
    """Returns all around, 2 to 60 m away, of 32 beams in turn."""
    drawn = np.random.default_rng(1)
    distance, azimuth = drawn.uniform(2, 60, points), drawn.uniform(-np.pi, np.pi, points)
    ring = np.arange(points) % 32
    elevation = np.radians(-30 + 40 / 31 * ring)
    level = np.cos(elevation)
    unit = np.stack([np.cos(azimuth) * level, np.sin(azimuth) * level, np.sin(elevation)], axis=1)
    return Scan.of(unit * distance[:, None], drawn.uniform(0.01, 1, points), ring)


@pytest.mark.parametrize(("severity", "kept"), [(1, 300), (2, 200), (3, 100)])
def test_points_that_stay(severity: int, kept: int) -> None:
    out = reduce_points(cloud(), severity, rng())
    assert len(out) == kept
    assert (np.diff(out.source) > 0).all()  # the order is kept
    # What a worse severity keeps, a milder one keeps too.
    milder = reduce_points(cloud(), 1, rng())
    assert np.isin(out.source, milder.source).all()


def test_beams_that_stay() -> None:
    kept = [np.unique(reduce_beams(cloud(), severity, rng()).ring).tolist() for severity in SEVERITIES]
    assert kept == [list(range(1, 32, 2)), [1, 5, 9, 13, 17, 21, 25, 29], [1, 9, 17, 25]]


def test_beams_told_from_the_elevation() -> None:
    scan = cloud(32 * 100)
    assert (rings_by_elevation(scan.xyz) == scan.ring).all()
    assert rings_by_elevation(np.zeros((0, 3))).shape == (0,)
    assert rings_by_elevation(np.ones((4, 3))).tolist() == [0] * 4  # all at one elevation: one beam


def test_motion_blur_is_one_shift_and_a_jitter() -> None:
    scan = cloud(20_000)
    shifts = []
    for severity in SEVERITIES:
        moved = (blur_motion(scan, severity, rng()).xyz - scan.xyz).astype(np.float64)
        std = BLUR_M[severity - 1]
        shifts.append(moved.mean(axis=0))
        np.testing.assert_allclose(moved.std(axis=0), np.array(BLUR_JITTER) * std, rtol=0.03)
    # The same draw at each severity, longer and longer.
    np.testing.assert_allclose(shifts[0] / 0.06, shifts[2] / 0.13, atol=0.02)
    # Over many seeds the common shift has the table's standard deviation.
    one = Scan.of(np.zeros((1, 3)), np.zeros(1), np.zeros(1))
    drawn = np.array([blur_motion(one, 2, rng(seed)).xyz[0] for seed in range(2000)])
    expected = 0.10 * np.sqrt(1 + np.array(BLUR_JITTER) ** 2)
    np.testing.assert_allclose(drawn.std(axis=0), expected, rtol=0.06)


@pytest.mark.parametrize(("severity", "chance"), [(1, 0.2), (2, 0.4), (3, 0.6)])
def test_misaligned_sweeps(severity: int, chance: float) -> None:
    one = Scan.of(np.array([[10.0, 0, 0]]), np.zeros(1), np.zeros(1))
    moved = [not np.array_equal(misalign(one, severity, rng(s)).xyz, one.xyz) for s in range(1000)]
    assert np.mean(moved) == pytest.approx(chance, abs=0.04)


def test_misalignment_on_paper() -> None:
    angle = np.radians(1.0)
    c, s = np.cos(angle), np.sin(angle)
    # 10 m ahead on x: turned by -1 degree about z, then y, then x; then 2 m on.
    after_z = np.array([10 * c, -10 * s, 0])
    after_y = np.array([c * after_z[0], after_z[1], s * after_z[0]])
    after_x = np.array([after_y[0], c * after_y[1] + s * after_y[2], -s * after_y[1] + c * after_y[2]])
    one = Scan.of(np.array([[10.0, 0, 0]]), np.zeros(1), np.zeros(1))
    seed = next(seed for seed in range(100) if rng(seed).random() < 0.2)
    np.testing.assert_allclose(misalign(one, 1, rng(seed)).xyz[0], after_x + np.array([2.0, 0, 0]), atol=1e-5)
    turn = misalignment(3)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)


def test_reflectance_noise_stays_in_range() -> None:
    scan = cloud(5000)
    out = [noise_reflectance(scan, severity, rng()).intensity for severity in SEVERITIES]
    assert all(i.min() >= 0 and i.max() <= 1 for i in out)
    away = [np.abs(i - scan.intensity).mean() for i in out]
    assert away[0] < away[1] < away[2]
    half = Scan.of(np.zeros((20_000, 3)), np.full(20_000, 0.5), np.zeros(20_000))
    inside = noise_reflectance(half, 1, rng()).intensity
    assert np.mean(inside == 1) == pytest.approx(0.0062, abs=0.002)  # beyond 2.5 standard deviations: clipped


@pytest.mark.parametrize(("severity", "left"), [(1, 0.75), (2, 0.5), (3, 0.0)])
def test_a_blind_sector(severity: int, left: float) -> None:
    azimuth = np.radians(np.arange(360) + 0.5)
    scan = Scan.of(np.stack([np.cos(azimuth), np.sin(azimuth), 0 * azimuth], axis=1), np.zeros(360), np.zeros(360))
    assert len(drop_sector(scan, severity, rng())) == 360 * left


@pytest.mark.parametrize("name", LIDAR)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_every_lidar_corruption_is_a_pure_function(name: str, severity: int) -> None:
    function = CORRUPTIONS[name].lidar
    assert function is not None
    scan = cloud()
    before = scan.xyz.copy(), scan.intensity.copy(), scan.ring.copy()
    one, other = function(scan, severity, rng()), function(scan, severity, rng())
    assert one.xyz.tobytes() == other.xyz.tobytes()
    assert one.intensity.tobytes() == other.intensity.tobytes()
    for was, now in zip(before, (scan.xyz, scan.intensity, scan.ring), strict=True):
        assert (was == now).all()
    assert one.xyz.dtype == one.intensity.dtype == np.float32
    assert len(one.xyz) == len(one.intensity) == len(one.ring) == len(one.source)
    assert np.isfinite(one.xyz).all()
    assert ((one.intensity >= 0) & (one.intensity <= 1)).all()
    nothing = function(Scan.of(np.zeros((0, 3)), np.zeros(0)), severity, rng())
    assert len(nothing) == 0
