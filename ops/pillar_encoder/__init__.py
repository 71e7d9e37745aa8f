"""A pillar's feature from its points: linear layers, ReLU and maximum, with no point's channels written to memory.

PointNet as PointPillars (arXiv 1812.05784) and SWFormer (arXiv 2210.07372) use it. Normalisation is the caller's: one
that is a fixed scale and shift (batch norm outside training) folds into weight and bias; one that depends on the rows
(batch norm in training, layer norm) does not, and such a model stays with separate steps.

Backward passes store the row of every maximum, int32, and compute the layers again for what they need.
"""

import torch
from torch import Tensor

from ops import checks, kernels
from ops.arrays import arrays, tensors
from ops.operator import operator
from ops.pillar_encoder import cpu, cuda, reference
from ops.pillar_encoder.net import pillar_net

__all__ = ["pillar_max", "pillar_net"]


def pillar_max(features: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """max over each segment's rows of ReLU(features @ weight + bias): [P, K] -> [V, C].

    Args:
        features: [P, K], segment after segment: segment v holds rows offsets[v] to offsets[v + 1] - 1.
        offsets: int64 [V + 1].
        weight: [K, C].
        bias: [C], or [V, C]: a segment's own (what all its points share may be folded into it).

    An empty segment gives 0. A NaN in a segment's rows makes the channels that it reaches NaN. The first of equals
    takes the gradient; a maximum of 0 passes none. Differentiable once in features, weight and bias. float32 has
    kernels, float64 takes the torch reference. ValueError: dtypes, shapes, offsets that do not split the rows, or
    2**31 rows.
    """
    check_layer("pillar_max", features, offsets, weight, bias)
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (features, weight, bias))
    return _pillar_max(features, offsets, weight, bias, keep)[0]


def check_layer(op: str, features: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Shapes and dtypes of one layer."""
    checks.check_float(op, "features", features, 2, full_only=True)
    checks.check_index(op, "offsets", offsets)
    checks.check_same_device(op, features, offsets, weight, bias)
    K, C = features.shape[1], weight.shape[-1]
    if any(t.dtype != features.dtype for t in (weight, bias)):
        raise ValueError(f"{op}: features, weight and bias must have one dtype, got {weight.dtype} and {bias.dtype}")
    if weight.dim() != 2 or weight.shape[0] != K or bias.shape not in ((C,), (offsets.shape[0] - 1, C)):
        raise ValueError(
            f"{op}: for features [P, {K}] needs weight [{K}, C] and bias [C] or [V, C], "
            f"got {tuple(weight.shape)} and {tuple(bias.shape)}"
        )
    if features.shape[0] >= 2**31:
        raise ValueError(f"{op}: rows are numbered in int32, {features.shape[0]} are too many")


@operator("drive_ops::pillar_max")
def _pillar_max(features: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    checks.check_offsets("pillar_max", offsets, features.shape[0])
    out, where = reference.pillar_max(features, offsets, weight, bias)
    return out, where if keep else where.new_empty(0, 0)


@operator("drive_ops::pillar_max_backward")
def _pillar_max_backward(
    grad: Tensor, where: Tensor, features: Tensor, offsets: Tensor, weight: Tensor, own: bool, to_features: bool
) -> tuple[Tensor, Tensor, Tensor]:
    d_x, d_w, d_b = reference.pillar_max_backward(grad, where, features, offsets, weight, own)
    return d_x if to_features else d_x[:0].clone(), d_w, d_b.clone()


@_pillar_max.register_kernel("cpu")
def _(features: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    checks.check_offsets("pillar_max", offsets, features.shape[0])
    if features.dtype == torch.float64:
        out, where = reference.pillar_max(features, offsets, weight, bias)
        return out, where if keep else where.new_empty(0, 0)
    given = arrays(features, offsets, weight, bias)
    return tensors(cpu.pillar_max(*given, keep=keep, threads=torch.get_num_threads()))


@_pillar_max_backward.register_kernel("cpu")
def _(
    grad: Tensor, where: Tensor, features: Tensor, offsets: Tensor, weight: Tensor, own: bool, to_features: bool
) -> tuple[Tensor, Tensor, Tensor]:
    if grad.dtype == torch.float64:
        d_x, d_w, d_b = reference.pillar_max_backward(grad, where, features, offsets, weight, own)
        return d_x if to_features else d_x[:0].clone(), d_w, d_b.clone()
    given = arrays(grad, where, features, weight)
    return tensors(cpu.pillar_max_backward(*given, own=own, to_x=to_features, threads=torch.get_num_threads()))


@_pillar_max.register_fake
def _(features: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    size = (offsets.shape[0] - 1, weight.shape[1])
    return features.new_empty(size), features.new_empty(size if keep else (0, 0), dtype=torch.int32)


@_pillar_max_backward.register_fake
def _(
    grad: Tensor, where: Tensor, features: Tensor, offsets: Tensor, weight: Tensor, own: bool, to_features: bool
) -> tuple[Tensor, Tensor, Tensor]:
    d_x = features.new_empty(features.shape[0] if to_features else 0, features.shape[1])
    return d_x, torch.empty_like(weight), grad.new_empty(grad.shape if own else grad.shape[1:])


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    features, offsets, weight, bias, ctx.keep = inputs
    ctx.own = bias.dim() == 2
    ctx.save_for_backward(features, offsets, weight, output[1])
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, grad, _):  # type: ignore[no-untyped-def]
    features, offsets, weight, where = ctx.saved_tensors
    if not ctx.keep:
        raise RuntimeError("pillar_max: the rows of the maxima were not kept (keep=False), so there is no gradient")
    wants_x = ctx.needs_input_grad[0]
    d_x, d_w, d_b = _pillar_max_backward(grad, where, features, offsets, weight, ctx.own, wants_x)
    return d_x if wants_x else None, None, d_w, d_b, None


_pillar_max.register_autograd(_backward, setup_context=_save)


def _pillar_max_cuda(
    features: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor, keep: bool
) -> tuple[Tensor, Tensor]:
    checks.check_offsets("pillar_max", offsets, features.shape[0])
    if features.dtype == torch.float64:
        out, where = reference.pillar_max(features, offsets, weight, bias)
        return out, where if keep else where.new_empty(0, 0)
    out, where = cuda.pillar_max(*(t.contiguous() for t in (features, offsets, weight, bias)))
    return out, where if keep else where.new_empty(0, 0)


def _register_cuda() -> None:
    _pillar_max.register_kernel("cuda")(_pillar_max_cuda)


kernels.declare_native("pillar_encoder", cpu.in_use)
kernels.declare_unproven_cuda("pillar_encoder", _register_cuda)
