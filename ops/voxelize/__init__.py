"""Group points by the voxel that they fall into: no dropped point and the same answer every time.

The kernels rank voxels by a bitmap: no sort, no hash (lidar_detection.md 8.2).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ops import checks, kernels
from ops.arrays import arrays, tensors
from ops.operator import operator
from ops.voxelize import cpu, cuda, reference
from ops.voxelize.reference import grid_shape

# Cells of all frames together: their bitmap then takes 8 GiB. Numbers of cells are int64 throughout.
MOST_CELLS = 2**36

__all__ = ["VoxelGroups", "grid_shape", "voxelize"]


class VoxelGroups(NamedTuple):
    """V occupied voxels and the points in each."""

    coords: Tensor
    """int64 [V, 4] (batch, z, y, x), sorted in that order."""
    order: Tensor
    """int64 [points in range]: indices into points, voxel after voxel, in input order inside a voxel."""
    offsets: Tensor
    """int64 [V + 1]: voxel v holds order[offsets[v]:offsets[v + 1]]."""


def voxelize(
    points: Tensor, point_batch: Tensor, point_range: Sequence[float], voxel_size: Sequence[float], batch_size: int
) -> VoxelGroups:
    """Group `points` f32 [P, >=3] (x y z first, metres) of frames `point_batch` int64 [P] into voxels.

    `point_range` = (x0, y0, z0, x1, y1, z1), `voxel_size` = (dx, dy, dz). A point is in range where x0 <= x < x1 on
    every axis; others, NaN included, belong to no voxel. ValueError: dtype, a range that is no whole number of
    voxels, a point_batch outside 0..batch_size-1 (of any point), more than 2**36 cells (a bitmap of 8 GiB).
    """
    checks.check_float("voxelize", "points", points, 2, full_only=True)
    checks.check_index("voxelize", "point_batch", point_batch)
    checks.check_same_device("voxelize", points, point_batch)
    checks.check_rows("voxelize", "point_batch", point_batch, points.shape[0])
    if points.shape[1] < 3 or len(point_range) != 6 or len(voxel_size) != 3:
        raise ValueError(
            f"voxelize: needs points [P, >=3], 6 range values and 3 sizes, got {tuple(points.shape)}, "
            f"{len(point_range)} and {len(voxel_size)}"
        )
    for axis in range(3):
        cells = (point_range[3 + axis] - point_range[axis]) / voxel_size[axis] if voxel_size[axis] > 0 else 0.0
        if cells < 0.5 or abs(cells - round(cells)) > 1e-3:
            raise ValueError(f"voxelize: the range holds {cells} voxels along axis {'xyz'[axis]}, not a whole number")
    nz, ny, nx = grid_shape(point_range, voxel_size)
    if batch_size < 0 or batch_size * nz * ny * nx > MOST_CELLS:
        raise ValueError(
            f"voxelize: {batch_size} frames of {nz} x {ny} x {nx} cells; at least 0 frames and at most {MOST_CELLS:,} "
            "cells in all (one bit each)"
        )
    return VoxelGroups(*_voxelize(points.detach(), point_batch, list(point_range), list(voxel_size), batch_size))


def _check_batch(point_batch: Tensor, batch_size: int) -> None:
    if point_batch.numel() and (int(point_batch.min()) < 0 or int(point_batch.max()) >= batch_size):
        raise ValueError(f"voxelize: point_batch must lie in 0..{batch_size - 1}")


@operator("drive_ops::voxelize")
def _voxelize(
    points: Tensor, point_batch: Tensor, point_range: Sequence[float], voxel_size: Sequence[float], batch_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    _check_batch(point_batch, batch_size)
    return reference.voxelize(points, point_batch, point_range, voxel_size, batch_size)


@_voxelize.register_kernel("cpu")
def _(
    points: Tensor, point_batch: Tensor, point_range: Sequence[float], voxel_size: Sequence[float], batch_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    shape = grid_shape(point_range, voxel_size)
    given = arrays(points, point_batch)
    return tensors(
        cpu.voxelize(
            *given,
            point_range=point_range,
            voxel_size=voxel_size,
            shape=shape,
            batch_size=batch_size,
            threads=torch.get_num_threads(),
        )
    )


@_voxelize.register_fake
def _(
    points: Tensor, point_batch: Tensor, point_range: Sequence[float], voxel_size: Sequence[float], batch_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    context = torch.library.get_ctx()
    voxels, inside = context.new_dynamic_size(), context.new_dynamic_size()
    return point_batch.new_empty(voxels, 4), point_batch.new_empty(inside), point_batch.new_empty(voxels + 1)


def _voxelize_cuda(
    points: Tensor, point_batch: Tensor, point_range: Sequence[float], voxel_size: Sequence[float], batch_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    _check_batch(point_batch, batch_size)
    given = points.contiguous(), point_batch.contiguous(), point_range, voxel_size
    return cuda.voxelize(*given, grid_shape(point_range, voxel_size), batch_size)


def _register_cuda() -> None:
    _voxelize.register_kernel("cuda")(_voxelize_cuda)


kernels.declare("voxelize", "cpu", "numba", "bitmap rank")
kernels.declare_unproven_cuda("voxelize", _register_cuda)
