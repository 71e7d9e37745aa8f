"""The pillar encoder in plain torch, every point's channels in memory: the specification."""

from __future__ import annotations

import torch
from torch import Tensor

from ops.segment import reference as segment


def _maximum(rows: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum [V, C] of each segment and its row int32 [V, C] (the first of equals), -1 where it is 0: no gradient."""
    best, where = segment.segment_reduce(rows, offsets, "max")
    return best, torch.where(best == 0, -1, where).to(torch.int32)


def pillar_max(features: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """See ops.pillar_encoder.pillar_max: (maximum [V, C], its row int32 [V, C])."""
    if bias.dim() == 2:
        bias = bias[segment.segment_ids(offsets, features.shape[0])]
    return _maximum(torch.relu(features @ weight + bias), offsets)


def pillar_max_backward(
    grad: Tensor, where: Tensor, features: Tensor, offsets: Tensor, weight: Tensor, own_bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of features [P, K], weight [K, C] and bias ([V, C] where it is the segment's own, else [C])."""
    rows = grad.new_zeros(features.shape[0] + 1, grad.shape[1])
    rows.scatter_(0, torch.where(where < 0, features.shape[0], where).long(), grad)
    rows = rows[:-1]
    passed = torch.where(where >= 0, grad, 0)
    return rows @ weight.t(), features.t() @ rows, passed if own_bias else passed.sum(0)


def pillar_net(
    features: Tensor, offsets: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, wp: Tensor, b2: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See ops.pillar_encoder.pillar_net: (output [V, C], maximum of the hidden layer [V, H], the rows of both)."""
    hidden = torch.relu(features @ w1 + b1)
    pooled, first = _maximum(hidden, offsets)
    own = (pooled @ wp + b2)[segment.segment_ids(offsets, features.shape[0])]
    out, second = _maximum(torch.relu(hidden @ w2 + own), offsets)
    return out, pooled, first, second


def pillar_net_backward(
    grad: Tensor,
    pooled: Tensor,
    first: Tensor,
    second: Tensor,
    features: Tensor,
    offsets: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    wp: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of features, w1, b1, w2, wp and b2, from that of the output [V, C]."""
    hidden = torch.relu(features @ w1 + b1)
    d_hidden, d_w2, d_own = pillar_max_backward(grad, second, hidden, offsets, w2, True)
    d_pooled = d_own @ wp.t()
    spread = d_hidden.new_zeros(d_hidden.shape[0] + 1, d_hidden.shape[1])
    spread.scatter_(0, torch.where(first < 0, d_hidden.shape[0], first).long(), d_pooled)
    d_hidden = torch.where(hidden > 0, d_hidden + spread[:-1], 0)
    return (
        d_hidden @ w1.t(),
        features.t() @ d_hidden,
        d_hidden.sum(0),
        d_w2,
        pooled.t() @ d_own,
        d_own.sum(0),
    )
