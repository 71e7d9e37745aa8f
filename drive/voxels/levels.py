"""The sparse pyramid: coarser scales pick one occupied voxel a cell, nothing is pooled (spec 1.4, SWFormer)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from drive.voxels.grid import STRIDES, GridSpec
from drive.voxels.neighbours import neighbour_rules
from drive.voxels.windows import WINDOW, WindowPartition, partition_windows
from ops.sparse_conv import Rulebook


@dataclass(frozen=True)
class Level:
    """One scale of a batch: V voxels in linear-key order.

    coords: int64 [V, 4] (batch, z, y, x) at this level's stride.
    chosen: int64 [V] row of the finer level whose feature this voxel takes; the identity at the finest level.
    parent: int64 [V] row of the next coarser level that holds this voxel; empty at the coarsest level.
    windows, shifted: the two window partitions of this scale.
    """

    grid: GridSpec
    coords: Tensor
    chosen: Tensor
    parent: Tensor
    windows: WindowPartition
    shifted: WindowPartition

    @cached_property
    def neighbours(self) -> Rulebook:
        """Rules of the 3 x 3 neighbours of each voxel, found where they are first asked for."""
        return neighbour_rules(self.coords, self.grid)


def choose_nearest(coords: Tensor, ratio: int, grid: GridSpec, coarse: GridSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Cut the grid into ratio x ratio cells and choose in each the voxel nearest the cell's centre.

    coords: int64 [V, 4] at ``grid``. Ties go to the lowest linear key (y first, then x).
    Returns coarse coords [U, 4] in key order, chosen [U] rows of ``coords``, parent [V] rows of the result.
    """
    device = coords.device
    local = torch.arange(ratio, device=device)
    # Doubled offsets keep the distances whole numbers: ties are exact.
    offset2 = (2 * local - (ratio - 1)) ** 2
    distance2 = (offset2[:, None] + offset2[None, :]).flatten()
    rank = torch.empty_like(distance2)
    rank[torch.argsort(distance2, stable=True)] = torch.arange(ratio * ratio, device=device)

    up = coords.clone()
    up[:, 2:] = coords[:, 2:] // ratio
    inside = coords[:, 2:] - up[:, 2:] * ratio
    cell_rank = rank[inside[:, 0] * ratio + inside[:, 1]]
    key = coarse.key(up)
    sorted_key, order = torch.sort(key * (ratio * ratio) + cell_rank)
    cell, group = torch.unique_consecutive(sorted_key // (ratio * ratio), return_inverse=True)
    first = torch.ones_like(group, dtype=torch.bool)
    first[1:] = group[1:] != group[:-1]
    parent = torch.empty_like(group)
    parent[order] = group
    return coarse.coords(cell), order[first], parent


def build_levels(
    coords: Tensor, grid: GridSpec, strides: Sequence[int] = STRIDES, window: int = WINDOW
) -> tuple[Level, ...]:
    """All scales of a batch, finest first, each partitioned once into plain and shifted windows.

    coords: int64 [V, 4] at ``grid`` (stride 1), sorted by linear key; V may be 0.
    """
    pyramid = [(grid.at_stride(strides[0]), coords, torch.arange(len(coords), device=coords.device))]
    parents: list[Tensor] = []
    for fine_stride, stride in itertools.pairwise(strides):
        if stride % fine_stride:
            raise ValueError(f"stride {stride} is not a multiple of the finer stride {fine_stride}")
        fine, fine_coords, _ = pyramid[-1]
        coarse = grid.at_stride(stride)
        up, chosen, parent = choose_nearest(fine_coords, stride // fine_stride, fine, coarse)
        parents.append(parent)
        pyramid.append((coarse, up, chosen))
    parents.append(torch.zeros(0, dtype=torch.int64, device=coords.device))
    return tuple(
        Level(
            spec,
            level_coords,
            chosen,
            parent,
            partition_windows(level_coords, spec, window, shift=0),
            partition_windows(level_coords, spec, window, shift=window // 2),
        )
        for (spec, level_coords, chosen), parent in zip(pyramid, parents, strict=True)
    )
