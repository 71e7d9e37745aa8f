"""Reductions over consecutive rows: segment v holds rows offsets[v] to offsets[v + 1] - 1.

Sums run in row order (the same bits every time); the maximum remembers its row (the first one of equals), and its
gradient goes there alone. An empty segment gives 0 and takes no gradient. A NaN in a segment makes its result NaN.
"""

import torch
from torch import Tensor

from ops import checks, kernels
from ops.arrays import arrays, tensors
from ops.operator import operator
from ops.segment import cpu, cuda, reference

REDUCTIONS = ("sum", "mean", "max")


def segment_reduce(values: Tensor, offsets: Tensor, reduce: str) -> Tensor:
    """Reduce rows [P, C] to segments [V, C]. `offsets` int64 [V + 1]; `reduce` is "sum", "mean" or "max".

    Differentiable in `values`. ValueError where offsets do not split the P rows or a dtype is wrong.
    """
    if reduce not in REDUCTIONS:
        raise ValueError(f"segment_reduce: reduce must be one of {REDUCTIONS}, got {reduce!r}")
    checks.check_float("segment_reduce", "values", values, 2)
    checks.check_index("segment_reduce", "offsets", offsets)
    checks.check_same_device("segment_reduce", values, offsets)
    return _segment_reduce(values, offsets, reduce)[0]


def segment_sum(values: Tensor, offsets: Tensor) -> Tensor:
    """Sum of each segment's rows: [P, C] -> [V, C]."""
    return segment_reduce(values, offsets, "sum")


def segment_mean(values: Tensor, offsets: Tensor) -> Tensor:
    """Mean of each segment's rows: [P, C] -> [V, C]."""
    return segment_reduce(values, offsets, "mean")


def segment_max(values: Tensor, offsets: Tensor) -> Tensor:
    """Maximum of each segment's rows: [P, C] -> [V, C]."""
    return segment_reduce(values, offsets, "max")


def segment_expand(values: Tensor, offsets: Tensor, num_rows: int) -> Tensor:
    """Give every row its segment's values: [V, C] -> [num_rows, C], num_rows = offsets[-1]. Gradient: segment_sum."""
    checks.check_float("segment_expand", "values", values, 2)
    checks.check_index("segment_expand", "offsets", offsets)
    checks.check_same_device("segment_expand", values, offsets)
    checks.check_rows("segment_expand", "values", values, offsets.shape[0] - 1)
    return _segment_spread(values, offsets, offsets.new_empty(0, 0), num_rows, "sum")


def segment_ids(offsets: Tensor, num_rows: int) -> Tensor:
    """Segment number of every row: int64 [num_rows], num_rows = offsets[-1]."""
    checks.check_index("segment_ids", "offsets", offsets)
    return reference.segment_ids(offsets, num_rows)


@operator("drive_ops::segment_reduce")
def _segment_reduce(values: Tensor, offsets: Tensor, reduce: str) -> tuple[Tensor, Tensor]:
    checks.check_offsets("segment_reduce", offsets, values.shape[0])
    return reference.segment_reduce(values, offsets, reduce)


@operator("drive_ops::segment_spread")
def _segment_spread(grad: Tensor, offsets: Tensor, argmax: Tensor, num_rows: int, reduce: str) -> Tensor:
    checks.check_offsets("segment_expand", offsets, num_rows)
    return reference.segment_reduce_backward(grad, offsets, argmax, num_rows, reduce)


@_segment_reduce.register_kernel("cpu")
def _(values: Tensor, offsets: Tensor, reduce: str) -> tuple[Tensor, Tensor]:
    checks.check_offsets("segment_reduce", offsets, values.shape[0])
    if values.dtype == torch.float64:
        return reference.segment_reduce(values, offsets, reduce)
    result, argmax = tensors(cpu.reduce(*arrays(values, offsets), how=reduce, threads=torch.get_num_threads()))
    return result.to(values.dtype), argmax


@_segment_spread.register_kernel("cpu")
def _(grad: Tensor, offsets: Tensor, argmax: Tensor, num_rows: int, reduce: str) -> Tensor:
    checks.check_offsets("segment_expand", offsets, num_rows)
    if grad.dtype == torch.float64:
        return reference.segment_reduce_backward(grad, offsets, argmax, num_rows, reduce)
    given = arrays(grad, offsets, argmax)
    return tensors(cpu.spread(*given, num_rows=num_rows, how=reduce, threads=torch.get_num_threads())).to(grad.dtype)


@_segment_reduce.register_fake
def _(values: Tensor, offsets: Tensor, reduce: str) -> tuple[Tensor, Tensor]:
    size = (offsets.shape[0] - 1, values.shape[1])
    return values.new_empty(size), offsets.new_empty(size if reduce == "max" else (0, 0))


@_segment_spread.register_fake
def _(grad: Tensor, offsets: Tensor, argmax: Tensor, num_rows: int, reduce: str) -> Tensor:
    return grad.new_empty(num_rows, grad.shape[1])


def _save_reduce(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    values, offsets, ctx.reduce = inputs
    ctx.num_rows = values.shape[0]
    ctx.save_for_backward(offsets, output[1])
    ctx.mark_non_differentiable(output[1])


def _reduce_backward(ctx, grad, _):  # type: ignore[no-untyped-def]
    offsets, argmax = ctx.saved_tensors
    return _segment_spread(grad, offsets, argmax, ctx.num_rows, ctx.reduce), None, None


def _save_spread(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    _, offsets, argmax, _, ctx.reduce = inputs
    ctx.save_for_backward(offsets, argmax)


def _spread_backward(ctx, grad):  # type: ignore[no-untyped-def]
    if ctx.reduce == "max":
        raise NotImplementedError("segment_reduce: no second derivative of the maximum")
    offsets, _ = ctx.saved_tensors
    return _segment_reduce(grad, offsets, ctx.reduce)[0], None, None, None, None


_segment_reduce.register_autograd(_reduce_backward, setup_context=_save_reduce)
_segment_spread.register_autograd(_spread_backward, setup_context=_save_spread)


def _reduce_cuda(values: Tensor, offsets: Tensor, reduce: str) -> tuple[Tensor, Tensor]:
    checks.check_offsets("segment_reduce", offsets, values.shape[0])
    if values.dtype == torch.float64:
        return reference.segment_reduce(values, offsets, reduce)
    result, argmax = cuda.reduce(values.float().contiguous(), offsets.contiguous(), reduce)
    return result.to(values.dtype), argmax


def _spread_cuda(grad: Tensor, offsets: Tensor, argmax: Tensor, num_rows: int, reduce: str) -> Tensor:
    checks.check_offsets("segment_expand", offsets, num_rows)
    if grad.dtype == torch.float64:
        return reference.segment_reduce_backward(grad, offsets, argmax, num_rows, reduce)
    given = grad.float().contiguous(), offsets.contiguous(), argmax.contiguous()
    return cuda.spread(*given, num_rows, reduce).to(grad.dtype)


def _register_cuda() -> None:
    _segment_reduce.register_kernel("cuda")(_reduce_cuda)
    _segment_spread.register_kernel("cuda")(_spread_cuda)


kernels.declare("segment", "cpu", "numba", "float32 and half types; float64 takes the torch reference")
kernels.declare_unproven_cuda("segment", _register_cuda)
