"""This operator beside its peers (`python -m ops bench`): torch's sort of keys, torch's gather and its gradient."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ops.downscale import downscale, reference, upsample
from ops.pair import Pair, with_gradient
from ops.scans import WAYMO_PILLARS, scan
from ops.voxelize import grid_shape, voxelize


def example(seed: int = 0) -> tuple[Tensor, int, tuple[int, int, int]]:
    """Small arguments of `downscale`."""
    g = torch.Generator().manual_seed(seed)
    return torch.nonzero(torch.rand(2, 1, 37, 45, generator=g) < 0.3), 4, (1, 37, 45)


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed."""
    points = scan(64, 2770)
    coords = voxelize(points, torch.zeros(len(points), dtype=torch.int64), *WAYMO_PILLARS, 1).coords
    shape = grid_shape(*WAYMO_PILLARS)
    yield Pair(
        f"downscale {len(coords) / 1000:.1f}k cells by 2",
        "torch sort + unique_consecutive",
        lambda: downscale(coords, 2, shape),
        lambda: reference.downscale(coords, 2, shape),
        goal=6.0,
    )
    coarse, _, parent = downscale(coords, 2, shape)
    values = torch.randn(len(coarse), 128, generator=torch.Generator().manual_seed(0))
    yield Pair(
        f"upsample {len(coarse) / 1000:.1f}k x 128 to {len(coords) / 1000:.1f}k rows, and gradient",
        "torch index_select",
        with_gradient(lambda v: upsample(v, parent), values),
        with_gradient(lambda v: v.index_select(0, parent), values),
        1e-5,
    )
