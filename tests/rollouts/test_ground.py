"""Places on and off the road: polygons and road edges by hand, many scenes in one set of arrays."""

from __future__ import annotations

import numpy as np
import pytest

from drive.logs.maps import MapFeature, contains, distance_to
from drive.rollouts.ground import ground_of, in_several_lanes, places_off_road
from drive.samples.scene import SceneMap
from drive.samples.scene_map import build_map
from tests.samples.hand_made_scene import ring, scene, straight_road


def off(maps: list[SceneMap], places: list[tuple[float, float]], which: int = 0, z: float = 0.0) -> list[float]:
    ground = ground_of([scene(around=m) for m in maps])
    at = np.array(places, float)
    return places_off_road(ground, np.full(len(at), which), at, np.full(len(at), z)).tolist()


def edges(*lines: np.ndarray) -> SceneMap:
    return build_map([MapFeature(f"e{i}", "road_edge", line, False) for i, line in enumerate(lines)])[0]


def test_metres_off_polygons() -> None:
    road = build_map(straight_road())[0]
    # The right lane's edge is y = -1.75; the left one's, with the lane that runs against it, y = 8.75.
    found = off([road], [(0.0, 0.0), (0.0, -1.7), (0.0, -2.04), (0.0, -2.06), (0.0, 9.0), (500.0, 0.0)])
    assert found == pytest.approx([0.0, 0.0, 0.29, 0.31, 0.25, 100.0])


def test_a_hole_is_off_the_road() -> None:
    hole = ring((2, 2), (2, 8), (8, 8), (8, 2))
    area = MapFeature("d", "drivable_area", ring((0, 0), (10, 0), (10, 10), (0, 10)), True, holes=(hole,))
    assert off([build_map([area])[0]], [(1.0, 1.0), (5.0, 4.0), (7.0, 5.0)]) == pytest.approx([0.0, 2.0, 1.0])


def test_polygons_against_the_maps_own_answers() -> None:
    rng = np.random.default_rng(2)
    features = []
    for k in range(40):
        angle = np.sort(rng.uniform(0, 2 * np.pi, 7))
        star = rng.uniform(-50, 50, 2) + (rng.uniform(2, 12, 7) * [np.cos(angle), np.sin(angle)]).T
        features.append(MapFeature(str(k), "drivable_area", np.pad(star, ((0, 0), (0, 1))), True))
    places = rng.uniform(-60, 60, (500, 2))
    inside = np.any([contains(f, places) for f in features], axis=0)
    away = np.min([distance_to(f, places) for f in features], axis=0)
    found = np.array(off([build_map(features)[0]], places.tolist()))
    np.testing.assert_array_equal(found == 0, inside)
    np.testing.assert_allclose(found, away, atol=1e-9)


def test_left_of_an_edge_is_road() -> None:
    kerb = edges(ring((0, 0), (100, 0)))
    found = off([kerb], [(50.0, 2.0), (50.0, -0.3), (-3.0, 4.0), (103.0, -4.0)])
    assert found == pytest.approx([-2.0, 0.3, -5.0, 5.0])


def test_corners_of_edges() -> None:
    # Road inside a square that is driven counter-clockwise, and outside of an island driven clockwise.
    square = edges(ring((0, 0), (10, 0), (10, 10), (0, 10), (0, 0)))
    island = edges(ring((0, 0), (0, 10), (10, 10), (10, 0), (0, 0)))
    corners = [(-1.0, -1.0), (11.0, 11.0), (-1.0, 0.5), (0.5, -1.0), (1.0, 1.0), (5.0, 4.0)]
    root = 2**0.5
    wanted = [root, root, 1.0, 1.0, -1.0, -4.0]
    assert off([square], corners) == pytest.approx(wanted)
    assert off([island], corners) == pytest.approx([-w for w in wanted])
    # The same corners where the line is open there.
    turn = edges(ring((0, 20), (0, 0), (20, 0)))  # down, then right: a left turn
    assert off([turn], [(-1.0, -1.0), (1.0, 1.0)]) == pytest.approx([root, -1.0])


def test_what_runs_above_is_far() -> None:
    low, high = np.array([[0.0, 0, 0], [100, 0, 0]]), np.array([[100.0, 1, 8], [0, 1, 8]])
    both = edges(low, high)
    assert off([both], [(50.0, 0.8)], z=0.0) == pytest.approx([-0.8])
    assert off([both], [(50.0, 0.8)], z=8.0) == pytest.approx([-0.2])


def test_edges_against_all_segments() -> None:
    rng = np.random.default_rng(7)
    starts, steps = rng.uniform(-80, 80, (12, 1, 2)), rng.normal(0, 3, (12, 30, 2))
    lines = list(np.pad(starts + np.cumsum(steps, axis=1), ((0, 0), (0, 0), (0, 1))))
    places = rng.uniform(-100, 100, (400, 2))
    features = [MapFeature("", "", line, False) for line in lines]
    away = np.min([distance_to(f, places) for f in features], axis=0)
    np.testing.assert_allclose(np.abs(off([edges(*lines)], places.tolist())), away, atol=1e-9)


def test_scenes_do_not_mix() -> None:
    road, kerb, nothing = build_map(straight_road())[0], edges(ring((0, 0), (100, 0))), SceneMap.empty()
    maps = [nothing, road, kerb, nothing, road]
    at = [(50.0, -2.05)]
    assert [off(maps, at, which)[0] for which in range(5)] == pytest.approx([0.0, 0.3, 2.05, 0.0, 0.3])


def test_in_several_lanes() -> None:
    ground = ground_of([scene()])
    box = np.array([[2.0, 1.0], [2.0, -1.0], [-2.0, -1.0], [-2.0, 1.0]])
    assert not in_several_lanes(ground, 0, box)
    assert in_several_lanes(ground, 0, box + np.array([0.0, 1.5]))
    assert not in_several_lanes(ground, 0, box + np.array([0.0, -1.5]))  # half off the road, but in one lane only
    assert in_several_lanes(ground, 0, box + np.array([100.0, 0.0]))  # over the joint of a and b: neither holds it all
