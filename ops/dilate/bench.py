"""This operator beside its peers (`python -m ops bench`)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ops.dilate import dilate, reference
from ops.examples import RANGE, VOXEL, make
from ops.pair import Pair
from ops.voxelize import grid_shape, voxelize


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed."""
    e = make(120_000, 4, 1_000, 8_000, 4)
    coords = voxelize(e.points, e.point_batch, RANGE, VOXEL, e.frames).coords
    keep = torch.rand(len(coords)) < 0.15
    _, ny, nx = grid_shape(RANGE, VOXEL)
    yield Pair(
        f"dilate 5 x 5, {int(keep.sum())} of {len(coords)} voxels",
        "our torch reference",
        lambda: list(dilate(coords, keep, 5, (ny, nx), e.frames)),
        lambda: list(reference.dilate(coords, keep, 5, ny, nx, e.frames)),
    )
