"""Lift pooling in plain torch: the specification."""

import torch
from torch import Tensor


def lift_pool(depth: Tensor, context: Tensor, cells: Tensor, num_cells: int) -> Tensor:
    """depth [N, D, h, w], channels-last context [N, h, w, C], cells int64 [N, D, h, w] (-1 = none): [cells, C]."""
    wide = _wide(context)
    kept, pixel = _kept(cells)
    lifted = depth.reshape(-1)[kept].to(wide)[:, None] * context.flatten(0, 2).to(wide)[pixel]
    out = lifted.new_zeros(num_cells, context.shape[3])
    return out.index_add(0, cells.reshape(-1)[kept], lifted).to(context.dtype)


def lift_pool_backward(grad: Tensor, depth: Tensor, context: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of depth and context."""
    wide = _wide(context)
    kept, pixel = _kept(cells)
    above = grad.to(wide)[cells.reshape(-1)[kept]]
    flat = context.flatten(0, 2).to(wide)
    grad_depth = torch.zeros(depth.numel(), dtype=wide, device=depth.device)
    grad_depth[kept] = (above * flat[pixel]).sum(1)
    spread = depth.reshape(-1)[kept].to(wide)[:, None] * above
    grad_context = torch.zeros_like(flat).index_add(0, pixel, spread)
    return grad_depth.reshape(depth.shape).to(depth.dtype), grad_context.reshape(context.shape).to(context.dtype)


def _kept(cells: Tensor) -> tuple[Tensor, Tensor]:
    """Frustum places that have a cell: their flat index and their pixel (row of the flattened context)."""
    _, D, h, w = cells.shape
    kept = (cells.reshape(-1) >= 0).nonzero()[:, 0]
    return kept, kept // (D * h * w) * (h * w) + kept % (h * w)


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
