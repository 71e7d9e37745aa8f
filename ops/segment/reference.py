"""Reductions over consecutive rows in plain torch: the specification."""

import torch
from torch import Tensor


def segment_ids(offsets: Tensor, num_rows: int) -> Tensor:
    """Segment number of every row: int64 [num_rows]."""
    counts = offsets[1:] - offsets[:-1]
    return torch.repeat_interleave(torch.arange(counts.numel(), device=offsets.device), counts, output_size=num_rows)


def segment_reduce(values: Tensor, offsets: Tensor, reduce: str) -> tuple[Tensor, Tensor]:
    """([V, C] result, [V, C] row of the maximum, -1 where empty; [0, 0] without one). Half types add in float32."""
    wide = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    size = (offsets.numel() - 1, values.shape[1])
    if reduce == "max":
        ids = segment_ids(offsets, values.shape[0])[:, None].expand_as(values)
        best = wide.new_zeros(size).scatter_reduce(0, ids, wide, "amax", include_self=False)
        rows = torch.arange(values.shape[0], device=values.device)[:, None].expand_as(values)
        is_best = (wide == best.gather(0, ids)) | wide.isnan()
        none = torch.iinfo(torch.int64).max
        first = torch.full(size, none, device=values.device).scatter_reduce(
            0, ids, torch.where(is_best, rows, none), "amin", include_self=True
        )
        return best.to(values.dtype), torch.where(first == none, -1, first)
    result = wide.new_zeros(size)
    if values.numel():
        result = torch.segment_reduce(wide.contiguous(), "sum", offsets=offsets, axis=0, initial=0.0)
    if reduce == "mean":
        result = result / (offsets[1:] - offsets[:-1]).clamp(min=1)[:, None]
    return result.to(values.dtype), torch.empty(0, 0, dtype=torch.int64, device=values.device)


def segment_reduce_backward(grad: Tensor, offsets: Tensor, argmax: Tensor, num_rows: int, reduce: str) -> Tensor:
    """Gradient of the rows [num_rows, C] from the gradient of the segments [V, C]."""
    if reduce == "max":
        out = grad.new_zeros(num_rows + 1, grad.shape[1])
        out.scatter_(0, torch.where(argmax < 0, num_rows, argmax), grad)
        return out[:num_rows].clone()
    if reduce == "mean":
        grad = grad / (offsets[1:] - offsets[:-1]).clamp(min=1)[:, None]
    return grad[segment_ids(offsets, num_rows)]
