"""Nearest-to-centre downscaling and its way back in plain torch: the specification."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def cell_rank(ratio: int) -> Tensor:
    """int64 [ratio * ratio]: how near each fine cell (y, x) is to its coarse cell's centre, 0 the nearest.

    Doubled offsets keep the distances whole numbers, so ties are exact; they go to the lowest y, then x.
    """
    offset2 = (2 * torch.arange(ratio) - (ratio - 1)) ** 2
    distance2 = (offset2[:, None] + offset2[None, :]).flatten()
    rank = torch.empty_like(distance2)
    rank[torch.argsort(distance2, stable=True)] = torch.arange(ratio * ratio)
    return rank


def downscale(coords: Tensor, ratio: int, shape: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """(coarse coords [U, 4], chosen [U], parent [V]); shape = (nz, ny, nx) of the fine grid."""
    nz, ny, nx = shape[0], -(-shape[1] // ratio), -(-shape[2] // ratio)
    up = coords.clone()
    up[:, 2:] = coords[:, 2:] // ratio
    inside = coords[:, 2:] - up[:, 2:] * ratio
    rank = cell_rank(ratio).to(coords.device)[inside[:, 0] * ratio + inside[:, 1]]
    key = ((up[:, 0] * nz + up[:, 1]) * ny + up[:, 2]) * nx + up[:, 3]
    sorted_key, order = torch.sort(key * (ratio * ratio) + rank, stable=True)
    cell, group = torch.unique_consecutive(sorted_key // (ratio * ratio), return_inverse=True)
    first = torch.ones_like(group, dtype=torch.bool)
    first[1:] = group[1:] != group[:-1]
    parent = torch.empty_like(group)
    parent[order] = group
    coarse = torch.stack((cell // (nx * ny * nz), cell // (nx * ny) % nz, cell // nx % ny, cell % nx), 1)
    return coarse, order[first], parent


def upsample_backward(grad: Tensor, parent: Tensor, rows: int) -> Tensor:
    """Sum of each parent's children, in the order of the children."""
    C = grad.shape[1]
    wide = grad.float() if grad.dtype in (torch.bfloat16, torch.float16) else grad
    place = parent[:, None] * C + torch.arange(C, device=grad.device)
    out = wide.new_zeros(rows * C).index_put_((place.flatten(),), wide.flatten(), accumulate=True)
    return out.view(rows, C).to(grad.dtype)
