"""Host side of kernel.cu. The gradient of gather_max stays with the reference: its index_put adds in a fixed order."""

from pathlib import Path

import torch
from torch import Tensor

from ops import nvrtc

SOURCE = Path(__file__).with_name("kernel.cu")


def dilate(
    coords: Tensor, keep: Tensor, kernel: int, ny: int, nx: int, batch_size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(coords [D, 4], source [D], neighbours [E], offsets [D + 1])."""
    V, reach = coords.shape[0], kernel // 2
    row_at = torch.full((batch_size * ny * nx,), -1, dtype=torch.int32, device=coords.device)
    found = torch.zeros_like(row_at)
    chosen = keep.to(torch.uint8)
    nvrtc.launch(SOURCE, "dilate_mark", V, coords, chosen, V, reach, ny, nx, row_at, found)
    key = found.nonzero()[:, 0]
    offsets = torch.cat([key.new_zeros(1), found[key].cumsum(0)])
    cells = torch.stack([key // (ny * nx), torch.zeros_like(key), key // nx % ny, key % nx], 1)
    neighbours = key.new_empty(int(offsets[-1]))
    given = cells, chosen, key.shape[0], reach, ny, nx, row_at, offsets
    nvrtc.launch(SOURCE, "dilate_neighbours", key.shape[0], *given, neighbours)
    return cells, row_at[key].long(), neighbours, offsets


def gather_max(values: Tensor, index: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """(maximum [D, C], its row int64 [D, C], -1 where empty) of float32 values."""
    D, C = offsets.shape[0] - 1, values.shape[1]
    out, rows = values.new_empty(D, C), index.new_empty(D, C)
    nvrtc.launch(SOURCE, "gather_max", D * C, values, index, offsets, D, C, out, rows)
    return out, rows
