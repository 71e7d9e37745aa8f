"""Host side of kernel.cu. The gradient of upsample stays with the reference: its index_put adds in a fixed order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ops import nvrtc

SOURCE = Path(__file__).with_name("kernel.cu")


def downscale(
    coords: Tensor, ratio: int, shape: Sequence[int], nearness: Tensor, frames: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(coarse coords, chosen, parent). Waits for the device once, to know the number of coarse cells."""
    nz, ny, nx = shape[0], -(-shape[1] // ratio), -(-shape[2] // ratio)
    V, device = coords.shape[0], coords.device
    bitmap = torch.zeros(frames * nz * ny * nx // 32 + 1, dtype=torch.int32, device=device)
    key, count, parent = coords.new_empty(V), torch.empty_like(bitmap), coords.new_empty(V)
    nvrtc.launch(SOURCE, "downscale_mark", V, coords, V, ratio, nz, ny, nx, key, bitmap)
    nvrtc.launch(SOURCE, "downscale_count", len(bitmap), bitmap, len(bitmap), count)
    before = torch.cat([coords.new_zeros(1), count.cumsum(0)])
    U = int(before[-1])
    best, cells = coords.new_full((U,), -1), coords.new_empty(U, 4)
    given = coords, key, V, ratio, bitmap, before, nearness
    nvrtc.launch(SOURCE, "downscale_choose", V, *given, best, cells, parent)
    return cells, best & 0xFFFFFFFF, parent
