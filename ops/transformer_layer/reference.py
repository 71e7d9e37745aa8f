"""The transformer layer in plain torch: the specification, and its gradient by formulas."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ops.window_attention import reference as attention

Linear = Callable[[Tensor, Tensor, Tensor], Tensor]
Attend = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def transformer_layer(
    x: Tensor, offsets: Tensor, weights: Sequence[Tensor], heads: int, eps: float, mlp_eps: float, bf16: bool
) -> Tensor:
    """z = LN(y + mlp(y)), y = LN(x + out(attention(qkv(x)))): x [T, C] -> [T, C]. Order of weights: LayerWeights.

    bf16: the factors of each matrix product with a weight are rounded to bfloat16; sums and all else are not.
    """
    return layer(x, offsets, weights, heads, eps, mlp_eps, rounded_linear if bf16 else F.linear, _attend)


def layer(
    x: Tensor,
    offsets: Tensor,
    weights: Sequence[Tensor],
    heads: int,
    eps: float,
    mlp_eps: float,
    linear: Linear,
    attend: Attend,
) -> Tensor:
    """The layer made of a linear layer and an attention."""
    qkv_w, qkv_b, out_w, out_b, norm_w, norm_b, in_w, in_b, mlp_w, mlp_b, mlp_norm_w, mlp_norm_b = weights
    q, k, v = linear(x, qkv_w, qkv_b).view(x.shape[0], 3, heads, x.shape[1] // heads).unbind(1)
    attended = attend(q, k, v, offsets).reshape(x.shape)
    y = F.layer_norm(x + linear(attended, out_w, out_b), x.shape[1:], norm_w, norm_b, eps)
    hidden = linear(F.gelu(linear(y, in_w, in_b)), mlp_w, mlp_b)
    return F.layer_norm(y + hidden, x.shape[1:], mlp_norm_w, mlp_norm_b, mlp_eps)


def _attend(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor) -> Tensor:
    return attention.window_attention(q, k, v, offsets, q.shape[2] ** -0.5)[0]


def rounded_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer whose factors are rounded to bfloat16 and whose sums are not."""
    return F.linear(x.bfloat16().to(x.dtype), weight.bfloat16().to(x.dtype), bias)


def transformer_layer_backward(
    grad: Tensor,
    x: Tensor,
    offsets: Tensor,
    weights: Sequence[Tensor],
    heads: int,
    eps: float,
    mlp_eps: float,
    bf16: bool,
) -> list[Tensor]:
    """Gradients of x and of the twelve weights. Everything between x and z is computed again: only x was kept.

    bf16: the same rounding as forwards, of weights and of what they are multiplied with; gradients are not rounded.
    """
    from ops.window_attention import _window_attention, _window_attention_backward

    def seen(t: Tensor) -> Tensor:
        return t.bfloat16().to(t.dtype) if bf16 else t

    qkv_w, qkv_b, out_w, out_b, norm_w, norm_b, in_w, in_b, mlp_w, mlp_b, mlp_norm_w, mlp_norm_b = weights
    T, C = x.shape
    scale = (C // heads) ** -0.5
    x_seen, qkv_seen, out_seen, in_seen, mlp_seen = (seen(t) for t in (x, qkv_w, out_w, in_w, mlp_w))
    q, k, v = F.linear(x_seen, qkv_seen, qkv_b).view(T, 3, heads, C // heads).unbind(1)
    attended, logsumexp = _window_attention(q, k, v, offsets, scale)
    flat = seen(attended.reshape(T, C))
    first = x + F.linear(flat, out_seen, out_b)
    y, mean, factor = torch.ops.aten.native_layer_norm(first, [C], norm_w, norm_b, eps)
    y_seen = seen(y)
    hidden = F.linear(y_seen, in_seen, in_b)
    active = seen(F.gelu(hidden))
    second = y + F.linear(active, mlp_seen, mlp_b)
    _, mlp_mean, mlp_factor = torch.ops.aten.native_layer_norm(second, [C], mlp_norm_w, mlp_norm_b, mlp_eps)

    norm_backward, needed = torch.ops.aten.native_layer_norm_backward, [True, True, True]
    given = grad.contiguous(), second, [C], mlp_mean, mlp_factor, mlp_norm_w, mlp_norm_b
    to_second, to_mlp_norm_w, to_mlp_norm_b = norm_backward(*given, needed)
    to_hidden = torch.ops.aten.gelu_backward(to_second @ mlp_seen, hidden)
    to_y = to_second + to_hidden @ in_seen
    to_first, to_norm_w, to_norm_b = norm_backward(to_y, first, [C], mean, factor, norm_w, norm_b, needed)
    to_attended = (to_first @ out_seen).view(T, heads, C // heads)
    several = _window_attention_backward(to_attended, q, k, v, offsets, attended, logsumexp, scale)
    to_qkv = torch.cat([g.reshape(T, C) for g in several], 1)
    to_x = to_first + to_qkv @ qkv_seen
    return [
        to_x, to_qkv.t() @ x_seen, to_qkv.sum(0), to_first.t() @ flat, to_first.sum(0), to_norm_w, to_norm_b,
        to_hidden.t() @ y_seen, to_hidden.sum(0), to_second.t() @ active, to_second.sum(0), to_mlp_norm_w,
        to_mlp_norm_b,
    ]  # fmt: skip
