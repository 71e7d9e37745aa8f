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
from drive.voxels.windows import WINDOW, WindowPartition, partition_scales
from ops.downscale import downscale
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
        up, chosen, parent = downscale(fine_coords, stride // fine_stride, fine.shape)
        parents.append(parent)
        pyramid.append((grid.at_stride(stride), up, chosen))
    parents.append(torch.zeros(0, dtype=torch.int64, device=coords.device))
    windows = partition_scales(
        [cells for _, cells, _ in pyramid], [spec for spec, _, _ in pyramid], window, shifts=(0, window // 2)
    )
    return tuple(
        Level(spec, level_coords, chosen, parent, plain, shifted)
        for (spec, level_coords, chosen), parent, (plain, shifted) in zip(pyramid, parents, windows, strict=True)
    )
