"""Decisions made of scenes by hand: every number can be worked out on paper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from worlds import drive_scene, one_actor, road_map

from drive.errors import UserError
from drive.samples.plan_perturb import PerturbConfig
from drive.samples.plan_sample import (
    ACTOR_COLUMNS,
    LINE_METRES,
    LINE_POINTS,
    ROUTE_M,
    PlanFeatures,
    PlanSample,
    cut_lines,
)  # fmt: skip
from drive.samples.plan_sample_batch import collate_plans, padded
from drive.samples.plan_sample_data import PlanDataConfig, PlanDataset, scene_samples
from drive.samples.plan_sample_raster import PLANES, RasterGrid, draw_map
from drive.samples.scene import PEDESTRIAN, RED, Actors, Lights, SceneMap

FEATURES = PlanFeatures(raster=RasterGrid(cell_m=1.0))


def plane(sample: PlanSample, name: str) -> np.ndarray:
    return (sample.raster >> PLANES.index(name) & 1).astype(bool)


def cell(x: float, y: float) -> tuple[int, int]:
    return int(x + 16), int(y + 32)


def test_future_status_and_past() -> None:
    sample = scene_samples(drive_scene(10.0, turn=False), [30], FEATURES)[0]
    assert sample.frame_id == "hand@30"
    assert sample.future == pytest.approx(np.stack((5 * np.arange(1, 9), np.zeros(8), np.zeros(8)), axis=1), abs=1e-4)
    assert sample.future_valid.all()
    assert sample.status.tolist() == [0, 1, 0, 0, 10, 0, 0, 0]  # straight on
    assert sample.past[:, 0] == pytest.approx([-5, -10, -15, -20], abs=1e-4)
    assert sample.past[:, 4].tolist() == [1, 1, 1, 1]


def test_turning_is_seen_from_the_ego() -> None:
    scene = drive_scene(10.0, turn=True)
    sample = scene_samples(scene, [40], FEATURES)[0]  # 10 m into the arc of 30 m
    left = sample.future[-1]
    angle = min(50 / 30, np.pi / 2) - 10 / 30
    assert left[2] == pytest.approx(angle, abs=1e-5)
    assert left[1] > 0
    # After 5 m along the arc: chord of the circle, half the angle aside.
    assert sample.future[0, :2] == pytest.approx([30 * np.sin(5 / 30), 30 - 30 * np.cos(5 / 30)], abs=1e-4)
    early = scene_samples(scene, [25], FEATURES)[0]
    assert early.command == 0
    assert early.status[:4].tolist() == [1, 0, 0, 0]


def test_ends_of_a_scene() -> None:
    scene = drive_scene(10.0, turn=False, steps=31)
    first, last = scene_samples(scene, [0, 18], FEATURES)
    assert not first.past.any()
    assert first.future_valid.tolist() == [True] * 6 + [False] * 2
    assert not first.future[6:].any()
    assert last.past[:, 4].tolist() == [1, 1, 1, 0]
    assert last.future_valid.tolist() == [True, True] + [False] * 6
    gone = replace(scene, ego_valid=np.arange(31) < 15)
    assert scene_samples(gone, [0], FEATURES)[0].future_valid.tolist() == [True, True] + [False] * 6


def test_road_users() -> None:
    scene = drive_scene(10.0, turn=False, actors=one_actor(81, (30.0, 4.0), (-5.0, 0.0)))
    sample = scene_samples(scene, [30], FEATURES)[0]
    row = dict(zip(ACTOR_COLUMNS, sample.actors[0].tolist(), strict=True))
    # Ego at 20, car at 30 - 15.
    wanted = {"x": -5, "y": 4, "cos": -1, "vx": -5, "vy": 0, "length": 4, "width": 2, "is_vehicle": 1, "is_static": 0}
    assert {name: row[name] for name in wanted} == pytest.approx(wanted, abs=1e-4)
    assert (row["x_10"], row["y_10"], row["valid_10"]) == pytest.approx((0, 4, 1), abs=1e-4)
    car = plane(sample, "vehicle")
    assert car[cell(-5.5, 3.5)]
    assert car.sum() == 8
    assert plane(sample, "vehicle_1s")[cell(-10.5, 3.5)]
    assert plane(sample, "vehicle_2s")[cell(-14.5, 3.5)]
    assert not plane(sample, "pedestrian").any()


def test_the_route_and_where_others_are_on_it() -> None:
    """The route runs along x to 20 m past the ego, then left on a circle of 30 m (by hand)."""
    scene = drive_scene(10.0, turn=True, actors=one_actor(81, (45.0, 8.0), (0.0, 0.0)))
    sample = scene_samples(scene, [10], FEATURES)[0]
    at = list(ROUTE_M)
    np.testing.assert_allclose(sample.route[at.index(0.0)], [0, 0], atol=0.02)
    np.testing.assert_allclose(sample.route[at.index(16.0)], [16, 0], atol=0.02)
    away = np.linalg.norm(sample.route[at.index(50.0)] - [20, 30])
    assert away == pytest.approx(30, abs=0.1)
    assert sample.route[at.index(50.0), 1] > 5
    row = dict(zip(ACTOR_COLUMNS, sample.actors[0].tolist(), strict=True))
    x, y = row["x"] - 20, row["y"] - 30  # from the circle's middle
    assert row["ahead"] == pytest.approx(20 + 30 * (np.arctan2(y, x) + np.pi / 2), abs=0.3)
    assert row["aside"] == pytest.approx(30 - np.hypot(x, y), abs=0.1)
    assert row["on_known"] == 1
    unknown = scene_samples(replace(scene, route=None), [10], FEATURES)[0]
    assert not unknown.route.any()
    assert not unknown.actors[0, -3:].any()


def test_decisions_beside_the_drive() -> None:
    scene = drive_scene(10.0, turn=False)
    recorded = scene_samples(scene, [20, 30], FEATURES)
    moved = scene_samples(scene, [20, 30], FEATURES, PerturbConfig(share=1.0))
    again = scene_samples(scene, [30], FEATURES, PerturbConfig(share=1.0))[0]
    np.testing.assert_array_equal(moved[1].future, again.future)
    for was, now in zip(recorded, moved, strict=True):
        assert np.abs(was.future - now.future).max() > 0.02
        # It ends where the recording does, seen from another place: at the same distance from the route's points.
        gap = np.linalg.norm(now.route[-1] - now.future[-1, :2])
        assert gap == pytest.approx(float(np.linalg.norm(was.route[-1] - was.future[-1, :2])), abs=0.15)
    late = scene_samples(scene, [79], FEATURES, PerturbConfig(share=1.0))[0]
    assert not late.past[:, 1].any(), "a decision without its whole future stays as it is"


def test_who_is_left_out() -> None:
    near, far = one_actor(81, (25.0, 4.0), (0.0, 0.0), PEDESTRIAN), one_actor(81, (150.0, 0.0), (0.0, 0.0))
    both = Actors(
        *(np.concatenate((getattr(far, n), getattr(near, n))) for n in ("box", "velocity", "valid", "kind")),
        ("far", "near"),
        np.zeros((2, 81)),
    )
    sample = scene_samples(drive_scene(10.0, turn=False, actors=both), [30], FEATURES)[0]
    assert len(sample.actors) == 1
    assert plane(sample, "pedestrian").any()
    one = replace(FEATURES, reach_m=500.0, most_actors=1)
    assert scene_samples(drive_scene(10.0, turn=False, actors=both), [30], one)[0].actors[0, 0] == pytest.approx(5)
    gone = replace(both, valid=both.valid & (np.arange(81) < 30))
    left = scene_samples(drive_scene(10.0, turn=False, actors=gone), [30], FEATURES)[0]
    assert left.actors.shape == (0, len(ACTOR_COLUMNS))


def test_map_planes() -> None:
    sample = scene_samples(drive_scene(10.0, turn=True), [10], FEATURES)[0]  # ego at the origin, along x
    road = plane(sample, "drivable")
    assert road[cell(10.5, 0.5)]
    assert road[cell(10.5, -1.5)]
    assert not road[cell(10.5, 2.5)]
    assert not road[cell(10.5, -2.5)]
    assert road[cell(41.2, 8.8)]  # the other lane's middle, 45 degrees around
    assert not road[cell(30.5, 12.5)]
    lane, route = plane(sample, "lane"), plane(sample, "route")
    assert lane[cell(10.5, -0.5)]
    assert lane[cell(45.5, -0.5)]
    assert route[cell(41.2, 8.8)]
    assert not route[cell(45.5, -0.5)]  # the route leaves the straight lane
    assert not lane[cell(10.5, 1.5)]
    assert not lane[cell(10.5, -1.6)]


def test_holes_are_not_road() -> None:
    square = np.array([[0.0, 0], [20, 0], [20, 20], [0, 20]])
    hole = np.array([[5.0, 5], [15, 5], [15, 15], [5, 15]])
    lanes = replace(
        SceneMap.empty(),
        vertices=np.concatenate((square, hole)),
        ring_offsets=np.array([0, 4, 8]),
        polygon_offsets=np.array([0, 2]),
        polygon_layer=np.array([1], np.uint8),
        polygon_lane=np.array([-1]),
    )
    picture = draw_map(lanes, None, np.zeros((1, 2)), 1.0)
    at = lambda x, y: picture.bits[tuple(((np.array([x, y]) - picture.low) / picture.cell_m).astype(int))]  # noqa: E731
    assert [at(2, 2), at(10, 10), at(17, 10), at(-2, 2)] == [1, 0, 1, 0]


def test_lines_are_cut_and_told_about() -> None:
    scene = drive_scene(10.0, turn=True)
    lines = cut_lines(scene.map, scene.route)
    assert lines.points.shape[1:] == (LINE_POINTS, 2)
    length = np.linalg.norm(np.diff(lines.points, axis=1), axis=2).sum(1)
    assert length.max() <= LINE_METRES + 1e-6
    assert length[lines.lane == 0].sum() == pytest.approx(300)
    assert lines.about[lines.lane == 1][0].tolist() == [1, 1, 0, 0, 0, 0, 0]
    assert lines.about[lines.lane == 0][0, 5:].tolist() == pytest.approx([1.3, 1])
    edge = np.array([[0.0, 5], [30, 5]])
    with_edges = replace(scene.map, edge_vertices=edge, edge_offsets=np.array([0, 2]), edge_z=np.zeros(2))
    assert (cut_lines(with_edges, None).lane == -1).sum() == 2
    assert len(cut_lines(SceneMap.empty(), None).points) == 0


def test_signals() -> None:
    scene = drive_scene(10.0, turn=False)
    state = np.zeros((81, 2), np.int8)
    state[30:, 0] = RED
    scene = replace(scene, lights=Lights(state, np.array([1, 0]), np.array([[30.0, 0.0], [0.0, 0.0]])))
    before, now = scene_samples(scene, [29, 30], FEATURES)
    assert not plane(before, "red").any()
    assert plane(now, "red")[cell(10.5, 0.5)]
    assert not before.line_about[:, 2:4].any()
    stopped = now.line_about[:, 2] == 1
    assert stopped.any()
    assert (now.line_about[stopped, 1] == 1).all()  # only pieces of the connector


def test_nothing_known_of_the_place() -> None:
    scene = replace(drive_scene(5.0, turn=False), map=SceneMap.empty(), route=None)
    sample = scene_samples(scene, [20], FEATURES)[0]
    assert sample.command == 3  # unknown
    assert len(sample.lines) == len(sample.line_about) == 0
    assert not sample.raster.any()


def test_batches() -> None:
    busy = drive_scene(10.0, turn=False, actors=one_actor(81, (30.0, 4.0), (-5.0, 0.0)))
    samples = scene_samples(busy, [0, 10], FEATURES) + scene_samples(drive_scene(5.0, turn=True), [0], FEATURES)
    batch = collate_plans(samples)
    assert batch.batch_size == 3
    assert batch.actor_offsets.tolist() == [0, 1, 2, 2]
    assert batch.line_offsets[-1] == len(batch.lines)
    assert batch.raster.shape == (3, 64, 64)
    rows, valid = padded(batch.actors, batch.actor_offsets)
    assert rows.shape == (3, 1, len(ACTOR_COLUMNS))
    assert valid[:, 0].tolist() == [True, True, False]
    assert set(batch.to("cpu").tensors()) == set(batch.tensors())
    none, nobody = padded(batch.actors[:0], batch.actor_offsets[:1].repeat(4))
    assert none.shape == (3, 0, len(ACTOR_COLUMNS))
    assert nobody.shape == (3, 0)


def test_data_sets() -> None:
    samples = [s for turn in (False, True) for s in scene_samples(drive_scene(8.0, turn), [0, 10, 20, 60], FEATURES)]
    dataset = PlanDataset(samples)
    assert len(dataset) == 8
    assert dataset.futures().shape == (6, 8, 3)  # at 60 of 80 the future is cut
    turns = PlanDataset([s for s in samples if s.future_valid.all()]).presence()
    assert turns.sum(1).tolist() == [1] * 6
    assert turns[:, 1].any()
    assert PlanDataset([]).futures().shape == (0, 0, 3)
    with pytest.raises(UserError, match="no decision with a known future of 4 s in 0 logs"):
        PlanDataset.of(PlanDataConfig(), [])
    assert len(road_map().lane_ids) == 2
