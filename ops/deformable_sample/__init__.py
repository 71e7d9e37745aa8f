"""Multi-scale deformable sampling: every query reads a few weighted places of several maps, head by head.

The arithmetic of deformable DETR (arXiv 2010.04159, equation 3), as in mmcv's multi_scale_deformable_attn_pytorch and
transformers' MultiScaleDeformableAttention: places are fractions of the map, read like
grid_sample(align_corners=False, padding_mode="zeros"). A place that is not finite reads nothing. `sample_map` is the
case of one head on one bird's-eye map, as DiffusionDrive (arXiv 2411.15139) reads 8 points of each of 20 trajectories.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ops import checks, kernels
from ops.arrays import array, arrays, tensors
from ops.deformable_sample import cpu, cuda, reference
from ops.operator import operator

__all__ = ["deformable_sample", "sample_map"]


def deformable_sample(value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted bilinear samples, [B, Q, M * D].

    Args:
        value: [B, S, M, D]: the S cells of all L maps, map after map, row after row; M heads of D channels.
        shapes: (height, width) of every map.
        locations: [B, Q, M, L, K, 2], (x, y) as fractions of the map: 0 is its left or top edge, 1 the other edge.
        weights: [B, Q, M, L, K], usually a softmax over the last two axes.

    Differentiable in value, locations and weights. Half types compute in float32. ValueError: dtypes, shapes that
    disagree, float64 beside other types.
    """
    op = "deformable_sample"
    checks.check_float(op, "value", value, 4)
    checks.check_float(op, "locations", locations, 6)
    checks.check_float(op, "weights", weights, 5)
    checks.check_same_device(op, value, locations, weights)
    flat = [int(size) for shape in shapes for size in shape]
    B, S, M, D = value.shape
    Q, L, K = locations.shape[1], len(flat) // 2, locations.shape[4]
    if locations.shape != (B, Q, M, L, K, 2) or weights.shape != (B, Q, M, L, K) or len(flat) != 2 * len(shapes):
        raise ValueError(
            f"{op}: {len(shapes)} maps and value {(B, S, M, D)} need locations [{B}, Q, {M}, {L}, K, 2] and weights "
            f"[{B}, Q, {M}, {L}, K], got {tuple(locations.shape)} and {tuple(weights.shape)}"
        )
    if min(flat, default=1) < 1 or sum(h * w for h, w in zip(flat[::2], flat[1::2], strict=True)) != S:
        raise ValueError(f"{op}: maps of {list(shapes)} cells do not add up to the {S} cells of value")
    if len({t.dtype == torch.float64 for t in (value, locations, weights)}) > 1:
        raise ValueError(f"{op}: float64 goes with float64 only: {value.dtype}, {locations.dtype}, {weights.dtype}")
    return _deformable_sample(value, flat, locations, weights).flatten(2)


def sample_map(maps: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """Weighted samples of one map: `maps` [B, C, H, W], `places` [B, Q, K, 2], `weights` [B, Q, K] -> [B, Q, C].

    Places as in `deformable_sample`: x along W, y along H. Fastest where the maps are channels_last in memory; few
    samples of plane-by-plane maps are read where they lie, without a copy, about as fast as grid_sample does.
    Differentiable in all three. ValueError as in `deformable_sample`.
    """
    if maps.dim() != 4 or places.dim() != 4 or weights.dim() != 3:
        raise ValueError(
            f"deformable_sample: needs maps [B, C, H, W], places [B, Q, K, 2], weights [B, Q, K], got "
            f"{tuple(maps.shape)}, {tuple(places.shape)}, {tuple(weights.shape)}"
        )
    B, C, H, W = maps.shape
    value = maps.permute(0, 2, 3, 1).reshape(B, H * W, 1, C)
    return deformable_sample(value, [(H, W)], places[:, :, None, None], weights[:, :, None, None])


@operator("drive_ops::deformable_sample")
def _deformable_sample(value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    return reference.deformable_sample(value, shapes, locations, weights)


@operator("drive_ops::deformable_sample_backward")
def _deformable_sample_backward(
    grad: Tensor, value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return reference.deformable_sample_backward(grad, value, shapes, locations, weights)


@_deformable_sample.register_kernel("cpu")
def _(value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    if value.dtype == torch.float64:
        return reference.deformable_sample(value, shapes, locations, weights)
    where = arrays(locations, weights)
    out = cpu.forward(value.detach().float().numpy(), shapes, *where, threads=torch.get_num_threads())
    return tensors(out).to(value.dtype)


@_deformable_sample_backward.register_kernel("cpu")
def _(
    grad: Tensor, value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    if value.dtype == torch.float64:
        return reference.deformable_sample_backward(grad, value, shapes, locations, weights)
    given = array(grad), array(value), shapes, *arrays(locations, weights)
    grad_value, grad_at, grad_weights = tensors(cpu.backward(*given, threads=torch.get_num_threads()))
    return grad_value.to(value.dtype), grad_at.to(locations.dtype), grad_weights.to(weights.dtype)


@_deformable_sample.register_fake
def _(value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    return value.new_empty(*locations.shape[:3], value.shape[3])


@_deformable_sample_backward.register_fake
def _(
    grad: Tensor, value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return value.new_empty(value.shape), locations.new_empty(locations.shape), weights.new_empty(weights.shape)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    value, ctx.shapes, locations, weights = inputs
    ctx.save_for_backward(value, locations, weights)


def _backward(ctx, grad):  # type: ignore[no-untyped-def]
    value, locations, weights = ctx.saved_tensors
    grad_value, grad_at, grad_weights = _deformable_sample_backward(grad, value, ctx.shapes, locations, weights)
    return grad_value, None, grad_at, grad_weights


_deformable_sample.register_autograd(_backward, setup_context=_save)


def _forward_cuda(value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    if value.dtype == torch.float64:
        return reference.deformable_sample(value, shapes, locations, weights)
    v, at, w = (t.float().contiguous() for t in (value, locations, weights))
    return cuda.forward(v, shapes, at, w).to(value.dtype)


def _backward_cuda(
    grad: Tensor, value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    # The kernel adds to the value's gradient atomically, in no fixed order.
    if value.dtype == torch.float64 or torch.are_deterministic_algorithms_enabled():
        return reference.deformable_sample_backward(grad, value, shapes, locations, weights)
    g, v, at, w = (t.float().contiguous() for t in (grad, value, locations, weights))
    grad_value, grad_at, grad_weights = cuda.backward(g, v, shapes, at, w)
    return grad_value.to(value.dtype), grad_at.to(locations.dtype), grad_weights.to(weights.dtype)


def _register_cuda() -> None:
    _deformable_sample.register_kernel("cuda")(_forward_cuda)
    _deformable_sample_backward.register_kernel("cuda")(_backward_cuda)


kernels.declare("deformable_sample", "cpu", "numba", "float32 and half types; float64 takes the torch reference")
kernels.declare_unproven_cuda("deformable_sample", _register_cuda)
