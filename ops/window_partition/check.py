"""The kernels of this operator against its reference (`python -m ops check`)."""

from __future__ import annotations

from collections.abc import Iterator

from ops.compare import Comparison, gaps
from ops.examples import RANGE, VOXEL, make
from ops.voxelize import grid_shape, voxelize
from ops.window_partition import reference, window_partition


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error) on "cpu" or "cuda"."""
    e = make(12_000, 3, 200, 2_000, 4, device)
    for what, size in (("one layer", VOXEL), ("several layers", (0.64, 0.64, 2.0))):
        shape, coords = grid_shape(RANGE, size), voxelize(e.points, e.point_batch, RANGE, size, e.frames).coords
        found = [t for w in window_partition([coords], [shape], 10, (0, 5))[0] for t in w]
        yield what, gaps(found, reference.window_partition([coords.cpu()], shape, 10, (0, 5))), 0.0
