"""Rigid motions against hand-made numbers, against pyquaternion, and against their own inverses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from drive.geometry import rigid

unit = st.floats(-1, 1, allow_nan=False, width=32)
quaternions = arrays(np.float64, (4,), elements=unit).filter(lambda q: np.linalg.norm(q) > 0.1)
translations = arrays(np.float64, (3,), elements=st.floats(-1e4, 1e4, allow_nan=False))


def test_quarter_turn_about_z() -> None:
    a_from_b = rigid.from_translation_rotation([1, 2, 3], [np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    moved = rigid.transform_points(a_from_b, np.array([[1.0, 0, 0]]))
    np.testing.assert_allclose(moved, [[1, 3, 3]], atol=1e-15)
    assert rigid.yaw_of_matrix(a_from_b) == pytest.approx(np.pi / 2)


@given(quaternions, translations)
def test_invert_undoes(quaternion: np.ndarray, translation: np.ndarray) -> None:
    a_from_b = rigid.from_translation_rotation(translation, quaternion)
    # Rounding of a product of metres of size 1e4: 1e4 * 2^-52 * a few.
    np.testing.assert_allclose(rigid.invert(a_from_b) @ a_from_b, np.eye(4), atol=1e-10)


@given(quaternions)
def test_matrix_round_trip_and_pyquaternion(quaternion: np.ndarray) -> None:
    pyquaternion = pytest.importorskip("pyquaternion", reason="extra 'nuscenes' is not installed")
    unit_quaternion = quaternion / np.linalg.norm(quaternion)
    matrix = rigid.quaternion_to_matrix(quaternion)
    np.testing.assert_allclose(matrix, pyquaternion.Quaternion(unit_quaternion).rotation_matrix, atol=1e-12)
    back = rigid.matrix_to_quaternion(matrix)
    np.testing.assert_allclose(abs(back @ unit_quaternion), 1, atol=1e-12)  # q and -q are one rotation


def test_half_turns_keep_their_axis() -> None:
    for axis in range(3):
        quaternion = np.zeros(4)
        quaternion[axis + 1] = 1.0
        back = rigid.matrix_to_quaternion(rigid.quaternion_to_matrix(quaternion))
        np.testing.assert_allclose(np.abs(back), np.abs(quaternion), atol=1e-12)


def test_interpolation_is_linear_and_takes_the_short_way() -> None:
    times = np.array([0, 10, 20], dtype=np.int64)
    translation = np.array([[0.0, 0, 0], [10, 0, 0], [10, 10, 0]])
    rotation = rigid.quaternion_from_yaw(np.array([0.0, 0.2, -0.2]))
    rotation[1] *= -1  # the same rotation, written with the other sign
    t, q = rigid.interpolate_poses(times, np.array([0, 5, 10, 15, 20]), translation, rotation)
    np.testing.assert_allclose(t[:, 0], [0, 5, 10, 10, 10])
    np.testing.assert_allclose(rigid.yaw_of_quaternion(q), [0, 0.1, 0.2, 0.0, -0.2], atol=1e-12)


def test_interpolation_refuses_to_extrapolate_and_takes_nothing() -> None:
    times, translation, rotation = np.array([5]), np.zeros((1, 3)), np.array([[1.0, 0, 0, 0]])
    with pytest.raises(ValueError, match="outside"):
        rigid.interpolate_poses(times, np.array([6]), translation, rotation)
    t, q = rigid.interpolate_poses(times, np.array([], dtype=np.int64), translation, rotation)
    assert t.shape == (0, 3)
    assert q.shape == (0, 4)
    t, _ = rigid.interpolate_poses(times, np.array([5]), translation, rotation)
    np.testing.assert_array_equal(t, [[0, 0, 0]])


@settings(max_examples=30)
@given(arrays(np.float32, (5, 4), elements=st.floats(-100, 100, width=32)), quaternions)
def test_points_keep_type_and_distances(points: np.ndarray, quaternion: np.ndarray) -> None:
    moved = rigid.transform_points(rigid.from_translation_rotation([5, -3, 1], quaternion), points)
    assert moved.dtype == np.float32
    before = np.linalg.norm(points[:, None, :3] - points[None, :, :3], axis=-1)
    after = np.linalg.norm(moved[:, None] - moved[None], axis=-1)
    np.testing.assert_allclose(after, before, atol=2e-4)  # float32 at 100 m: 8e-6 a coordinate, several operations
