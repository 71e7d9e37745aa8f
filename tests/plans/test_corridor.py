"""Who is in the way: answers worked out on paper; IDM against the vectorised one."""

from __future__ import annotations

import numpy as np
import pytest

from drive.dynamics.idm import IdmParameters, advance, idm_acceleration
from drive.plans.corridor import (
    advance_along,
    boxes_touch,
    idm_numbers,
    idm_one,
    nearest_ahead,
    place_on,
    project,
)

NUPLAN = IdmParameters(1.5, 1.0, 1.0, 2.0, 4.0)
STRAIGHT = np.array([[0.0, 0.0], [50.0, 0.0], [200.0, 0.0]])
ALONG = np.array([0.0, 50.0, 200.0])


def ahead(*boxes: tuple[float, ...], front: float = 10.0, width: float = 2.0, own: int = -1) -> tuple[float, int]:
    rows = np.array(boxes).reshape(-1, 5)
    gap, index, _ = nearest_ahead(STRAIGHT, ALONG, front, width, 40.0, rows, np.ones(len(rows), bool), own)
    return gap, index


def test_golden_numbers_of_idm() -> None:
    """The spec's section 9: s* = 23.071, a = -1.331; PDM-Closed's a = -1.609."""
    assert idm_one(10.0, 10.0, 20.0, 8.0, idm_numbers(NUPLAN)) == pytest.approx(-1.331, abs=5e-4)
    pdm = IdmParameters(1.5, 1.0, 1.5, 3.0, 10.0)
    assert idm_one(10.0, 10.0, 20.0, 8.0, idm_numbers(pdm)) == pytest.approx(-1.609, abs=5e-4)


def test_idm_equals_the_vectorised_one() -> None:
    rng = np.random.default_rng(1)
    speed, desired, gap, leader = rng.uniform([0, 1, -1, 0], [20, 20, 60, 20], (200, 4)).T
    ours = [idm_one(*row, idm_numbers(NUPLAN)) for row in zip(speed, desired, gap, leader, strict=True)]
    np.testing.assert_allclose(ours, idm_acceleration(speed, desired, gap, leader, NUPLAN), rtol=1e-12)
    braking = rng.uniform(-8, 2, 200)
    steps = np.array([advance_along(v, a, 0.1) for v, a in zip(speed, braking, strict=True)])
    far, after = advance(np.zeros(200), speed, braking, 0.1)
    np.testing.assert_allclose(steps, np.stack([far, after], axis=1), rtol=1e-12)


def test_gap_is_bumper_to_bumper() -> None:
    assert ahead((30.3, 0.5, 4.0, 2.0, 0.0)) == (pytest.approx(18.3), 0)
    assert ahead((30.3, 0.5, 4.0, 2.0, np.pi)) == (pytest.approx(18.3), 0)
    assert ahead((30.3, 0.5, 4.0, 2.0, np.pi / 2)) == (pytest.approx(19.3), 0)
    # The nearer one of two, in whatever order.
    assert ahead((40.0, 0.0, 4.0, 2.0, 0.0), (25.0, 0.0, 4.0, 2.0, 0.0)) == (pytest.approx(13.0), 1)


def test_what_is_not_in_the_way() -> None:
    assert ahead((30.0, 2.1, 4.0, 2.0, 0.0)) == (np.inf, -1)  # beside it: 1 + 1 < 2.1
    assert ahead((30.0, 1.9, 4.0, 2.0, 0.0))[1] == 0
    assert ahead((3.0, 0.0, 4.0, 2.0, 0.0)) == (np.inf, -1)  # behind the bumper
    assert ahead((60.0, 0.0, 4.0, 2.0, 0.0)) == (np.inf, -1)  # out of reach: 58 > 10 + 40
    assert ahead((30.0, 0.0, 4.0, 2.0, 0.0), own=0) == (np.inf, -1)
    assert ahead() == (np.inf, -1)
    gap, index, _ = nearest_ahead(STRAIGHT, ALONG, 0.0, 2.0, 40.0, np.array([[9.0, 0, 4, 2, 0]]), np.array([False]), -1)
    assert (gap, index) == (np.inf, -1)


def test_a_thin_thing_is_not_stepped_over() -> None:
    for x in np.arange(12.0, 14.0, 0.05):
        gap, index = ahead((x, 0.3, 0.1, 0.1, 0.0))
        assert (index, gap) == (0, pytest.approx(x - 0.05 - 10.0, abs=1e-6))


def test_touching_against_sampled_points() -> None:
    rng = np.random.default_rng(5)
    grid = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 60)] * 2), axis=-1).reshape(-1, 2)
    checked = 0
    for _ in range(200):
        a, b = rng.uniform([-2, -2, 1, 1, -4], [2, 2, 4, 3, 4], (2, 5))

        def points(box: np.ndarray, grow: float) -> np.ndarray:
            c, s = np.cos(box[4]), np.sin(box[4])
            local = grid * (box[2:4] + grow)
            return np.stack([box[0] + c * local[:, 0] - s * local[:, 1], box[1] + s * local[:, 0] + c * local[:, 1]], 1)

        def holds(box: np.ndarray, places: np.ndarray, grow: float) -> bool:
            c, s = np.cos(box[4]), np.sin(box[4])
            d = places - box[:2]
            ahead, left = np.abs(d[:, 0] * c + d[:, 1] * s), np.abs(d[:, 1] * c - d[:, 0] * s)
            return bool(((2 * ahead <= box[2] + grow) & (2 * left <= box[3] + grow)).any())

        surely, perhaps = holds(a, points(b, 0.0), 0.0), holds(a, points(b, 0.15), 0.15)
        if surely == perhaps:
            checked += 1
            assert boxes_touch(*a, *b) == surely
    assert checked > 150


def test_places_and_projection_on_a_path() -> None:
    path = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]])
    along = np.array([0.0, 10.0, 20.0])
    assert place_on(path, along, 15.0) == pytest.approx((10.0, 5.0, np.pi / 2))
    assert place_on(path, along, 25.0) == pytest.approx((10.0, 15.0, np.pi / 2))
    assert place_on(path, along, -5.0) == pytest.approx((-5.0, 0.0, 0.0))
    assert project(path, along, 4.0, 2.0) == pytest.approx((4.0, 2.0))
    assert project(path, along, 12.0, 6.0) == pytest.approx((16.0, -2.0))
