"""Sparse windows: which tokens attend to each other, worked out once a scale and shift (spec 1.5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from drive.voxels.grid import GridSpec

# Cells a window edge at every scale (spec 1.5, paper).
WINDOW = 10


@dataclass(frozen=True)
class WindowPartition:
    """Tokens of one scale grouped by window.

    order: int64 [V] rows in window order (window by window, row-major inside a window).
    inverse: int64 [V] place of each row in that order.
    offsets: int64 [W + 1] where each non-empty window starts in ``order``.
    position: int64 [V] in-window cell y * window + x of the tokens in window order.
    """

    order: Tensor
    inverse: Tensor
    offsets: Tensor
    position: Tensor
    window: int


def partition_windows(coords: Tensor, grid: GridSpec, window: int = WINDOW, *, shift: int = 0) -> WindowPartition:
    """Group coords [V, 4] by floor((x + shift) / window), the same in y, frame by frame.

    Nothing wraps round the border: border windows are smaller. Levels of z share a window.
    """
    nz, ny, nx = grid.shape
    wide, high = (nx + shift) // window + 1, (ny + shift) // window + 1
    batch, z, y, x = coords.unbind(1)
    y, x = y + shift, x + shift
    window_y, window_x = y // window, x // window
    cell = (y - window_y * window) * window + (x - window_x * window)
    area = window * window
    key = (((batch * high + window_y) * wide + window_x) * area + cell) * nz + z
    sorted_key, order = torch.sort(key)
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    _, counts = torch.unique_consecutive(sorted_key // (area * nz), return_counts=True)
    offsets = torch.zeros(len(counts) + 1, dtype=torch.int64, device=coords.device)
    torch.cumsum(counts, 0, out=offsets[1:])
    return WindowPartition(order, inverse, offsets, sorted_key // nz % area, window)
