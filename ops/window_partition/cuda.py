"""Host side of kernel.cu. A dense map of rows takes 4 bytes a cell of the grid and frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ops import nvrtc

SOURCE = Path(__file__).with_name("kernel.cu")


def partition(coords: Tensor, shape: Sequence[int], window: int, shift: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(order, inverse, offsets, position) of one scale and shift. Waits for the device to know the windows' number."""
    nz, ny, nx = shape
    V, device = coords.shape[0], coords.device
    frames = int(coords[:, 0].max()) + 1 if V else 0
    wide, high = (nx - 1 + shift) // window + 1, (ny - 1 + shift) // window + 1
    count = torch.zeros(frames * high * wide, dtype=torch.int32, device=device)
    row_at = torch.full((frames * ny * nx * nz,), -1, dtype=torch.int32, device=device)
    grid = nz, ny, nx, window, shift, high, wide
    nvrtc.launch(SOURCE, "window_count", V, coords, V, *grid, count, row_at)
    before = torch.cat([coords.new_zeros(1), count.cumsum(0)])
    order, inverse, position = (coords.new_empty(V) for _ in range(3))
    nvrtc.launch(SOURCE, "window_list", len(count), row_at, before, len(count), *grid, order, inverse, position)
    return order, inverse, torch.cat([before[:1], before[1:][count > 0]]), position
