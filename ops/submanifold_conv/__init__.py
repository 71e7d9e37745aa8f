"""Submanifold sparse convolution on neighbour tables (Graham & van der Maaten, arXiv 1706.01307).

Every occupied voxel gathers its occupied neighbours, and no other voxel comes into being. There is no kernel of our own
yet: on a CPU gather and BLAS are what a kernel would do, and on a GPU the torch reference runs.
"""

import torch
from torch import Tensor

from ops import checks, kernels
from ops.submanifold_conv import reference


def submanifold_conv(x: Tensor, weight: Tensor, neighbours: Tensor) -> Tensor:
    """y_i = sum over k of x[neighbours[i, k]] @ weight[k]: [V, D].

    Args:
        x: [V, C] floating point.
        weight: [K, C, D], same dtype. Offset K - 1 - k must be the negative of offset k (any centred kernel read in
            order, such as 3 x 3 row by row).
        neighbours: int64 [V, K], the row of the voxel at offset k from voxel i, V where that cell is empty. The table
            must be mutual (i sees j at k exactly where j sees i at K - 1 - k), as
            ``drive.voxels.neighbours.neighbour_table`` makes it; the gradient relies on it.

    Differentiable in x and weight; under autocast both are cast to its type. ValueError where shapes disagree.
    """
    if torch.is_autocast_enabled(x.device.type):
        # Autocast would reach into the operator and change the type of what it returns behind its gradient's back.
        half = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(half), weight.to(half)
    checks.check_float("submanifold_conv", "x", x, 2)
    checks.check_float("submanifold_conv", "weight", weight, 3)
    checks.check_index("submanifold_conv", "neighbours", neighbours, 2)
    checks.check_same_device("submanifold_conv", x, weight, neighbours)
    checks.check_rows("submanifold_conv", "neighbours", neighbours, len(x))
    if x.dtype != weight.dtype or weight.shape[:2] != (neighbours.shape[1], x.shape[1]):
        raise ValueError(
            f"submanifold_conv: weight {tuple(weight.shape)} {weight.dtype} does not fit x {tuple(x.shape)} {x.dtype} "
            f"and {neighbours.shape[1]} neighbours"
        )
    return _submanifold_conv(x, weight, neighbours)


@torch.library.custom_op("drive_ops::submanifold_conv", mutates_args=())
def _submanifold_conv(x: Tensor, weight: Tensor, neighbours: Tensor) -> Tensor:
    return reference.submanifold_conv(x, weight, neighbours)


@torch.library.custom_op("drive_ops::submanifold_conv_backward", mutates_args=())
def _submanifold_conv_backward(grad: Tensor, x: Tensor, weight: Tensor, neighbours: Tensor) -> tuple[Tensor, Tensor]:
    return reference.submanifold_conv_backward(grad, x, weight, neighbours)


@_submanifold_conv.register_fake
def _(x: Tensor, weight: Tensor, neighbours: Tensor) -> Tensor:
    return x.new_empty(len(x), weight.shape[2])


@_submanifold_conv_backward.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor, neighbours: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(weight)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad):  # type: ignore[no-untyped-def]
    return (*_submanifold_conv_backward(grad.contiguous(), *ctx.saved_tensors), None)


_submanifold_conv.register_autograd(_backward, setup_context=_save)

kernels.declare("submanifold_conv", "cpu", "torch reference", "gather and BLAS: what a kernel of our own would do")
kernels.declare("submanifold_conv", "cuda", "torch reference", "no kernel of our own yet")
