"""Which occupied voxels lie next to each other: the table that sparse convolution gathers by."""

from __future__ import annotations

import torch
from torch import Tensor

from drive.voxels.grid import GridSpec


@torch.no_grad()
def neighbour_table(coords: Tensor, grid: GridSpec, kernel: int = 3) -> Tensor:
    """int64 [V, kernel * kernel]: row of the voxel at each offset in y and x (row by row), V where the cell is empty.

    coords: int64 [V, 4] sorted by linear key (as every level is). Found by binary search: no table over the grid, no
    transfer to the host. Frames, layers and the grid's border are not crossed.
    """
    step = torch.arange(kernel, device=coords.device) - kernel // 2
    dy, dx = step.repeat_interleave(kernel), step.repeat(kernel)
    _, ny, nx = grid.shape
    y, x = coords[:, 2:3] + dy, coords[:, 3:4] + dx
    key = grid.key(coords)
    wanted = key[:, None] + dy * nx + dx
    row = torch.searchsorted(key, wanted)
    none = len(coords)
    found = key[row.clamp(max=max(none - 1, 0))] if none else row
    inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    return torch.where(inside & (row < none) & (found == wanted), row, none)
