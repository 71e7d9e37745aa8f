"""Boxes: corners on paper, motions against corners, points inside."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from drive.geometry import box, rigid

BOX = np.array([[10.0, 5.0, 1.0, 4.0, 2.0, 1.5, np.pi / 2, 3.0, 0.0]])

finite = st.floats(-50, 50, allow_nan=False)
size = st.floats(0.1, 20)


def test_corners_of_a_box_turned_left() -> None:
    corner = box.corners(BOX)[0]
    np.testing.assert_allclose(corner[0], [9, 7, 0.25], atol=1e-12)  # front left: 2 ahead (+y), 1 to the left (-x)
    np.testing.assert_allclose(corner[6], [11, 3, 1.75], atol=1e-12)  # rear right, top


def test_faces_count_as_inside() -> None:
    straight = np.array([[10.0, 5.0, 1.0, 4.0, 2.0, 1.5, 0.0]])
    points = np.array([[10, 5, 1], [12, 6, 0.25], [12.001, 6, 1], [10, 5, 1.76]])
    np.testing.assert_array_equal(box.points_in_box_mask(points, straight), [[True, True, False, False]])


@given(finite, finite, st.floats(-3.1, 3.1), size, size, size, st.floats(-3.1, 3.1), finite, finite)
def test_moving_a_box_moves_its_corners(x, y, yaw, length, width, height, turn, tx, ty) -> None:  # type: ignore[no-untyped-def]
    boxes = np.array([[x, y, 1.0, length, width, height, yaw, 1.0, 2.0]])
    motion = rigid.from_translation_rotation([tx, ty, 0.5], rigid.quaternion_from_yaw(turn))
    moved = box.transform_boxes(motion, boxes)
    expected = rigid.transform_points(motion, box.corners(boxes)[0])
    np.testing.assert_allclose(box.corners(moved)[0], expected, atol=1e-9)
    np.testing.assert_allclose(np.hypot(*moved[0, 7:9]), np.hypot(1.0, 2.0), atol=1e-12)
    assert -np.pi < moved[0, 6] <= np.pi


def test_no_boxes() -> None:
    none = np.zeros((0, 9))
    assert box.corners(none).shape == (0, 8, 3)
    assert box.transform_boxes(np.eye(4), none).shape == (0, 9)
    assert box.points_in_box_mask(np.zeros((3, 3)), none).shape == (0, 3)
