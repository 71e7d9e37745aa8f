"""This operator beside its peers (`python -m ops bench`): dense max pooling of the map, and our reference."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ops.dilate import Dilation, dilate, gather_max, reference
from ops.pair import Pair, with_gradient
from ops.scans import WAYMO_PILLARS, scan
from ops.voxelize import grid_shape, voxelize


def example(seed: int = 0) -> tuple[Tensor, Tensor, int, tuple[int, int], int]:
    """Small arguments of `dilate`: two frames, a third of the cells chosen."""
    g = torch.Generator().manual_seed(seed)
    coords = torch.nonzero(torch.rand(2, 1, 23, 31, generator=g) < 0.2)
    return coords, torch.rand(len(coords), generator=g) < 0.3, 5, (23, 31), 2


def dense_dilate(coords: Tensor, keep: Tensor, kernel: int, grid: tuple[int, int], frames: int) -> Tensor:
    """The usual way: the chosen cells on a dense map, pooled by maximum; coords [D, 4] of what is reached."""
    chosen = torch.zeros(frames, 1, *grid)
    chosen[coords[keep][:, 0], 0, coords[keep][:, 2], coords[keep][:, 3]] = 1
    return F.max_pool2d(chosen, kernel, 1, kernel // 2).nonzero()


def dense_pool(values: Tensor, coords: Tensor, keep: Tensor, kernel: int, grown: Dilation, shape: list[int]) -> Tensor:
    """Features on a dense map, pooled by maximum and read where a chosen cell is in reach: [D, C]."""
    frames, ny, nx = shape
    kept, dense = coords[keep], values.new_full((frames, ny, nx, values.shape[1]), -torch.inf)
    dense = dense.index_put((kept[:, 0], kept[:, 2], kept[:, 3]), values[keep]).permute(0, 3, 1, 2)
    pooled = F.max_pool2d(dense, kernel, 1, kernel // 2)
    return pooled[grown.coords[:, 0], :, grown.coords[:, 2], grown.coords[:, 3]]


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed."""
    points = scan(64, 2770)
    coords = voxelize(points, torch.zeros(len(points), dtype=torch.int64), *WAYMO_PILLARS, 1).coords
    _, ny, nx = grid_shape(*WAYMO_PILLARS)
    g = torch.Generator().manual_seed(0)
    keep = torch.rand(len(coords), generator=g) < 0.15
    name = f"dilate 5 x 5, {int(keep.sum())} of {len(coords)} voxels"
    yield Pair(
        name,
        "torch max_pool2d of a dense map",
        lambda: [dilate(coords, keep, 5, (ny, nx), 1).coords],
        lambda: [dense_dilate(coords, keep, 5, (ny, nx), 1)],
    )
    yield Pair(
        name,
        "our torch reference",
        lambda: list(dilate(coords, keep, 5, (ny, nx), 1)),
        lambda: list(reference.dilate(coords, keep, 5, ny, nx, 1)),
    )
    grown = dilate(coords, keep, 5, (ny, nx), 1)
    values = torch.randn(len(coords), 32, generator=g)
    yield Pair(
        f"maximum over {len(grown.neighbours) // 1000}k neighbours, 32 channels, and gradient",
        "torch max_pool2d of a dense map",
        with_gradient(lambda v: gather_max(v, grown.neighbours, grown.offsets), values),
        with_gradient(lambda v: dense_pool(v, coords, keep, 5, grown, [1, ny, nx]), values),
        1e-4,
    )
