"""From a fine scale of sparse cells to a coarse one and back, nothing pooled (SWFormer, spec 1.4).

Down: each coarse cell takes the feature of the occupied fine cell nearest its centre. Up: each fine cell takes the
feature of the coarse cell that holds it; the gradient adds up over a parent's children, in their order.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ops import checks, kernels
from ops.arrays import array, arrays, tensors
from ops.downscale import cpu, cuda, reference
from ops.operator import operator

__all__ = ["Coarser", "downscale", "upsample"]

# Coarse cells of all frames together: one bit each.
MOST_CELLS = 2**36


class Coarser(NamedTuple):
    """U coarse cells over V fine ones."""

    coords: Tensor
    """int64 [U, 4] (batch, z, y, x), in key order."""
    chosen: Tensor
    """int64 [U]: the fine row nearest the cell's centre; ties go to the lowest y, then x."""
    parent: Tensor
    """int64 [V]: the coarse row that holds each fine cell."""


def downscale(coords: Tensor, ratio: int, shape: tuple[int, int, int]) -> Coarser:
    """Cut the grid `shape` = (nz, ny, nx) of `coords` int64 [V, 4], each at most once, into ratio x ratio cells.

    Border cells may stick out of the grid; z is not touched. ValueError: dtype, shapes, cells outside the grid, more
    than 2**36 coarse cells.
    """
    checks.check_index("downscale", "coords", coords, 2)
    if coords.shape[1] != 4 or ratio < 1 or len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"downscale: needs coords [V, 4], a ratio of 1 or more and a shape, got {ratio} and {shape}")
    return Coarser(*_downscale(coords, ratio, list(shape)))


def upsample(values: Tensor, parent: Tensor) -> Tensor:
    """Each fine cell's row of its parent: [U, C], int64 [V] -> [V, C]. Differentiable in values.

    ValueError: dtypes, a parent that is no row of values.
    """
    checks.check_float("upsample", "values", values, 2)
    checks.check_index("upsample", "parent", parent)
    checks.check_same_device("upsample", values, parent)
    return _upsample(values, parent)


@cache
def _nearness(ratio: int) -> np.ndarray:
    return array(reference.cell_rank(ratio))


def _check(coords: Tensor, ratio: int, shape: Sequence[int]) -> int:
    """The number of frames."""
    limit = torch.tensor([2**62, *shape], device=coords.device)
    if bool(((coords < 0) | (coords >= limit)).any()):
        raise ValueError(f"downscale: cells lie outside their grid of {shape[0]} x {shape[1]} x {shape[2]}")
    frames = int(coords[:, 0].max()) + 1 if coords.shape[0] else 0
    if frames * shape[0] * -(-shape[1] // ratio) * -(-shape[2] // ratio) > MOST_CELLS:
        raise ValueError(f"downscale: {frames} frames of {list(shape)} cells are more than {MOST_CELLS:,} coarse ones")
    return frames


def _check_parent(parent: Tensor, rows: int) -> None:
    if parent.numel() and (int(parent.min()) < 0 or int(parent.max()) >= rows):
        raise ValueError(f"upsample: parent must lie in 0..{rows - 1}")


@operator("drive_ops::downscale")
def _downscale(coords: Tensor, ratio: int, shape: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    _check(coords, ratio, shape)
    return reference.downscale(coords, ratio, shape)


@_downscale.register_kernel("cpu")
def _(coords: Tensor, ratio: int, shape: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    return tensors(cpu.downscale(array(coords), ratio, shape, _nearness(ratio), MOST_CELLS))


@_downscale.register_fake
def _(coords: Tensor, ratio: int, shape: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    coarse = torch.library.get_ctx().new_dynamic_size()
    return coords.new_empty(coarse, 4), coords.new_empty(coarse), coords.new_empty(coords.shape[0])


@operator("drive_ops::upsample")
def _upsample(values: Tensor, parent: Tensor) -> Tensor:
    _check_parent(parent, values.shape[0])
    return values.index_select(0, parent)


@operator("drive_ops::upsample_backward")
def _upsample_backward(grad: Tensor, parent: Tensor, rows: int) -> Tensor:
    return reference.upsample_backward(grad, parent, rows)


@_upsample_backward.register_kernel("cpu")
def _(grad: Tensor, parent: Tensor, rows: int) -> Tensor:
    _check_parent(parent, rows)
    given = arrays(grad, parent)
    return tensors(cpu.upsample_backward(*given, rows=rows, threads=torch.get_num_threads())).to(grad.dtype)


@_upsample.register_fake
def _(values: Tensor, parent: Tensor) -> Tensor:
    return values.new_empty(parent.shape[0], values.shape[1])


@_upsample_backward.register_fake
def _(grad: Tensor, parent: Tensor, rows: int) -> Tensor:
    return grad.new_empty(rows, grad.shape[1])


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    values, parent = inputs
    ctx.rows = values.shape[0]
    ctx.save_for_backward(parent)


def _backward(ctx, grad):  # type: ignore[no-untyped-def]
    return _upsample_backward(grad, ctx.saved_tensors[0], ctx.rows), None


def _save_again(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(inputs[1])


def _backward_again(ctx, grad):  # type: ignore[no-untyped-def]
    return _upsample(grad, ctx.saved_tensors[0]), None, None


_upsample.register_autograd(_backward, setup_context=_save)
_upsample_backward.register_autograd(_backward_again, setup_context=_save_again)


def _downscale_cuda(coords: Tensor, ratio: int, shape: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    frames = _check(coords, ratio, shape)
    return cuda.downscale(coords.contiguous(), ratio, shape, reference.cell_rank(ratio).to(coords.device), frames)


def _register_cuda() -> None:
    _downscale.register_kernel("cuda")(_downscale_cuda)


kernels.declare("downscale", "cpu", "numba", "bitmap rank; rows go up with torch's index_select")
kernels.declare_unproven_cuda("downscale", _register_cuda)
