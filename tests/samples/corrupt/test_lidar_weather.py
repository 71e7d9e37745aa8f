"""Fog and snow in a sweep, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from drive.samples.corrupt.lidar_fog import add_fog, fog_response
from drive.samples.corrupt.lidar_snow import (
    _PARTS,
    _shine,
    add_snow,
    draw_disks,
    flake_rate,
    noise_floor,
    occupancy,
)
from drive.samples.corrupt.scan import SEVERITIES, Scan


def rng(seed: int = 1000) -> np.random.Generator:
    return np.random.default_rng(seed)


def ring_of(distance: float, intensity: float, points: int = 500) -> Scan:
    azimuth = np.linspace(-np.pi, np.pi, points, endpoint=False)
    xyz = distance * np.stack([np.cos(azimuth), np.sin(azimuth), 0 * azimuth], axis=1)
    return Scan.of(xyz, np.full(points, intensity), np.zeros(points))


def test_the_fogs_answer_is_the_published_table() -> None:
    # MultiCorrupt's tables for three alphas: where fog in front of a far target answers most, and how strongly.
    for alpha, place, answer in ((0.02, 4.7, 4.3466e-9), (0.03, 4.7, 4.2058e-9), (0.06, 4.6, 3.8155e-9)):
        distances, answers = fog_response(alpha)
        assert distances[2000] == pytest.approx(place)
        assert answers[2000] == pytest.approx(answer, rel=1e-3)
    distances, answers = fog_response(0.02)
    assert distances[15] == pytest.approx(1.4)  # a target at 1.5 m: the fog before it
    assert answers[15] == pytest.approx(4.884e-11, rel=2e-2)
    assert answers[30] == pytest.approx(1.940e-9, rel=3e-3)
    assert answers[10] == 0  # at 1 m nothing answers


def test_a_bright_return_is_weakened_and_stays() -> None:
    scan = ring_of(20.0, 200 / 255)
    out = add_fog(scan, 1, rng())
    assert np.array_equal(out.xyz, scan.xyz)
    np.testing.assert_allclose(out.intensity * 255, round(200 * np.exp(-2 * 0.02 * 20)), atol=1e-4)


def test_a_weak_return_is_taken_by_the_fog() -> None:
    scan = ring_of(80.0, 10 / 255)
    out = add_fog(scan, 1, rng())
    away = out.distance_m()
    # 4.7 m times 80 / (70 to 90).
    assert away.min() >= 4.7 * 80 / 90 - 1e-3
    assert away.max() <= 4.7 * 80 / 70 + 1e-3
    answer = 4.3466e-9 * 10 * 80**2 * 0.008 * np.pi * 1e6
    np.testing.assert_allclose(out.intensity * 255, answer, rtol=1e-3)
    assert add_fog(ring_of(0.5, 0.5), 3, rng()).distance_m() == pytest.approx(0.5)


def test_thicker_fog_takes_more() -> None:
    drawn = rng(3)
    scan = Scan.of(drawn.normal(size=(4000, 3)) * 25, drawn.uniform(0.02, 0.3, 4000), np.zeros(4000))
    taken = [np.mean(np.any(add_fog(scan, s, rng()).xyz != scan.xyz, axis=1)) for s in SEVERITIES]
    assert 0 < taken[0] < taken[1] < taken[2]
    assert all(len(add_fog(scan, s, rng())) == len(scan) for s in SEVERITIES)


def test_how_much_snow_is_in_the_air() -> None:
    assert [occupancy(s) for s in SEVERITIES] == pytest.approx([1.157e-6, 4.340e-6, 1.0417e-5], rel=1e-3)
    # Rain of sqrt((0.5 / (487 * 0.1 * 0.003 * 1.2))^3) = 4.816 mm/h: 25.5 * 4.816^-0.48 per cm.
    assert flake_rate(1) == pytest.approx(25.5 * 4.816**-0.48 * 100, rel=1e-3)
    for severity in SEVERITIES:
        disks = draw_disks(severity, rng())
        area = np.pi * np.sum(disks[:, 2] ** 2)
        assert area == pytest.approx(occupancy(severity) * np.pi * 80**2, rel=0.05)
        assert (np.diff(disks[:, 0]) >= 0).all()
        assert disks[:, 2].max() <= 0.01


def shine(disks: list[list[float]], distance: float, intensity: float) -> tuple[float, float, bool]:
    held = np.array(disks, np.float64).reshape(-1, 3)
    peak, answer, touched = np.array([distance]), np.array([intensity]), np.zeros(1, np.bool_)
    widest = float(held[:, 2].max(initial=0))
    _shine(held, widest, np.zeros(1), np.array([distance]), np.array([intensity]), np.arange(1), peak, answer, touched)
    return float(peak[0]), float(answer[0]), bool(touched[0])


def test_one_flake_in_one_beam() -> None:
    # At 10 m the beam is 30 mm wide; a disk of radius 3.75 mm in its middle covers a quarter.
    peak, answer, touched = shine([[0.0, 10.0, 0.00375]], 40.0, 100.0)
    assert touched
    assert peak == pytest.approx(40.0, abs=0.11)
    assert answer == pytest.approx(75.0, rel=0.02)
    # A flake at 2 m answers with 0.9 * 255 * share / 4; the same radius covers the whole beam (6 mm) there.
    peak, answer, touched = shine([[0.0, 2.0, 0.00375]], 40.0, 100.0)
    assert peak == pytest.approx(2.0, abs=0.11)
    assert answer == pytest.approx(0.9 * 255 / 4, rel=0.01)
    # Half of that flake outside the beam: half of the target is left, and is stronger than the flake.
    peak, answer, touched = shine([[0.0015, 2.0, 0.003]], 40.0, 100.0)
    assert peak == pytest.approx(40.0, abs=0.11)
    assert answer == pytest.approx(50.0, rel=2 / _PARTS)
    # Behind the target, beside the beam, too near: nothing happens.
    for disk in ([0.0, 41.0, 0.005], [0.01, 10.0, 0.005], [3.0, 10.0, 0.005]):
        assert shine([disk], 40.0, 100.0) == (40.0, 100.0, False)
    # The nearer of two takes the part that both cover; azimuth 2 pi is azimuth 0.
    both = shine([[0.0, 10.0, 0.00375], [2 * np.pi - 1e-9, 20.0, 0.0075]], 40.0, 100.0)
    assert both[1] == pytest.approx(75.0, rel=0.02)


def test_more_snow_takes_more() -> None:
    drawn = rng(4)
    scan = Scan.of(drawn.normal(size=(4000, 3)) * 20, drawn.uniform(0.02, 0.2, 4000), np.arange(4000) % 8)
    same = []
    for severity in SEVERITIES:
        out = add_snow(scan, severity, rng())
        kept = np.abs(out.distance_m() - scan.distance_m()[out.source]) < 1e-3
        same.append(kept.sum())
    assert len(scan) > same[0] > same[1] > same[2] > 0


def test_the_noise_floor_follows_the_distance() -> None:
    distance = np.repeat([2.5, 42.5], 100)
    floor = noise_floor(distance, np.concatenate([np.full(100, 50.0), np.full(100, 10.0)]))
    np.testing.assert_allclose(floor, np.repeat([35.0, 7.0], 100))
    assert noise_floor(np.array([5.0]), np.array([9.0])).tolist() == [0.0]  # too few to tell
