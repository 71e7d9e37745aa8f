"""Which occupied voxels lie next to each other: the rules that sparse convolutions share."""

from __future__ import annotations

import torch
from torch import Tensor

from drive.voxels.grid import GridSpec
from ops.sparse_conv import Rulebook, submanifold_rules


@torch.no_grad()
def neighbour_rules(coords: Tensor, grid: GridSpec) -> Rulebook:
    """Rules of the 3 x 3 neighbours in y and x of coords int64 [V, 4], sorted by linear key (as every level is).

    Frames, layers and the grid's border are not crossed.
    """
    frames = int(coords[-1, 0]) + 1 if len(coords) else 0
    return submanifold_rules(coords, grid.shape, frames, (1, 3, 3))
