"""Points to occupied voxels, with no cap on points or voxels (dynamic voxelization, spec 1.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from drive.voxels.grid import GridSpec
from ops.voxelize import voxelize


@dataclass(frozen=True)
class Voxels:
    """Occupied voxels of a batch, in linear-key order.

    coords: int64 [V, 4] (batch, z, y, x).
    points: float32 [P, C] the in-range points, voxel by voxel.
    order: int64 [P] their rows in the input.
    offsets: int64 [V + 1] where each voxel starts in ``points``.
    voxel_of_point: int64 [P].
    """

    grid: GridSpec
    batch_size: int
    coords: Tensor
    points: Tensor
    order: Tensor
    offsets: Tensor
    voxel_of_point: Tensor


def voxelize_points(points: Tensor, point_batch: Tensor, grid: GridSpec, batch_size: int) -> Voxels:
    """points float32 [P, C >= 3] in the ego frame, point_batch int64 [P] -> Voxels; points out of range are dropped."""
    coords, order, offsets = voxelize(points, point_batch, list(grid.range), list(grid.voxel_size), batch_size)
    counts = offsets[1:] - offsets[:-1]
    voxel_of_point = torch.repeat_interleave(
        torch.arange(len(coords), device=points.device), counts, output_size=len(order)
    )
    return Voxels(grid, batch_size, coords, points.index_select(0, order), order, offsets, voxel_of_point)
