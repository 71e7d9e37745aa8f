"""Voxel diffusion: chosen cells spread to their k x k neighbourhood, and features follow by maximum.

SWFormer (arXiv 2210.07372, section 3.4): foreground voxels are dilated so that the (empty) centre of an object holds a
token; a new cell takes the maximum over the chosen cells within reach.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ops import checks, kernels
from ops.arrays import arrays, tensors
from ops.dilate import cpu, cuda, reference
from ops.operator import operator


class Dilation(NamedTuple):
    """D cells within reach of a chosen one."""

    coords: Tensor
    """int64 [D, 4] (batch, 0, y, x), sorted in that order."""
    source: Tensor
    """int64 [D]: the input row at the same cell, chosen or not, -1 where the cell was empty."""
    neighbours: Tensor
    """int64 [E]: input rows of the chosen cells within reach, cell after cell, in (y, x) order."""
    offsets: Tensor
    """int64 [D + 1]: cell d is reached from neighbours[offsets[d]:offsets[d + 1]], at least one."""


def dilate(coords: Tensor, keep: Tensor, kernel: int, grid: tuple[int, int], batch_size: int) -> Dilation:
    """Dilate the cells `coords` int64 [V, 4] (batch, z = 0, y, x), each at most once, where `keep` bool [V].

    `kernel` is the odd width k of the square neighbourhood, `grid` = (ny, nx); nothing leaves the grid or its frame.
    ValueError: dtypes, an even kernel, cells outside the grid.
    """
    checks.check_index("dilate", "coords", coords, 2)
    checks.check_rows("dilate", "keep", keep, coords.shape[0])
    checks.check_same_device("dilate", coords, keep)
    if keep.dtype != torch.bool or keep.dim() != 1 or coords.shape[1] != 4:
        raise ValueError(f"dilate: needs coords [V, 4] and keep bool [V], got {tuple(coords.shape)} and {keep.dtype}")
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"dilate: kernel must be odd and positive, got {kernel}")
    return Dilation(*_dilate(coords, keep, kernel, grid[0], grid[1], batch_size))


def gather_max(values: Tensor, index: Tensor, offsets: Tensor) -> Tensor:
    """Maximum over `values` [V, C] rows `index` int64 [E] inside each segment of `offsets` [D + 1]: [D, C].

    With a Dilation: gather_max(features, dilation.neighbours, dilation.offsets). Differentiable in values (the first of
    equals takes the gradient); an empty segment gives 0.
    """
    checks.check_float("gather_max", "values", values, 2)
    checks.check_index("gather_max", "index", index)
    checks.check_index("gather_max", "offsets", offsets)
    checks.check_same_device("gather_max", values, index, offsets)
    return _gather_max(values, index, offsets)[0]


def _check_cells(coords: Tensor, ny: int, nx: int, batch_size: int) -> None:
    limit = torch.tensor([batch_size, 1, ny, nx], device=coords.device)
    if bool(((coords < 0) | (coords >= limit)).any()):
        raise ValueError(f"dilate: coords must lie inside {batch_size} frames of 1 x {ny} x {nx} cells")


@operator("drive_ops::dilate")
def _dilate(
    coords: Tensor, keep: Tensor, kernel: int, ny: int, nx: int, batch_size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _check_cells(coords, ny, nx, batch_size)
    return reference.dilate(coords, keep, kernel, ny, nx, batch_size)


@operator("drive_ops::gather_max")
def _gather_max(values: Tensor, index: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    checks.check_offsets("gather_max", offsets, index.shape[0])
    _check_rows_in(index, values.shape[0])
    return reference.gather_max(values, index, offsets)


@operator("drive_ops::gather_max_backward")
def _gather_max_backward(grad: Tensor, rows: Tensor, num_rows: int) -> Tensor:
    return reference.gather_max_backward(grad, rows, num_rows)


def _check_rows_in(index: Tensor, rows: int) -> None:
    if index.numel() and (int(index.min()) < 0 or int(index.max()) >= rows):
        raise ValueError(f"gather_max: index must lie in 0..{rows - 1}")


@_dilate.register_kernel("cpu")
def _(
    coords: Tensor, keep: Tensor, kernel: int, ny: int, nx: int, batch_size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _check_cells(coords, ny, nx, batch_size)
    return tensors(cpu.dilate(*arrays(coords, keep), kernel=kernel, ny=ny, nx=nx, batch_size=batch_size))


@_gather_max.register_kernel("cpu")
def _(values: Tensor, index: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    checks.check_offsets("gather_max", offsets, index.shape[0])
    _check_rows_in(index, values.shape[0])
    if values.dtype == torch.float64:
        return reference.gather_max(values, index, offsets)
    best, rows = tensors(cpu.gather_max(*arrays(values, index, offsets), threads=torch.get_num_threads()))
    return best.to(values.dtype), rows


@_gather_max_backward.register_kernel("cpu")
def _(grad: Tensor, rows: Tensor, num_rows: int) -> Tensor:
    if grad.dtype == torch.float64:
        return reference.gather_max_backward(grad, rows, num_rows)
    return tensors(cpu.gather_max_backward(*arrays(grad, rows), num_rows=num_rows, threads=torch.get_num_threads())).to(
        grad.dtype
    )


@_dilate.register_fake
def _(
    coords: Tensor, keep: Tensor, kernel: int, ny: int, nx: int, batch_size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    context = torch.library.get_ctx()
    cells, pairs = context.new_dynamic_size(), context.new_dynamic_size()
    return coords.new_empty(cells, 4), coords.new_empty(cells), coords.new_empty(pairs), coords.new_empty(cells + 1)


@_gather_max.register_fake
def _(values: Tensor, index: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    size = (offsets.shape[0] - 1, values.shape[1])
    return values.new_empty(size), index.new_empty(size)


@_gather_max_backward.register_fake
def _(grad: Tensor, rows: Tensor, num_rows: int) -> Tensor:
    return grad.new_empty(num_rows, grad.shape[1])


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.num_rows = inputs[0].shape[0]
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, grad, _):  # type: ignore[no-untyped-def]
    return _gather_max_backward(grad, ctx.saved_tensors[0], ctx.num_rows), None, None


_gather_max.register_autograd(_backward, setup_context=_save)


def _dilate_cuda(
    coords: Tensor, keep: Tensor, kernel: int, ny: int, nx: int, batch_size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _check_cells(coords, ny, nx, batch_size)
    return cuda.dilate(coords.contiguous(), keep, kernel, ny, nx, batch_size)


def _gather_max_cuda(values: Tensor, index: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    checks.check_offsets("gather_max", offsets, index.shape[0])
    _check_rows_in(index, values.shape[0])
    if values.dtype == torch.float64:
        return reference.gather_max(values, index, offsets)
    best, rows = cuda.gather_max(values.float().contiguous(), index.contiguous(), offsets.contiguous())
    return best.to(values.dtype), rows


def _register_cuda() -> None:
    _dilate.register_kernel("cuda")(_dilate_cuda)
    _gather_max.register_kernel("cuda")(_gather_max_cuda)


kernels.declare("dilate", "cpu", "numba", "dense marks; gather_max in float64 takes the torch reference")
kernels.declare_unproven_cuda("dilate", _register_cuda)
