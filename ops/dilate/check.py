"""The kernels of this operator against its reference (`python -m ops check`)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ops.compare import Comparison, both, gaps
from ops.dilate import dilate, gather_max, reference
from ops.examples import RANGE, VOXEL, make
from ops.voxelize import grid_shape, voxelize


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error) on "cpu" or "cuda"."""
    e = make(12_000, 3, 200, 2_000, 4, device)
    coords = voxelize(e.points, e.point_batch, RANGE, VOXEL, e.frames).coords
    g = torch.Generator().manual_seed(1)
    keep = torch.rand(len(coords), generator=g).to(device) < 0.2
    _, ny, nx = grid_shape(RANGE, VOXEL)
    grown = dilate(coords, keep, 5, (ny, nx), e.frames)
    yield "cells and neighbours", gaps(grown, reference.dilate(coords.cpu(), keep.cpu(), 5, ny, nx, e.frames)), 0.0
    features = torch.randn(len(coords), 32, generator=g).to(device)
    yield from both("gather max", gather_max, (features,), (grown.neighbours, grown.offsets), 2e-5)
