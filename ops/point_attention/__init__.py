"""Ragged softmax pooling: the core of PVTransformer's point-to-voxel attention.

With keys folded into the query and the value projection applied after pooling (lidar_detection.md 8.4), attention of a
voxel's query to its points is: weights = softmax of the points' scores inside the voxel, one set a head; result = the
weighted sum of the points' own features, one vector a head.
"""

import torch
from torch import Tensor

from ops import checks, kernels
from ops.arrays import arrays, tensors
from ops.operator import operator
from ops.point_attention import cpu, cuda, reference


def point_attention(scores: Tensor, values: Tensor, offsets: Tensor) -> Tensor:
    """Softmax `scores` [P, H] inside each segment, then sum `values` [P, C] with these weights: [V, H, C].

    Rows are sorted by segment, `offsets` int64 [V + 1] as in ops.segment. Same floating dtype for both; an empty
    segment gives 0. Differentiable in scores and values. ValueError where shapes or dtypes disagree.
    """
    checks.check_float("point_attention", "scores", scores, 2)
    checks.check_float("point_attention", "values", values, 2)
    checks.check_index("point_attention", "offsets", offsets)
    checks.check_same_device("point_attention", scores, values, offsets)
    checks.check_rows("point_attention", "values", values, scores.shape[0])
    if scores.dtype != values.dtype:
        raise ValueError(f"point_attention: scores are {scores.dtype} and values {values.dtype}")
    return _point_attention(scores, values, offsets)[0]


@operator("drive_ops::point_attention")
def _point_attention(scores: Tensor, values: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    checks.check_offsets("point_attention", offsets, scores.shape[0])
    return reference.point_attention(scores, values, offsets)


@operator("drive_ops::point_attention_backward")
def _point_attention_backward(
    grad: Tensor, scores: Tensor, values: Tensor, offsets: Tensor, pooled: Tensor, logsumexp: Tensor
) -> tuple[Tensor, Tensor]:
    return reference.point_attention_backward(grad, scores, values, offsets, pooled, logsumexp)


@_point_attention.register_kernel("cpu")
def _(scores: Tensor, values: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    checks.check_offsets("point_attention", offsets, scores.shape[0])
    if scores.dtype == torch.float64:
        return reference.point_attention(scores, values, offsets)
    given = arrays(scores, values, offsets)
    pooled, logsumexp = tensors(cpu.forward(*given, threads=torch.get_num_threads()))
    return pooled.to(values.dtype), logsumexp


@_point_attention_backward.register_kernel("cpu")
def _(
    grad: Tensor, scores: Tensor, values: Tensor, offsets: Tensor, pooled: Tensor, logsumexp: Tensor
) -> tuple[Tensor, Tensor]:
    if scores.dtype == torch.float64:
        return reference.point_attention_backward(grad, scores, values, offsets, pooled, logsumexp)
    given = arrays(grad, scores, values, offsets, pooled, logsumexp)
    grad_scores, grad_values = tensors(cpu.backward(*given, threads=torch.get_num_threads()))
    return grad_scores.to(scores.dtype), grad_values.to(values.dtype)


@_point_attention.register_fake
def _(scores: Tensor, values: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    V, H = offsets.shape[0] - 1, scores.shape[1]
    accumulator = torch.float64 if scores.dtype == torch.float64 else torch.float32
    return values.new_empty(V, H, values.shape[1]), values.new_empty(V, H, dtype=accumulator)


@_point_attention_backward.register_fake
def _(
    grad: Tensor, scores: Tensor, values: Tensor, offsets: Tensor, pooled: Tensor, logsumexp: Tensor
) -> tuple[Tensor, Tensor]:
    return scores.new_empty(scores.shape), values.new_empty(values.shape)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs, *output)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, grad, _):  # type: ignore[no-untyped-def]
    grad_scores, grad_values = _point_attention_backward(grad, *ctx.saved_tensors)
    return grad_scores, grad_values, None


_point_attention.register_autograd(_backward, setup_context=_save)


def _forward_cuda(scores: Tensor, values: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    checks.check_offsets("point_attention", offsets, scores.shape[0])
    if scores.dtype == torch.float64:
        return reference.point_attention(scores, values, offsets)
    given = scores.float().contiguous(), values.float().contiguous(), offsets.contiguous()
    pooled, logsumexp = cuda.forward(*given)
    return pooled.to(values.dtype), logsumexp


def _backward_cuda(
    grad: Tensor, scores: Tensor, values: Tensor, offsets: Tensor, pooled: Tensor, logsumexp: Tensor
) -> tuple[Tensor, Tensor]:
    if scores.dtype == torch.float64:
        return reference.point_attention_backward(grad, scores, values, offsets, pooled, logsumexp)
    g32, s32, x32, pooled32 = (t.float().contiguous() for t in (grad, scores, values, pooled))
    grad_scores, grad_values = cuda.backward(g32, s32, x32, offsets, pooled32, logsumexp.contiguous())
    return grad_scores.to(scores.dtype), grad_values.to(values.dtype)


def _register_cuda() -> None:
    _point_attention.register_kernel("cuda")(_forward_cuda)
    _point_attention_backward.register_kernel("cuda")(_backward_cuda)


kernels.declare("point_attention", "cpu", "numba", "float32 and half types; float64 takes the torch reference")
kernels.declare_unproven_cuda("point_attention", _register_cuda)
