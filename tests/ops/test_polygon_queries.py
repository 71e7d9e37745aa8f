"""Points in polygons and nearest points on lines, against shapely and by hand."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import shapely
import torch

from ops import polygon_queries
from ops.polygon_queries import boxes_inside, corners_inside, nearest_on_lines, reference
from ops.polygon_queries.bench import example

SQUARES = torch.tensor(
    [[0, 0], [10, 0], [10, 10], [0, 10], [4, 4], [4, 6], [6, 6], [6, 4], [8, 0], [20, 0], [20, 10], [8, 10]]
).double()
RINGS, POLYGONS = torch.tensor([0, 4, 8, 12]), torch.tensor([0, 2, 3])  # a square with a hole, and one beside it


def test_numbers_by_hand(pure) -> None:
    points = torch.tensor([[[1, 1], [5, 5], [9, 5]], [[9, 1], [12, 2], [19, 9]], [[30, 1], [5, 5], [math.nan, 1]]])
    found = pure(corners_inside, points.double(), SQUARES, RINGS, POLYGONS)
    assert found.inside.tolist() == [[True, False, True], [True, True, True], [False, False, False]]
    assert found.holds_all.tolist() == [-1, 1, -1]
    assert found.touched.tolist() == [2, 2, 0]
    boxes = torch.tensor([[12.0, 5.0, 4.0, 2.0, 0.3], [7.0, 2.0, 4.0, 2.0, 0.0], [5.0, 3.0, 4.0, 1.0, math.pi / 2]])
    held = boxes_inside(boxes.double(), SQUARES, RINGS, POLYGONS)
    assert held.inside.all(1).tolist() == [True, True, False]
    assert held.inside.sum(1).tolist() == [4, 4, 2]
    assert held.holds_all.tolist() == [1, 0, -1]
    lines = torch.tensor([[0, 0], [10, 0], [10, 10], [0, 3], [0, 9]]).double()
    at = torch.tensor([[4, 1], [4, -1], [12, -1], [9, 5], [-2, 8], [math.inf, 0]]).double()
    near = pure(nearest_on_lines, at, lines, torch.tensor([0, 3, 5]))
    assert near.line.tolist() == [0, 0, 0, 0, 1, -1]
    assert near.vertex.tolist() == [0, 0, 0, 1, 3, -1]
    assert near.arc_length.tolist() == [4, 4, 10, 15, 5, 0]
    assert near.offset.tolist() == pytest.approx([1, -1, -math.sqrt(5), 1, 2, 0])
    assert near.heading.tolist() == pytest.approx([0, 0, 0, math.pi / 2, math.pi / 2, 0])


@pytest.mark.parametrize("shapes", [1, 7, 150])
def test_points_in_polygons_equal_shapely_and_the_reference(shapes: int, pure) -> None:
    points, vertices, rings, polygons, _ = example(shapes, 1200)
    groups = points.reshape(-1, 4, 2)
    found = pure(polygon_queries._corners_inside, groups, vertices, rings, polygons)
    for ours, exact in zip(found, reference.corners_inside(groups, vertices, rings, polygons), strict=True):
        assert torch.equal(ours, exact)
    rows = [vertices[a:b].numpy() for a, b in pairwise(rings.tolist())]
    solid = [shapely.Polygon(rows[a], rows[a + 1 : b]) for a, b in pairwise(polygons.tolist())]
    held = np.stack([shapely.contains_xy(p, groups[..., 0].numpy(), groups[..., 1].numpy()) for p in solid], 2)
    named = corners_inside(groups, vertices, rings, polygons)
    assert (named.inside.numpy() == held.any(2)).all()
    assert (named.touched.numpy() == held.any(1).sum(1)).all()
    assert (named.holds_all.numpy() == np.where(held.all(1).any(1), held.all(1).argmax(1), -1)).all()


@pytest.mark.parametrize("shapes", [1, 7, 150])
def test_nearest_on_lines_equals_shapely_and_the_reference(shapes: int, pure) -> None:
    points, vertices, _, _, lines = example(shapes, 1000)
    at = points[:, 0].contiguous()
    at[::50] *= 1e4  # far outside the map
    segment, share = pure(polygon_queries._nearest, at, vertices, lines)
    exact = reference.nearest(at, vertices, lines)
    found = nearest_on_lines(at, vertices, lines)
    strings = [shapely.LineString(vertices[a:b].numpy()) for a, b in pairwise(lines.tolist())]
    spots = shapely.points(at.numpy())
    distance = np.stack([shapely.distance(s, spots) for s in strings])
    relative = 1e-12 * (1 + at.abs().amax(1).numpy())
    assert (np.abs(found.offset.abs().numpy() - distance.min(0)) <= relative).all()
    assert float((segment != exact[0]).double().mean()) < 0.01  # equal distance at a shared vertex, rounded
    mine = np.array([shapely.line_locate_point(strings[n], p) for n, p in zip(found.line, spots, strict=True)])
    assert np.abs(found.arc_length.numpy() - mine).max() < 1e-6
    assert bool(((share >= 0) & (share <= 1)).all())


def test_sharp_corner_takes_the_sign_of_both_segments() -> None:
    hairpin = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 1.0]]).double()  # turns left: right is outside
    found = nearest_on_lines(torch.tensor([[11.0, -0.5], [11.0, 1.0]]).double(), hairpin, torch.tensor([0, 3]))
    assert bool((found.offset < 0).all())


def test_empty_threads_and_operator_rules(opcheck) -> None:
    points, vertices, rings, polygons, lines = example(20, 5000)
    none = torch.zeros(1, dtype=torch.int64)
    empty = vertices[:0]
    assert not corners_inside(points, empty, none, none).inside.any()
    assert nearest_on_lines(points[:, 0], empty, none).line.unique().tolist() == [-1]
    assert nearest_on_lines(points[:, 0], vertices[:1], torch.tensor([0, 1])).line.unique().tolist() == [-1]
    assert corners_inside(points[:0], vertices, rings, polygons).touched.shape == (0,)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            inside = corners_inside(points, vertices, rings, polygons)
            results.append((*inside, *nearest_on_lines(points[:, 0], vertices, lines)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))
    opcheck(polygon_queries._corners_inside, points[:5], vertices, rings, polygons)
    opcheck(polygon_queries._nearest, points[:5, 0].contiguous(), vertices, lines)


def test_wrong_arguments() -> None:
    points, vertices, rings, polygons, lines = example(3, 10)
    for call in (
        lambda: corners_inside(points.float(), vertices, rings, polygons),
        lambda: corners_inside(points[:, 0], vertices, rings, polygons),
        lambda: corners_inside(points.expand(10, 33, 2), vertices, rings, polygons),
        lambda: corners_inside(points, vertices, rings[:-1], polygons),
        lambda: corners_inside(points, vertices, rings, polygons + 1),
        lambda: corners_inside(points, vertices * math.nan, rings, polygons),
        lambda: boxes_inside(points[:, 0], vertices, rings, polygons),
        lambda: nearest_on_lines(points[:, 0], vertices, lines.int()),
        lambda: nearest_on_lines(points[:, 0], vertices * math.inf, lines),
    ):
        with pytest.raises(ValueError, match="polygon_queries"):
            call()
