"""Between sparse rows and dense bird's-eye maps."""

from __future__ import annotations

from torch import Tensor

from drive.voxels.grid import GridSpec


def scatter_bev(values: Tensor, coords: Tensor, grid: GridSpec, batch_size: int, fill: float = 0.0) -> Tensor:
    """Dense map [B, C, ny, nx] of rows [V, C] at coords [V, 4]; empty cells hold ``fill``.

    For pillar grids (one layer in z): raises ValueError otherwise. The map is channels-last in memory, so
    that the scatter writes whole rows and the convolutions that follow need no copy.
    """
    nz, ny, nx = grid.shape
    if nz != 1:
        raise ValueError(f"a bird's-eye map needs one layer in z; this grid has {nz}")
    flat = values.new_full((batch_size * ny * nx, values.shape[1]), fill)
    return flat.index_copy(0, grid.key(coords), values).view(batch_size, ny, nx, -1).permute(0, 3, 1, 2)


def gather_bev(dense: Tensor, coords: Tensor) -> Tensor:
    """Rows [V, C] of a dense map [B, C, ny, nx] at coords [V, 4]."""
    return dense.permute(0, 2, 3, 1)[coords[:, 0], coords[:, 2], coords[:, 3]]
