"""Windows of sparse cells in plain torch (a sort of keys): the specification."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def partition(coords: Tensor, shape: Sequence[int], window: int, shift: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(order [V], inverse [V], offsets [W + 1], position [V]) of one scale and shift; shape = (nz, ny, nx)."""
    nz, ny, nx = shape
    wide, high = (nx - 1 + shift) // window + 1, (ny - 1 + shift) // window + 1
    batch, z, y, x = coords.unbind(1)
    y, x = y + shift, x + shift
    window_y, window_x = y // window, x // window
    cell = (y - window_y * window) * window + (x - window_x * window)
    area = window * window
    key = (((batch * high + window_y) * wide + window_x) * area + cell) * nz + z
    sorted_key, order = torch.sort(key, stable=True)
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    _, counts = torch.unique_consecutive(sorted_key // (area * nz), return_counts=True)
    offsets = torch.zeros(len(counts) + 1, dtype=torch.int64, device=coords.device)
    torch.cumsum(counts, 0, out=offsets[1:])
    return order, inverse, offsets, sorted_key // nz % area


def window_partition(
    coords: Sequence[Tensor], shapes: Sequence[int], window: int, shifts: Sequence[int]
) -> list[Tensor]:
    """See ops.window_partition._window_partition: four tensors a scale and shift."""
    found: list[Tensor] = []
    for level, cells in enumerate(coords):
        for shift in shifts:
            found += partition(cells, shapes[3 * level : 3 * level + 3], window, shift)
    return found
