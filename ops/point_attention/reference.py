"""Ragged softmax pooling in plain torch: the specification."""

import torch
from torch import Tensor

from ops.segment import reference as segment


def point_attention(scores: Tensor, values: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """(pooled [V, H, C], log-sum-exp of the scores [V, H], -inf where empty). Half types compute in float32."""
    V, P = offsets.numel() - 1, scores.shape[0]
    s, x = _widen(scores), _widen(values)
    ids = segment.segment_ids(offsets, P)
    top = s.new_zeros(V, s.shape[1]).scatter_reduce(0, ids[:, None].expand_as(s), s, "amax", include_self=False)
    weight = (s - top[ids]).exp()
    total = segment.segment_reduce(weight, offsets, "sum")[0]
    logsumexp = top + total.log()
    weight = weight / total[ids]
    pooled = segment.segment_reduce((weight[:, :, None] * x[:, None, :]).flatten(1), offsets, "sum")[0]
    return pooled.view(V, s.shape[1], x.shape[1]).to(values.dtype), logsumexp


def point_attention_backward(
    grad: Tensor, scores: Tensor, values: Tensor, offsets: Tensor, pooled: Tensor, logsumexp: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of scores [P, H] and values [P, C]."""
    s, x, g = _widen(scores), _widen(values), _widen(grad)
    ids = segment.segment_ids(offsets, scores.shape[0])
    weight = (s - logsumexp[ids]).exp()
    g_rows = g[ids]
    delta = (g * _widen(pooled)).sum(2)[ids]
    grad_scores = weight * ((g_rows * x[:, None, :]).sum(2) - delta)
    grad_values = (weight[:, :, None] * g_rows).sum(1)
    return grad_scores.to(scores.dtype), grad_values.to(values.dtype)


def _widen(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
