"""The kernels of this operator against its reference (`python -m ops check`)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ops.compare import Comparison, both, gaps
from ops.downscale import downscale, reference, upsample
from ops.examples import RANGE, VOXEL, make
from ops.voxelize import grid_shape, voxelize


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error) on "cpu" or "cuda"."""
    e = make(12_000, 3, 200, 2_000, 4, device)
    coords, shape = voxelize(e.points, e.point_batch, RANGE, VOXEL, e.frames).coords, grid_shape(RANGE, VOXEL)
    for ratio in (2, 4):
        found = downscale(coords, ratio, shape)
        yield f"cells, ratio {ratio}", gaps(found, reference.downscale(coords.cpu(), ratio, shape)), 0.0
    values = torch.randn(len(found.coords), 32, generator=torch.Generator().manual_seed(1)).to(device)
    yield from both("upsample", upsample, (values,), (found.parent,), 2e-5)
