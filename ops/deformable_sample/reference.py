"""Multi-scale deformable sampling in plain torch: the specification. Cells are those of ops.camera_sample."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ops.camera_sample.reference import Taps, taps


def deformable_sample(value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    """value [B, S, M, D], locations [B, Q, M, L, K, 2], weights [B, Q, M, L, K] -> [B, Q, M, D]."""
    wide = _wide(value)
    out = value.new_zeros(*locations.shape[:3], value.shape[3], dtype=wide)
    for level, _, found, cells in _levels(value, shapes, locations):
        share = found.weight * weights[:, :, :, level, :, None].to(wide)
        out += torch.einsum("bqmkt,bqmktd->bqmd", share, cells)
    return out.to(value.dtype)


def deformable_sample_backward(
    grad: Tensor, value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, locations and weights."""
    wide = _wide(value)
    grad = grad.to(wide)
    grad_value = torch.zeros(value.shape, dtype=wide, device=value.device).flatten(0, 2)
    grad_locations, grad_weights = torch.zeros_like(locations, dtype=wide), torch.zeros_like(weights, dtype=wide)
    for level, rows, found, cells in _levels(value, shapes, locations):
        weight = weights[:, :, :, level].to(wide)
        products = torch.einsum("bqmd,bqmktd->bqmkt", grad, cells)
        grad_weights[:, :, :, level] = (found.weight * products).sum(-1)
        grad_locations[:, :, :, level] = weight[..., None] * torch.einsum("bqmkt,bqmkta->bqmka", products, found.slope)
        share = (found.weight * weight[..., None])[..., None] * grad[:, :, :, None, None]
        grad_value.index_add_(0, rows.flatten(), share.flatten(0, -2))
    return (
        grad_value.reshape(value.shape).to(value.dtype),
        grad_locations.to(locations.dtype),
        grad_weights.to(weights.dtype),
    )


def _levels(value: Tensor, shapes: list[int], locations: Tensor) -> Iterator[tuple[int, Tensor, Taps, Tensor]]:
    """(level, rows [B, Q, M, K, 4] of the flattened value, taps, the cells there [B, Q, M, K, 4, D]) of every level."""
    B, S, M, D = value.shape
    wide, start = _wide(value), 0
    flat = value.reshape(B * S * M, D).to(wide)
    batch = torch.arange(B, device=value.device)[:, None, None, None, None] * S
    head = torch.arange(M, device=value.device)[:, None, None]
    for level in range(len(shapes) // 2):
        height, width = shapes[2 * level : 2 * level + 2]
        found = taps(locations[:, :, :, level].to(wide), height, width)
        rows = (batch + start + found.cells) * M + head
        cells = flat[rows.flatten()].reshape(*rows.shape, D) if rows.numel() else flat.new_zeros(*rows.shape, D)
        yield level, rows, found, torch.where(found.usable[..., None, None], cells, 0.0)
        start += height * width


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
