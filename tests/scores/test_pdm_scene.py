"""What the PDM score takes of a Scene: traffic, lights, the road, the route, the history."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drive.samples.scene import RED, Lights, Scene, SceneMap
from drive.scores.pdm import NEVER, score_states
from drive.scores.pdm_config import PdmConfig
from drive.scores.pdm_scene import PdmMap, pdm_scene
from tests.scores.pdm_street import INSTANTS, cars, going, street

V1, V2 = PdmConfig(), PdmConfig(version="v2-fixed")


def states(speed: float, y: float = -1.75) -> np.ndarray:
    return going(speed, y)[None, :41]


def test_traffic_from_the_instant_on() -> None:
    """From 2 s on: the car at 5 m/s is 10 m further; things stand and count half."""
    scene = street(cars((30.0, -1.75, 5.0), (60.0, -1.75, 0.0)))
    scene = replace(scene, actors=replace(scene.actors, kind=np.array([0, 3])))
    ready = pdm_scene(scene, V1, at=20)
    assert ready.boxes.shape == (50, 2, 5)
    assert ready.boxes[0, 0, 0] == pytest.approx(40.0)
    np.testing.assert_array_equal(ready.is_thing, [False, True])
    np.testing.assert_allclose(ready.speed[0], [5.0, 0.0])
    assert ready.history is not None
    assert ready.history.shape == (15, 11)
    assert pdm_scene(scene, V1, at=14).history is None
    np.testing.assert_array_equal(ready.on_route, [False, True, False])
    with pytest.raises(ValueError, match="needs traffic up to instant 109"):
        pdm_scene(scene, V1, at=60)
    assert pdm_scene(scene, V2, at=60).boxes.shape == (41, 2, 5)


def test_lights_of_the_route() -> None:
    """Red from 1 s on; the lane's polygon holds the ego all the while, so that it is met at step 10. The light of the
    other lane, and one without a lane, are not judged."""
    state = np.zeros((INSTANTS, 3), np.int8)
    state[10:] = RED
    lights = Lights(state, np.array([0, 1, -1]), np.zeros((3, 2)))
    ready = pdm_scene(replace(street(cars()), lights=lights), V2)
    np.testing.assert_array_equal(ready.red_polygon, [1])
    assert "2 of 3 lights govern no polygon of the route: not judged" in ready.notes
    table = score_states(ready, states(8.0), V2)
    assert (table.tlc[0], table.steps["red_light"][0]) == (0.0, 10)


def edged(right: float) -> Scene:
    """The street without polygons: road edges at y = right and y = 3.5, road to the left of both."""
    edges = np.array([[-50.0, right], [300, right], [300, 3.5], [-50, 3.5]])
    scene_map = replace(SceneMap.empty(), edge_vertices=edges, edge_offsets=np.array([0, 2, 4]), edge_z=np.zeros(4),
                        drivable_from="road edges")  # fmt: skip
    return replace(street(cars()), map=scene_map, route=None)


def test_road_edges() -> None:
    """In the middle of the right lane the right side is at y = -2.8985."""
    inside, outside = pdm_scene(edged(-2.95), V1), pdm_scene(edged(-2.85), V1)
    assert inside.edges is not None
    assert score_states(inside, states(8.0), V1).dac[0] == 1.0
    table = score_states(outside, states(8.0), V1)
    assert (table.dac[0], table.steps["off_road"][0]) == (0.0, 0)
    assert table.unjudged == ("ddc", "ep")
    tolerant = replace(V1, road_tolerance_m=0.3)
    assert score_states(outside, states(8.0), tolerant).dac[0] == 1.0
    assert score_states(pdm_scene(edged(-2.55), V1), states(8.0), tolerant).dac[0] == 0.0
    lost = states(8.0).copy()
    lost[0, 7, 0] = np.nan
    assert score_states(inside, lost, V1).failed[0]


def test_nothing_known_of_the_road() -> None:
    bare = replace(street(cars()), map=SceneMap.empty(), route=None)
    ready = pdm_scene(bare, V2)
    assert ready.edges is None
    assert score_states(ready, states(8.0), V2).unjudged == ("dac", "ddc", "ep", "lk")


def test_a_route_without_lanes_has_a_line_and_no_direction() -> None:
    scene = street(cars())
    assert scene.route is not None
    path = replace(scene, route=replace(scene.route, lanes=np.zeros(0, np.int64), on_route=np.zeros(2, bool)))
    table = score_states(pdm_scene(path, V2), states(8.0, y=1.75), V2)
    assert (table.unjudged, table.ddc[0], table.steps["wrong_way"][0]) == (("ddc",), 1.0, NEVER)
    assert table.progress_m[0] == pytest.approx(32.0)


def test_map_leaves_crossings_out_and_keeps_holes() -> None:
    """A square with a hole, a crossing, a lane."""
    rings = [np.array([[0, 0], [10, 0], [10, 10], [0, 10.0]]), np.array([[4, 4], [6, 4], [6, 6], [4, 6.0]]),
             np.array([[0, 0], [1, 0], [1, 1.0]]), np.array([[0, 0], [10, 0], [10, 3.0]])]  # fmt: skip
    scene_map = replace(
        SceneMap.empty(),
        vertices=np.concatenate(rings),
        ring_offsets=np.array([0, 4, 8, 11, 14]),
        polygon_offsets=np.array([0, 2, 3, 4]),
        polygon_layer=np.array([1, 64, 4], np.uint8),
        polygon_lane=np.array([-1, -1, 7]),
        drivable_from="polygons",
    )
    known = PdmMap.of(scene_map)
    np.testing.assert_array_equal(known.layer, [1, 4])
    np.testing.assert_array_equal(known.lane, [-1, 7])
    np.testing.assert_array_equal(known.polygons, [0, 2, 3])
    np.testing.assert_array_equal(known.rings, [0, 4, 8, 11])
    np.testing.assert_allclose(known.bounds, [[0, 0, 10, 10], [0, 0, 10, 3]])
