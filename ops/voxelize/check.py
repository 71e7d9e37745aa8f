"""The kernels of this operator against its reference (`python -m ops check`)."""

from __future__ import annotations

from collections.abc import Iterator

from ops.compare import Comparison, gaps
from ops.examples import RANGE, VOXEL, make
from ops.voxelize import reference, voxelize


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error) on "cpu" or "cuda"."""
    e = make(12_000, 3, 200, 2_000, 4, device)
    groups = voxelize(e.points, e.point_batch, RANGE, VOXEL, e.frames)
    exact = reference.voxelize(e.points.cpu(), e.point_batch.cpu(), RANGE, VOXEL, e.frames)
    yield "voxels and order", gaps(groups, exact), 0.0
