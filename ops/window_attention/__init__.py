"""Multi-head softmax attention inside ragged groups of tokens (windows), nothing padded and nothing dropped.

softmax(q k^T * scale) v inside each window; token t attends to the tokens of its own window only. The CPU kernel never
stores the scores; the backward pass recomputes them from the log-sum-exp (FlashAttention, arXiv 2205.14135, alg. 4).
"""

from typing import Any

import torch
from torch import Tensor

from ops import checks, kernels
from ops.arrays import arrays, tensors
from ops.operator import operator
from ops.window_attention import cpu, cuda, reference


def window_attention(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, scale: float | None = None) -> Tensor:
    """Attend inside windows: q, k, v [T, H, D] sorted by window, `offsets` int64 [W + 1] -> [T, H, D].

    `scale` defaults to D ** -0.5. Differentiable in q, k, v. Empty windows are allowed. ValueError where shapes or
    dtypes disagree or the offsets do not split the T tokens.
    """
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        checks.check_float("window_attention", name, tensor, 3)
        if tensor.shape != q.shape or tensor.dtype != q.dtype:
            raise ValueError(
                f"window_attention: {name} is {tensor.dtype} {tuple(tensor.shape)}, q is {q.dtype} {tuple(q.shape)}"
            )
    checks.check_index("window_attention", "offsets", offsets)
    checks.check_same_device("window_attention", q, k, v, offsets)
    return _window_attention(q, k, v, offsets, q.shape[2] ** -0.5 if scale is None else float(scale))[0]


@operator("drive_ops::window_attention")
def _window_attention(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    checks.check_offsets("window_attention", offsets, q.shape[0])
    return reference.window_attention(q, k, v, offsets, scale)


@operator("drive_ops::window_attention_backward")
def _window_attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, out: Tensor, logsumexp: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    return reference.window_attention_backward(grad, q, k, v, offsets, out, logsumexp, scale)


def _rows(*several: Tensor) -> Any:
    """float32 arrays with the tensors' own strides: no copy of q, k and v that lie side by side."""
    return tuple(t.detach().float().numpy() for t in several)


@_window_attention.register_kernel("cpu")
def _(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    checks.check_offsets("window_attention", offsets, q.shape[0])
    if q.dtype == torch.float64:
        return reference.window_attention(q, k, v, offsets, scale)
    out, logsumexp = tensors(
        cpu.forward(*_rows(q, k, v), *arrays(offsets), scale=scale, threads=torch.get_num_threads())
    )
    return out.to(q.dtype), logsumexp


@_window_attention_backward.register_kernel("cpu")
def _(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, out: Tensor, logsumexp: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    if q.dtype == torch.float64:
        return reference.window_attention_backward(grad, q, k, v, offsets, out, logsumexp, scale)
    given = *arrays(grad), *_rows(q, k, v), *arrays(offsets, out, logsumexp)
    grad_q, grad_k, grad_v = tensors(cpu.backward(*given, scale=scale, threads=torch.get_num_threads()))
    return grad_q.to(q.dtype), grad_k.to(k.dtype), grad_v.to(v.dtype)


@_window_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    accumulator = torch.float64 if q.dtype == torch.float64 else torch.float32
    return q.new_empty(q.shape), q.new_empty(q.shape[:2], dtype=accumulator)


@_window_attention_backward.register_fake
def _(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, out: Tensor, logsumexp: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    q, k, v, offsets, ctx.scale = inputs
    ctx.save_for_backward(q, k, v, offsets, *output)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, grad, _):  # type: ignore[no-untyped-def]
    return (*_window_attention_backward(grad, *ctx.saved_tensors, ctx.scale), None, None)


_window_attention.register_autograd(_backward, setup_context=_save)


def _forward_cuda(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    checks.check_offsets("window_attention", offsets, q.shape[0])
    if q.dtype == torch.float64:
        return reference.window_attention(q, k, v, offsets, scale)
    q32, k32, v32 = (t.float().contiguous() for t in (q, k, v))
    out, logsumexp = cuda.forward(q32, k32, v32, offsets.contiguous(), scale)
    return out.to(q.dtype), logsumexp


def _backward_cuda(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, out: Tensor, logsumexp: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    if q.dtype == torch.float64:
        return reference.window_attention_backward(grad, q, k, v, offsets, out, logsumexp, scale)
    g32, q32, k32, v32, out32 = (t.float().contiguous() for t in (grad, q, k, v, out))
    found = cuda.backward(g32, q32, k32, v32, offsets.contiguous(), out32, logsumexp.contiguous(), scale)
    grad_q, grad_k, grad_v = (t.to(q.dtype) for t in found)
    return grad_q, grad_k, grad_v


def _register_cuda() -> None:
    _window_attention.register_kernel("cuda")(_forward_cuda)
    _window_attention_backward.register_kernel("cuda")(_backward_cuda)


kernels.declare_native("window_attention", cpu.in_use)
kernels.declare_unproven_cuda("window_attention", _register_cuda)
