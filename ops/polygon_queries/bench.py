"""This operator beside its peers (`python -m ops bench`): shapely's vectorised calls with an STRtree."""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ops.pair import Pair
from ops.polygon_queries import corners_inside, nearest_on_lines


def example(shapes: int, points: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A town of star-shaped polygons at constant density, every second with a hole: points [points, 1, 2], vertices,
    ring offsets, polygon offsets; and line offsets that take each ring as an open line."""
    g = torch.Generator().manual_seed(seed)
    side = 20.0 * math.sqrt(shapes)
    centre = torch.rand(shapes, 2, generator=g, dtype=torch.float64) * side
    rings, counts = [], []
    for n in range(shapes):
        for scale in (1.0, 0.3)[: 1 + n % 2]:
            angle = torch.arange(24, dtype=torch.float64) * (2 * math.pi / 24)
            radius = scale * (8 + 6 * torch.rand(24, 1, generator=g, dtype=torch.float64))
            rings.append(centre[n] + radius * torch.stack([angle.cos(), angle.sin()], 1))
        counts.append(1 + n % 2)
    bounds = torch.arange(len(rings) + 1) * 24
    queries = torch.rand(points, 1, 2, generator=g, dtype=torch.float64) * (side + 40) - 20
    return queries, torch.cat(rings), bounds, torch.tensor([0, *counts]).cumsum(0), bounds


def _with_tree(points: Tensor, vertices: Tensor, rings: Tensor, polygons: Tensor) -> list[Tensor]:
    import shapely

    rows = [vertices[a:b].numpy() for a, b in zip(rings[:-1].tolist(), rings[1:].tolist(), strict=True)]
    bounds = polygons.tolist()
    solid = [shapely.Polygon(rows[a], rows[a + 1 : b]) for a, b in itertools.pairwise(bounds)]
    tree = shapely.STRtree(solid)
    n, _ = tree.query(shapely.points(points[:, 0].numpy()), predicate="intersects")
    return [torch.bincount(torch.from_numpy(n), minlength=len(points))]


def _nearest_with_tree(points: Tensor, vertices: Tensor, lines: Tensor) -> list[Tensor]:
    import shapely

    rows = [vertices[a:b].numpy() for a, b in zip(lines[:-1].tolist(), lines[1:].tolist(), strict=True)]
    strings = shapely.linestrings([r[k : k + 2] for r in rows for k in range(len(r) - 1)])
    _, distance = shapely.STRtree(strings).query_nearest(
        shapely.points(points[:, 0].numpy()), return_distance=True, all_matches=False
    )
    return [torch.from_numpy(distance)]


def pairs() -> Iterator[Pair]:
    """Comparisons, outputs checked before either is timed; the peer's tree is built inside, as our grid is."""
    found = importlib.util.find_spec("shapely") is not None
    points, vertices, rings, polygons, lines = example(500, 50_000)
    yield Pair(
        "50,000 points in 500 polygons",
        "shapely STRtree",
        lambda: [corners_inside(points, vertices, rings, polygons).touched],
        (lambda: _with_tree(points, vertices, rings, polygons)) if found else None,
    )
    yield Pair(
        f"50,000 points to {len(vertices)} vertices of lines",
        "shapely STRtree, distance only",
        lambda: [nearest_on_lines(points[:, 0], vertices, lines).offset.abs()],
        (lambda: _nearest_with_tree(points, vertices, lines)) if found else None,
        1e-9,
    )
