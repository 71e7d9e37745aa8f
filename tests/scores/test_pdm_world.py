"""PDM score on random worlds: what must not matter does not, and the grid finds what all edges find."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drive.dynamics.bicycle import HEADING, X, Y
from drive.scores.pdm import SUB_SCORES, PdmTable, score_plans, score_states
from drive.scores.pdm_comfort import comfort, smoothing, two_frame_comfort
from drive.scores.pdm_config import PdmConfig
from drive.scores.pdm_grid import cell_of, edge_within, entry_holds, make_grid
from tests.scores.pdm_world import TIMES_S, World, make_world, scene_of

CONFIGS = (PdmConfig(), PdmConfig(version="v2-fixed"))


def scored(world: World, config: PdmConfig) -> PdmTable:
    return score_plans(scene_of(world, config), world.plans, TIMES_S, world.ego0, config)


def same(a: PdmTable, b: PdmTable, order: np.ndarray | None = None) -> None:
    for name in (*SUB_SCORES[:-1], "score", "progress_m"):
        one, two = getattr(a, name), getattr(b, name)
        np.testing.assert_allclose(two, one if order is None else one[order], atol=1e-7, err_msg=name)
    for name, steps in a.steps.items():
        np.testing.assert_array_equal(b.steps[name], steps if order is None else steps[order], err_msg=name)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.version)
@pytest.mark.parametrize("seed", range(6))
def test_what_must_not_matter(config: PdmConfig, seed: int) -> None:
    world = make_world(seed, agents=12, plans=6)
    rng, before = np.random.default_rng(seed), scored(world, config)

    order = rng.permutation(12)
    shuffled = replace(world, boxes=world.boxes[:, order], valid=world.valid[:, order],
                       velocity=world.velocity[:, order], kind=world.kind[order])  # fmt: skip
    same(before, scored(shuffled, config))

    order = rng.permutation(6)
    same(before, scored(replace(world, plans=world.plans[order]), config), order)

    # Twice the same polygon: of lanes it may matter (two lanes hold a corner), of areas not.
    areas = [g for g in range(len(world.layer)) if world.lane[g] < 0]
    doubled = replace(world, polygons=world.polygons + [world.polygons[g] for g in areas],
                      layer=np.concatenate([world.layer, world.layer[areas]]),
                      lane=np.concatenate([world.lane, world.lane[areas]]))  # fmt: skip
    same(before, scored(doubled, config))

    far = np.tile([500.0, 500.0, 4.0, 2.0, 0.0], (51, 1, 1))
    more = replace(world, boxes=np.concatenate([world.boxes, far], axis=1),
                   valid=np.concatenate([world.valid, np.ones((51, 1), bool)], axis=1),
                   velocity=np.concatenate([world.velocity, np.zeros((51, 1, 2))], axis=1),
                   kind=np.append(world.kind, 0))  # fmt: skip
    same(before, scored(more, config))


@pytest.mark.parametrize("seed", range(6))
def test_moving_the_world(seed: int) -> None:
    world, config = make_world(seed, agents=12, plans=6), CONFIGS[1]
    angle, shift = 1.1 + seed, np.array([37.0, -91.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def moved_rows(rows: np.ndarray) -> np.ndarray:
        out = rows.copy()
        out[..., [X, Y]] = rows[..., [X, Y]] @ turn.T + shift
        out[..., HEADING] += angle
        return out

    boxes = world.boxes.copy()
    boxes[..., :2] = boxes[..., :2] @ turn.T + shift
    boxes[..., 4] += angle
    moved = replace(
        world,
        polygons=[[ring @ turn.T + shift for ring in polygon] for polygon in world.polygons],
        centreline=world.centreline @ turn.T + shift,
        boxes=boxes,
        velocity=world.velocity @ turn.T,
        ego0=moved_rows(world.ego0),
        history=moved_rows(world.history),
    )
    same(scored(world, config), scored(moved, config))


def test_worlds_hold_every_event() -> None:
    """A test of the tests: each sub-score is 1 for some plans and less for others."""
    tables = [scored(make_world(seed, agents=12, plans=6), config) for seed in range(12) for config in CONFIGS[1:]]
    for name in ("nc", "dac", "ddc", "tlc", "ep", "ttc", "lk", "comfort"):
        column = np.concatenate([table.column(name) for table in tables])
        assert column.min() < 1.0, name
        assert column.max() == 1.0, name


def even_odd(point: np.ndarray, polygon: list[np.ndarray]) -> bool:
    """Crossings of a ray, all edges."""
    odd = False
    for ring in polygon:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if (y0 > point[1]) != (y1 > point[1]) and point[0] < x0 + (point[1] - y0) / (y1 - y0) * (x1 - x0):
                odd = not odd
    return odd


@pytest.mark.parametrize(("cell", "share"), [(0.7, 1.0), (2.0, 1.0), (50.0, 1.0), (2.0, 0.5), (7.0, 0.3)])
def test_grid_finds_what_all_edges_find(cell: float, share: float) -> None:
    """share: of the map's width and height, in its middle, about which alone the grid is told."""
    world, rng = make_world(3), np.random.default_rng(0)
    polygons = [*world.polygons, [np.array([[0, 0], [40, 1], [3, 5], [38, 9], [0, 10.0]])]]  # a thin, notched one
    rings = [ring for polygon in polygons for ring in polygon]
    vertices = np.concatenate(rings)
    low, high = vertices.min(axis=0) - 5, vertices.max(axis=0) + 5
    margin = (high - low) * (1 - share) / 2
    within = np.concatenate([low + margin, high - margin])
    offsets = np.cumsum([0, *map(len, rings)]), np.cumsum([0, *map(len, polygons)])
    grid = make_grid(vertices, *offsets, cell, within=None if share == 1 else within)
    points = np.concatenate([
        rng.uniform(low, high, (300, 2)),
        vertices[rng.integers(0, len(vertices), 300)] + rng.normal(0, 0.3, (300, 2)),
        rng.uniform([0, 0], [40, 10], (100, 2)),
    ])  # fmt: skip
    points = points[((points >= within[:2]) & (points <= within[2:])).all(axis=1)]
    inside = 0
    for point in points:
        number = cell_of(*point, grid)
        entries = range(grid.starts[number], grid.starts[number + 1]) if number >= 0 else range(0)
        found = {int(grid.polygon[e]) for e in entries if entry_holds(*point, number, e, grid)}
        assert found == {g for g, polygon in enumerate(polygons) if even_odd(point, polygon)}
        inside += len(found)
    assert inside > (500 if share == 1 else 50)


def test_edge_within() -> None:
    square = np.array([[0.0, 0], [10, 0], [10, 10], [0, 10]])
    grid = make_grid(square, np.array([0, 4]), np.array([0, 1]))
    layers = np.array([1], np.uint8)
    assert edge_within(5.0, -0.29, 0.3, layers, 1, grid)
    assert not edge_within(5.0, -0.31, 0.3, layers, 1, grid)
    assert not edge_within(5.0, -0.29, 0.3, layers, 2, grid)
    assert edge_within(10.2, 10.2, 0.3, layers, 1, grid)  # the corner, 0.283 m away
    assert not edge_within(10.22, 10.22, 0.3, layers, 1, grid)
    assert not edge_within(np.nan, 0.0, 0.3, layers, 1, grid)


def test_grid_of_nothing_and_of_bad_offsets() -> None:
    none = np.zeros(1, np.int64)
    grid = make_grid(np.zeros((0, 2)), none, none)
    assert all(grid.starts == 0)
    with pytest.raises(ValueError, match="ring_offsets"):
        make_grid(np.zeros((3, 2)), np.array([0, 2]), np.array([0, 1]))
    with pytest.raises(ValueError, match="not finite"):
        make_grid(np.array([[0, 0], [1, 0], [np.nan, 1.0]]), np.array([0, 3]), np.array([0, 1]))


@pytest.mark.parametrize(
    ("length", "window", "order", "derivative"),
    [(41, 41, 2, 0), (41, 8, 2, 0), (41, 41, 2, 1), (56, 15, 2, 1), (41, 5, 2, 1), (41, 5, 3, 2), (36, 5, 2, 2)],
)
def test_smoothing_is_scipys(length: int, window: int, order: int, derivative: int) -> None:
    signal = pytest.importorskip("scipy.signal")
    given = np.random.default_rng(0).normal(size=length)
    wanted = signal.savgol_filter(given, window, order, deriv=derivative, delta=0.1)
    np.testing.assert_allclose(smoothing(length, window, order, derivative, 0.1) @ given, wanted, atol=1e-10)


def test_smoothing_keeps_polynomials() -> None:
    time = np.arange(41) * 0.1
    np.testing.assert_allclose(smoothing(41, 5, 3, 2, 0.1) @ time**3, 6 * time, atol=1e-8)
    with pytest.raises(ValueError, match="order 5"):
        smoothing(41, 5, 5, 0, 0.1)


def test_two_frame_comfort() -> None:
    """Equal over the overlap: comfortable. An acceleration 0.8 m/s^2 apart all along: not (0.7), 0.6: yes."""
    config, states = CONFIGS[1], np.zeros((3, 41, 11))
    earlier = np.zeros((3, 41, 11))
    earlier[:, :, 5] = np.array([0.0, 0.6, 0.8])[:, None]
    np.testing.assert_array_equal(two_frame_comfort(states, earlier, 5, config), [1, 1, 0])
    earlier[:, :, 5] = 0.0
    earlier[1, :, HEADING] = 0.2 * np.arange(41) * 0.1  # 0.2 rad/s apart, limit 0.1
    np.testing.assert_array_equal(two_frame_comfort(states, earlier, 5, config), [1, 0, 1])
    with pytest.raises(ValueError, match="compared"):
        two_frame_comfort(states, earlier, 40, config)


def test_ec_enters_the_score() -> None:
    world, config = make_world(1, agents=0, plans=4), CONFIGS[1]
    states = config.tracker(scene_of(world, config).vehicle).track(np.zeros((4, 41, 3)), np.zeros(11))
    scene = scene_of(world, config)
    table = score_states(scene, states, config, before=states)
    assert table.ec is not None
    np.testing.assert_array_equal(table.ec, 1.0)
    assert score_states(scene, states, config).ec is None


def test_history_without_turning_is_a_quirk() -> None:
    """A history with a yaw rate of 2 rad/s: 1.461 m ahead of the axle that is 5.8 m/s^2, too much where it is read."""
    states, history = np.zeros((1, 41, 11)), np.zeros((15, 11))
    history[:, 9] = 2.0
    assert comfort(states, 1.461, CONFIGS[1], history)[0] == 1.0
    assert comfort(states, 1.461, replace(CONFIGS[1], parity="corrected"), history)[0] == 0.0
    assert comfort(states, 1.461, CONFIGS[1], np.zeros((15, 11)))[0] == 1.0
