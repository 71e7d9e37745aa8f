"""Grouping points by voxel in plain torch (unique of keys): the specification."""

from collections.abc import Sequence

import torch
from torch import Tensor


def grid_shape(point_range: Sequence[float], voxel_size: Sequence[float]) -> tuple[int, int, int]:
    """(nz, ny, nx) of the grid that covers point_range (x0 y0 z0 x1 y1 z1)."""
    nx, ny, nz = (round((point_range[3 + i] - point_range[i]) / voxel_size[i]) for i in range(3))
    return nz, ny, nx


def voxelize(
    points: Tensor, point_batch: Tensor, point_range: Sequence[float], voxel_size: Sequence[float], batch_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See ops.voxelize.voxelize."""
    nz, ny, nx = grid_shape(point_range, voxel_size)
    xyz = points[:, :3]
    low, high = xyz.new_tensor(point_range[:3]), xyz.new_tensor(point_range[3:])
    inside = ((xyz >= low) & (xyz < high)).all(1)
    order = inside.nonzero()[:, 0]
    last = torch.tensor([nx - 1, ny - 1, nz - 1], device=points.device)
    # A point just below the upper bound may round up to the cell beyond: it belongs to the last cell.
    cell = torch.minimum(((xyz[order] - low) / xyz.new_tensor(voxel_size)).long(), last)
    key = ((point_batch[order] * nz + cell[:, 2]) * ny + cell[:, 1]) * nx + cell[:, 0]
    key, by_key = torch.sort(key, stable=True)
    key, counts = torch.unique_consecutive(key, return_counts=True)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    coords = torch.stack([key // (nx * ny * nz), key // (nx * ny) % nz, key // nx % ny, key % nx], 1)
    return coords, order[by_key], offsets
