"""The town before any sensor sees it: shapes, map geometry, and traffic that harms nobody."""

from __future__ import annotations

from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from shapely.geometry import Polygon

from data_tools.town.actors import ActorPicker, Population
from data_tools.town.bodies import CATEGORY, make_body
from data_tools.town.layout import Town, build_town
from data_tools.town.map_files import arcline_path, map_expansion, semantic_prior
from data_tools.town.population import EGO_SIZE, populate
from data_tools.town.radar import RECORD, Targets, scan, to_pcd
from data_tools.town.routes import SPACING
from data_tools.town.scenery import draw_ground
from drive.geometry.box import corners_bev
from drive.geometry.polylines import arc_length
from drive.render.scene import Material

SECONDS = 12.0


@pytest.fixture(scope="module")
def town() -> Town:
    return build_town("boston-seaport", 7)


@pytest.fixture(scope="module")
def ground(town: Town) -> np.ndarray:
    return draw_ground(town)


@pytest.fixture(scope="module", params=[0, 1])
def population(town: Town, request: pytest.FixtureRequest) -> Population:
    return populate(town, request.param, SECONDS, standing_start=request.param == 1)


@pytest.mark.parametrize("kind", sorted(CATEGORY))
def test_box_bounds_its_parts_exactly(kind: str) -> None:
    for seed in range(5):
        body = make_body(kind, np.random.default_rng(seed))
        low = (body.parts.centre - body.parts.half_size).min(axis=0)
        high = (body.parts.centre + body.parts.half_size).max(axis=0)
        length, width, height = body.size
        np.testing.assert_allclose(low, [-length / 2, -width / 2, 0.0], atol=1e-12)
        np.testing.assert_allclose(high, [length / 2, width / 2, height], atol=1e-12)


def test_a_seed_is_a_town(town: Town) -> None:
    again, other = build_town("boston-seaport", 7), build_town("boston-seaport", 8)
    np.testing.assert_array_equal(again.nodes, town.nodes)
    assert other.nodes.shape != town.nodes.shape or not np.allclose(other.nodes, town.nodes)


def test_lanes_join_without_gap_or_kink(town: Town) -> None:
    for connector in town.connectors:
        source, target = town.lanes[connector.source].centre, town.lanes[connector.target].centre
        np.testing.assert_allclose(connector.centre[0], source[-1], atol=1e-9)
        np.testing.assert_allclose(connector.centre[-1], target[0], atol=1e-9)
        for a, b in ((source[-1] - source[-2], connector.centre[1] - connector.centre[0]),
                     (connector.centre[-1] - connector.centre[-2], target[1] - target[0])):  # fmt: skip
            cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            assert cosine > np.cos(0.12)
    # Every lane leads somewhere and is led to.
    assert {c.source for c in town.connectors} == set(range(len(town.lanes)))


def test_arcs_follow_the_line(town: Town) -> None:
    for piece in [*town.lanes[::7], *town.connectors[::9]]:
        arcs = arcline_path(piece.centre)
        total = sum(sum(arc["segment_length"]) for arc in arcs)
        assert total == pytest.approx(arc_length(piece.centre)[-1], rel=0.01)
        for before, after in pairwise(arcs):
            np.testing.assert_allclose(before["end_pose"][:2], after["start_pose"][:2], atol=1e-9)


def test_map_tokens_are_unique_and_resolve(town: Town) -> None:
    layers = map_expansion(town)
    nodes = {row["token"] for row in layers["node"]}
    assert len(nodes) == len(layers["node"])
    for name in ("lane", "road_segment", "road_block", "walkway", "ped_crossing", "stop_line", "lane_connector"):
        tokens = [row["token"] for row in layers[name]]
        assert len(set(tokens)) == len(tokens) > 0
    for polygon in layers["polygon"]:
        assert set(polygon["exterior_node_tokens"]) <= nodes
    assert set(layers["connectivity"]) == set(layers["arcline_path_3"])


def test_semantic_prior_has_north_up(ground: np.ndarray) -> None:
    small = np.full((4, 6), int(Material.GRASS), np.uint8)
    small[0, 1] = int(Material.ROAD)  # the south-west corner's neighbour
    image = np.asarray(Image.open(BytesIO(semantic_prior(small))))
    assert image.shape == (4, 6)
    assert image[3, 1] == 255
    assert image.sum() == 255


def all_boxes(population: Population, time: float) -> np.ndarray:
    """Boxes [N, 7] of every actor and, first, the ego."""
    poses = np.concatenate([population.history.poses_at(time, 1), population.poses(time)])
    sizes = np.array([EGO_SIZE, *(body.size for body in population.bodies)])
    return np.column_stack([poses[:, :2], sizes[:, 2] / 2, sizes, poses[:, 2]])


def test_nothing_drives_or_walks_through_anything(population: Population) -> None:
    for time in np.arange(0.0, SECONDS, 0.25):
        boxes = all_boxes(population, float(time))
        shapes = [Polygon(c) for c in corners_bev(boxes)]
        for i in range(len(boxes)):
            near = np.flatnonzero(np.hypot(*(boxes[:i, :2] - boxes[i, :2]).T) < 14.0)
            for j in near:
                assert shapes[i].intersection(shapes[j]).area < 1e-3


def test_vehicles_keep_to_the_road_and_people_to_the_paved(population: Population, ground: np.ndarray) -> None:
    kinds = ["car", *(body.kind for body in population.bodies)]
    road = [int(Material.ROAD), int(Material.MARKING)]
    for time in np.arange(0.0, SECONDS, 1.0):
        boxes = all_boxes(population, float(time))
        for kind, box, corners in zip(kinds, boxes, corners_bev(boxes), strict=True):
            inner = box[:2] + 0.85 * (corners - box[:2])
            under = ground[(inner[:, 1] / 0.1).astype(int), (inner[:, 0] / 0.1).astype(int)]
            if kind in ("car", "truck", "bus", "bicycle"):
                assert np.isin(under, road).all(), kind
            elif kind == "pedestrian":
                assert (under != int(Material.GRASS)).sum() >= 2


def test_every_class_is_around_and_things_move(population: Population) -> None:
    counts = dict.fromkeys(CATEGORY, 0)
    for body in population.bodies:
        counts[body.kind] += 1
    assert counts["car"] >= 20
    assert counts["pedestrian"] >= 15
    assert all(count >= 2 for count in counts.values())
    assert (population.speeds(6.0) > 1.0).sum() > 8


def test_speeds_are_humane_and_poses_smooth(population: Population) -> None:
    step = 0.05
    before = population.history.poses_at(0.0)
    for time in np.arange(step, SECONDS, step):
        now = population.history.poses_at(float(time))
        moved = np.hypot(*(now[:, :2] - before[:, :2]).T)
        turned = np.abs(np.arctan2(np.sin(now[:, 2] - before[:, 2]), np.cos(now[:, 2] - before[:, 2])))
        assert moved.max() < 14.0 * step
        assert turned.max() < 0.5
        before = now


def test_standing_start(town: Town) -> None:
    population = populate(town, 3, SECONDS, standing_start=True)
    first, later = population.ego_pose(0.0), population.ego_pose(3.0)
    np.testing.assert_allclose(first, later, atol=1e-9)


def test_motion_is_the_derivative_of_the_pose(population: Population) -> None:
    velocity, _ = population.motion(5.0)
    difference = (population.poses(5.1)[:, :2] - population.poses(4.9)[:, :2]) / 0.2
    assert np.abs(velocity - difference).max() < 1.0
    assert np.median(np.abs(velocity - difference)) < 0.05


def test_picker_takes_those_near(population: Population) -> None:
    centre = population.ego_pose(2.0)[:2]
    actors, chosen = ActorPicker(population).at(2.0, centre, 50.0)
    distance = np.hypot(*(population.poses(2.0)[:, :2] - centre).T)
    np.testing.assert_array_equal(chosen, np.flatnonzero(distance < 50.0))
    assert len(actors) == len(chosen) > 0
    nobody, none = ActorPicker(population).at(2.0, np.array([-900.0, -900.0]), 50.0)
    assert len(nobody) == len(none) == 0


def test_paths_have_even_spacing(population: Population) -> None:
    for mover in population.history.fleet.movers[:6]:
        steps = np.linalg.norm(np.diff(mover.path.points, axis=0), axis=1)
        assert steps.max() <= SPACING + 1e-6
        assert np.median(steps) == pytest.approx(SPACING, abs=1e-3)


def radar_targets(velocity: tuple[float, float], count: int = 1) -> Targets:
    here = np.tile([20.0, 0.0, 0.0], (count, 1))
    return Targets(["truck"] * count, here, np.tile([7.0, 2.4, 3.0], (count, 1)), np.tile(velocity, (count, 1)),
                   np.zeros((0, 2)))  # fmt: skip


def test_radar_measures_along_the_ray_only() -> None:
    records = scan(radar_targets((-8.0, 5.0), 20), np.eye(4), np.array([10.0, 0.0]), np.random.default_rng(0))
    assert len(records) > 20
    # Ahead of the radar the ray is x: the sideways 5 m/s stay unseen, and 10 m/s of its own come off.
    assert np.median(records["vx_comp"]) == pytest.approx(-8.0, abs=0.3)
    assert np.median(records["vx"]) == pytest.approx(-18.0, abs=0.3)
    assert np.abs(records["vy_comp"]).max() < 1.5
    assert (records["dyn_prop"] == 2).all()


def test_radar_that_sees_nothing_says_so() -> None:
    records = scan(radar_targets((0.0, 0.0), 0), np.eye(4), np.zeros(2), np.random.default_rng(0))
    assert records["invalid_state"].tolist() == [1]
    data = to_pcd(records)
    assert data.split(b"DATA binary\n")[1][:-1] == records.tobytes()
    assert RECORD.itemsize == 43
