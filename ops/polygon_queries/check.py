"""The kernels of this operator against its reference (`python -m ops check`)."""

from __future__ import annotations

from collections.abc import Iterator

from ops.compare import Comparison, gap
from ops.polygon_queries import _corners_inside, _nearest, reference
from ops.polygon_queries.bench import example


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error) on "cpu" or "cuda"."""
    points, vertices, rings, polygons, lines = example(40, 600)
    groups = points.reshape(-1, 3, 2)
    given = groups, vertices, rings, polygons
    found = _corners_inside(*(t.to(device) for t in given))
    wanted = reference.corners_inside(*given)
    yield "corners inside", max(gap(x, y) for x, y in zip(found, wanted, strict=True)), 0.0
    at = points[:, 0].contiguous(), vertices, lines
    near = _nearest(*(t.to(device) for t in at))
    yield "nearest on lines", max(gap(x, y) for x, y in zip(near, reference.nearest(*at), strict=True)), 1e-9
