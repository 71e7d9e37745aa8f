"""Map geometry on a square with a square hole, where every distance is known."""

from __future__ import annotations

import numpy as np

from drive.geometry.rigid import from_translation_rotation, invert, quaternion_from_yaw
from drive.logs.maps import MapFeature, contains, crop, distance_to, in_box, near

SQUARE = MapFeature(
    "s",
    "drivable_area",
    np.array([[0.0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0]]),
    is_polygon=True,
    holes=(np.array([[4.0, 4, 0], [6, 4, 0], [6, 6, 0], [4, 6, 0]]),),
)
LINE = MapFeature("l", "lane_divider", np.array([[0.0, 20, 0], [10, 20, 0]]), is_polygon=False)


def test_contains() -> None:
    np.testing.assert_array_equal(contains(SQUARE, np.array([[1, 1], [5, 5], [11, 5]])), [True, False, False])
    assert not contains(LINE, np.array([[5, 20]])).any()


def test_distance() -> None:
    queries = np.array([[1, 1], [5, 5], [13, 14], [-2, 5]])
    np.testing.assert_allclose(distance_to(SQUARE, queries), [0, 1, 5, 2])
    np.testing.assert_allclose(distance_to(LINE, np.array([[5, 17], [13, 24]])), [3, 5])
    assert distance_to(SQUARE, np.zeros((0, 2))).shape == (0,)


def test_near_and_boxes() -> None:
    both = [SQUARE, LINE]
    assert near(both, (5, 15), 4.9) == []
    assert near(both, (5, 15), 5.0) == both
    assert near(both, (1, 1), 0.1) == [SQUARE]  # inside
    assert near(both, (5, 5), 0.5) == []  # in the hole
    assert in_box(both, (-5, 15, 5, 25)) == [LINE]
    assert near([], (0, 0), 10) == []


def test_crop_turns_into_the_local_frame() -> None:
    global_from_local = from_translation_rotation([10.0, 20, 0], quaternion_from_yaw(np.pi / 2))
    (line,) = crop([SQUARE, LINE], invert(global_from_local), 5.0)
    np.testing.assert_allclose(line.geometry, [[0, 10, 0], [0, 0, 0]], atol=1e-12)
