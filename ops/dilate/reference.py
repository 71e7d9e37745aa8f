"""Dilation of sparse cells in plain torch: the specification."""

import torch
from torch import Tensor

from ops.segment import reference as segment


def dilate(
    coords: Tensor, keep: Tensor, kernel: int, ny: int, nx: int, batch_size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(coords [D, 4], source [D], neighbours [E], offsets [D + 1]); see ops.dilate.dilate."""
    key = (coords[:, 0] * ny + coords[:, 2]) * nx + coords[:, 3]
    kept = keep.nonzero()[:, 0]
    kept = kept[torch.argsort(key[kept], stable=True)]
    reach = torch.arange(kernel, device=coords.device) - kernel // 2
    # Neighbours of one target then come in (y, x) order: the largest shift meets the lowest source.
    y = coords[kept, 2, None, None] - reach[:, None]
    x = coords[kept, 3, None, None] - reach[None, :]
    inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    target = (((coords[kept, 0, None, None] * ny + y) * nx) + x)[inside]
    source = kept[:, None, None].expand_as(inside)[inside]
    target, by_target = torch.sort(target, stable=True)
    target, counts = torch.unique_consecutive(target, return_counts=True)
    own = torch.full((target.numel(),), -1, device=coords.device)
    if target.numel() and key.numel():
        sorted_key, by_key = torch.sort(key, stable=True)
        place = torch.searchsorted(sorted_key, target).clamp(max=key.numel() - 1)
        own = torch.where(sorted_key[place] == target, by_key[place], -1)
    cell = torch.stack([target // (nx * ny), torch.zeros_like(target), target // nx % ny, target % nx], 1)
    return cell, own, source[by_target], torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def gather_max(values: Tensor, index: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """(maximum [D, C] over values[index] in each segment, its row of `values` [D, C], -1 where empty)."""
    best, where = segment.segment_reduce(values[index], offsets, "max")
    rows = torch.cat([index, index.new_full((1,), -1)])
    return best, rows[torch.where(where < 0, index.numel(), where)]


def gather_max_backward(grad: Tensor, rows: Tensor, num_rows: int) -> Tensor:
    """Gradient of `values` [num_rows, C]. Several cells may share a row; index_put adds in one order on every run."""
    C = grad.shape[1]
    place = torch.where(rows < 0, num_rows, rows) * C + torch.arange(C, device=rows.device)
    out = grad.new_zeros((num_rows + 1) * C).index_put_((place.flatten(),), grad.flatten(), accumulate=True)
    return out[: num_rows * C].view(num_rows, C).clone()
