"""GridSpec: the only source of grid shapes, strides and cell positions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# SWFormer's five scales: note the jump from 4 to 16 (spec 1.4, paper).
STRIDES = (1, 2, 4, 16, 32)


@dataclass(frozen=True)
class GridSpec:
    """A regular grid over a box of space in the ego frame.

    range: x0 y0 z0 x1 y1 z1, metres; a point is inside where low <= p < high.
    voxel_size: dx dy dz, metres. A pillar grid has dz = z1 - z0.
    stride: cell edge in x and y in stride-1 cells; z is never strided.
    Raises ValueError where the range is not a whole number of voxels (shapes would then depend on rounding).
    """

    range: tuple[float, float, float, float, float, float]
    voxel_size: tuple[float, float, float]
    stride: int = 1

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise ValueError(f"grid stride is {self.stride}; it must be 1 or more")
        for axis, (low, high, size) in enumerate(zip(self.range[:3], self.range[3:], self.voxel_size, strict=True)):
            if not (size > 0 and high > low):
                raise ValueError(f"grid axis {'xyz'[axis]}: range {low} to {high} with voxel size {size} is empty")
            cells = (high - low) / size
            if abs(cells - round(cells)) > 1e-3:
                raise ValueError(
                    f"grid axis {'xyz'[axis]}: range {low} to {high} is {cells:.4f} voxels of {size} m, no whole number"
                )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(nz, ny, nx) cells at this stride; border cells of a strided grid may stick out of the range."""
        nx, ny, nz = (
            round((high - low) / size)
            for low, high, size in zip(self.range[:3], self.range[3:], self.voxel_size, strict=True)
        )
        return nz, math.ceil(ny / self.stride), math.ceil(nx / self.stride)

    @property
    def cell_size(self) -> tuple[float, float]:
        """(x, y) edge of a cell in metres at this stride."""
        return self.voxel_size[0] * self.stride, self.voxel_size[1] * self.stride

    @property
    def num_cells(self) -> int:
        """Cells of one frame at this stride."""
        nz, ny, nx = self.shape
        return nz * ny * nx

    def at_stride(self, stride: int) -> GridSpec:
        """The grid over the same range whose cells are ``stride`` stride-1 cells wide in x and y."""
        return GridSpec(self.range, self.voxel_size, stride)

    def key(self, coords: Tensor) -> Tensor:
        """Linear key [V] of coords [V, 4] (batch, z, y, x); sorting by it is sorting the rows."""
        nz, ny, nx = self.shape
        batch, z, y, x = coords.unbind(1)
        return ((batch * nz + z) * ny + y) * nx + x

    def coords(self, key: Tensor) -> Tensor:
        """Inverse of ``key``: [V] -> [V, 4]."""
        nz, ny, nx = self.shape
        x, rest = key % nx, key // nx
        y, rest = rest % ny, rest // ny
        return torch.stack((rest // nz, rest % nz, y, x), dim=1)

    def centres(self, coords: Tensor) -> Tensor:
        """Cell centres [V, 3] float32 x y z in metres of coords [V, 4]."""
        size = torch.tensor((*self.cell_size, self.voxel_size[2]), dtype=torch.float32, device=coords.device)
        low = torch.tensor(self.range[:3], dtype=torch.float32, device=coords.device)
        return (coords[:, 1:].flip(1).to(torch.float32) + 0.5) * size + low
