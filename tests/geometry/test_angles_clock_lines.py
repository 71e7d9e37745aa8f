"""Angles, time, polylines, cameras: small facts that everything else stands on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drive.geometry import angles, cameras, clock, polylines


@given(st.floats(-1000, 1000, allow_nan=False))
def test_wrapped_angle_is_the_same_direction(angle: float) -> None:
    wrapped = float(angles.wrap_angle(angle))
    assert -np.pi < wrapped <= np.pi
    assert np.cos(wrapped) == pytest.approx(np.cos(angle), abs=1e-9)
    assert np.sin(wrapped) == pytest.approx(np.sin(angle), abs=1e-9)


def test_the_interval_is_closed_at_plus_pi() -> None:
    np.testing.assert_array_equal(angles.wrap_angle([np.pi, -np.pi, 0.3]), [np.pi, np.pi, 0.3])
    assert angles.angle_difference(np.pi - 0.1, -np.pi + 0.1) == pytest.approx(-0.2)


def test_time_subtracts_as_integers() -> None:
    start = clock.ns_from_us(1_700_000_000_000_001)
    assert clock.seconds_between(start + 1, start) == 1e-9


def test_polyline_on_paper() -> None:
    line = np.array([[0.0, 0], [4, 0], [4, 3]])
    np.testing.assert_allclose(polylines.arc_length(line), [0, 4, 7])
    along, left = polylines.project_to_polyline(line, np.array([[2.0, 1], [3, 2], [5, 2]]))
    np.testing.assert_allclose(along, [2, 6, 6])
    np.testing.assert_allclose(left, [1, 1, -1])
    np.testing.assert_allclose(polylines.point_at(line, np.array([-1.0, 5, 9])), [[0, 0], [4, 1], [4, 3]])
    np.testing.assert_allclose(polylines.heading_at(line, np.array([1.0, 5.0])), [0, np.pi / 2])
    np.testing.assert_allclose(polylines.offset_polyline(line, 1.0), [[0, 1], [3, 1], [3, 3]])
    assert len(polylines.resample(line, 1.0)) == 8


def test_projection_on_paper() -> None:
    intrinsics = np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
    pixels, depth = cameras.project(np.array([[1.0, -0.5, 2], [0, 0, -1]]), intrinsics)
    np.testing.assert_allclose(pixels[0], [100, 15])
    assert np.isnan(pixels[1]).all()
    np.testing.assert_allclose(depth, [2, -1])


def test_distortion_equals_opencv() -> None:
    cv2 = pytest.importorskip("cv2", reason="extra 'nuscenes' (OpenCV) is not installed")
    rng = np.random.default_rng(0)
    points = rng.uniform([-1, -1, 2], [1, 1, 5], size=(50, 3))
    intrinsics = np.array([[900.0, 0, 500], [0, 910, 400], [0, 0, 1]])
    coefficients = np.array([0.1, -0.05, 0.002, -0.001, 0.01])
    ours, _ = cameras.project(points, intrinsics, (cameras.PLUMB_BOB, coefficients))
    theirs, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), intrinsics, coefficients)
    np.testing.assert_allclose(ours, theirs[:, 0], atol=1e-9)
    radial, _ = cameras.project(points, intrinsics, (cameras.RADIAL, coefficients[[0, 1, 4]]))
    theirs, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), intrinsics, coefficients * [1, 1, 0, 0, 1])
    np.testing.assert_allclose(radial, theirs[:, 0], atol=1e-9)
    with pytest.raises(ValueError, match="unknown distortion"):
        cameras.project(points, intrinsics, ("fisheye", coefficients))
