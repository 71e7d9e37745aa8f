"""Lift pooling: image features spread along their rays by depth probability and summed in bird's-eye cells.

Lift-Splat (arXiv 2008.05711) with BEVFusion's interval reduction (arXiv 2205.13542, section 3.2): frustum places are
sorted by cell once (`plan_lift`); the caller keeps the plan while calibration and augmentation stay; then every cell
adds its own interval. The product of depth and context is never stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ops import checks, kernels
from ops.arrays import array, arrays, tensors
from ops.camera_sample.cameras import Cameras
from ops.lift_pool import cpu, cuda, reference
from ops.lift_pool.geometry import frustum_cells, frustum_places, grid_shape
from ops.operator import operator

__all__ = ["LiftPlan", "frustum_cells", "frustum_places", "lift_pool", "plan_cameras", "plan_lift"]


@dataclass(frozen=True, eq=False)
class LiftPlan:
    """Which frustum places fall into which cell. Made by `plan_lift` or `plan_cameras`; kept for a calibration."""

    cells: Tensor
    """int64 [N, D, h, w]: cell of every frustum place, -1 where none."""
    occupied: Tensor
    """int64 [I]: cells that any place falls into, ascending."""
    offsets: Tensor
    """int64 [I + 1]: cell occupied[i] gathers place[offsets[i]:offsets[i + 1]]."""
    place: Tensor
    """int64 [K]: flat frustum places, cell after cell, ascending inside a cell."""
    pixel: Tensor
    """int64 [K]: the flat pixel (n, y, x) of each place."""
    grid: tuple[int, int, int, int]
    """(frames, nz, ny, nx)."""

    def to(self, device: torch.device | str) -> "LiftPlan":
        """The same plan on another device."""
        moved = {name: getattr(self, name).to(device) for name in ("cells", "occupied", "offsets", "place", "pixel")}
        return replace(self, **moved)


def plan_lift(cells: Tensor, grid: tuple[int, int, int, int]) -> LiftPlan:
    """Plan for `cells` int64 [N, D, h, w], each -1 or below frames * nz * ny * nx of `grid` = (frames, nz, ny, nx).

    ValueError: dtype, a cell outside the grid.
    """
    checks.check_index("lift_pool", "cells", cells, 4)
    if cells.is_meta:
        raise ValueError("lift_pool: a plan needs the values of cells, which a tensor on 'meta' does not have")
    if len(grid) != 4 or min(grid) < 0:
        raise ValueError(f"lift_pool: grid must be (frames, nz, ny, nx), got {grid}")
    frames, nz, ny, nx = grid
    count = frames * nz * ny * nx
    if cells.numel() and (int(cells.min()) < -1 or int(cells.max()) >= count):
        raise ValueError(f"lift_pool: cells must lie in -1..{count - 1} for the grid {grid}")
    occupied, offsets, place, pixel = (t.to(cells.device) for t in tensors(cpu.plan(array(cells.cpu()), count)))
    return LiftPlan(cells.contiguous(), occupied, offsets, place, pixel, (frames, nz, ny, nx))


def plan_cameras(
    cameras: Cameras,
    depths: Tensor,
    size: tuple[int, int],
    point_range: Sequence[float],
    cell_size: Sequence[float],
) -> LiftPlan:
    """Plan for a rig of cameras (ops.camera_sample): `depths` [D] metres, `size` = (h, w) of the feature maps.

    `point_range` = (x0, y0, z0, x1, y1, z1), `cell_size` = (dx, dy, dz) in ego metres, as in ops.voxelize.
    """
    cells = frustum_cells(cameras, depths, size, point_range, cell_size)
    return plan_lift(cells, (cameras.frames, *grid_shape(point_range, cell_size)))


def lift_pool(depth: Tensor, context: Tensor, plan: LiftPlan) -> Tensor:
    """Bird's-eye map [frames, nz * C, ny, nx] of `depth` [N, D, h, w] and `context` [N, C, h, w].

    `depth` is usually a softmax over D. Layers of z follow each other in the channels (BEVFusion's collapse). The
    result is channels_last in memory where nz = 1. Fastest where context is channels_last too. Differentiable in
    depth and context. ValueError: dtypes, shapes that do not fit the plan, float64 beside another type.
    """
    op = "lift_pool"
    checks.check_float(op, "depth", depth, 4)
    checks.check_float(op, "context", context, 4)
    checks.check_same_device(op, depth, context, plan.cells)
    N, _, h, w = depth.shape
    if depth.shape != plan.cells.shape or (context.shape[0], *context.shape[2:]) != (N, h, w):
        raise ValueError(
            f"{op}: a plan of {tuple(plan.cells.shape)} needs depth of that shape and context [{N}, C, {h}, {w}], got "
            f"{tuple(depth.shape)} and {tuple(context.shape)}"
        )
    if (depth.dtype == torch.float64) != (context.dtype == torch.float64):
        raise ValueError(f"{op}: float64 goes with float64 only, got {depth.dtype} and {context.dtype}")
    frames, nz, ny, nx = plan.grid
    order = plan.occupied, plan.offsets, plan.place, plan.pixel
    out = _lift_pool(depth, context.permute(0, 2, 3, 1), plan.cells, *order, frames * nz * ny * nx)
    return out.reshape(frames, nz, ny, nx, -1).permute(0, 1, 4, 2, 3).flatten(1, 2)


@operator("drive_ops::lift_pool")
def _lift_pool(
    depth: Tensor,
    context: Tensor,
    cells: Tensor,
    occupied: Tensor,
    offsets: Tensor,
    place: Tensor,
    pixel: Tensor,
    num_cells: int,
) -> Tensor:
    return reference.lift_pool(depth, context, cells, num_cells)


@operator("drive_ops::lift_pool_backward")
def _lift_pool_backward(grad: Tensor, depth: Tensor, context: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    return reference.lift_pool_backward(grad, depth, context, cells)


@_lift_pool.register_kernel("cpu")
def _(
    depth: Tensor,
    context: Tensor,
    cells: Tensor,
    occupied: Tensor,
    offsets: Tensor,
    place: Tensor,
    pixel: Tensor,
    num_cells: int,
) -> Tensor:
    if context.dtype == torch.float64:
        return reference.lift_pool(depth, context, cells, num_cells)
    given = arrays(depth, context, occupied, offsets, place, pixel)
    return tensors(cpu.forward(*given, num_cells=num_cells, threads=torch.get_num_threads())).to(context.dtype)


@_lift_pool_backward.register_kernel("cpu")
def _(grad: Tensor, depth: Tensor, context: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    if context.dtype == torch.float64:
        return reference.lift_pool_backward(grad, depth, context, cells)
    given = arrays(grad, depth, context, cells)
    grad_depth, grad_context = tensors(cpu.backward(*given, threads=torch.get_num_threads()))
    return grad_depth.to(depth.dtype), grad_context.to(context.dtype)


@_lift_pool.register_fake
def _(
    depth: Tensor,
    context: Tensor,
    cells: Tensor,
    occupied: Tensor,
    offsets: Tensor,
    place: Tensor,
    pixel: Tensor,
    num_cells: int,
) -> Tensor:
    return context.new_empty(num_cells, context.shape[3])


@_lift_pool_backward.register_fake
def _(grad: Tensor, depth: Tensor, context: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    return depth.new_empty(depth.shape), context.new_empty(context.shape)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*inputs[:3])


def _backward(ctx, grad):  # type: ignore[no-untyped-def]
    return (*_lift_pool_backward(grad, *ctx.saved_tensors), None, None, None, None, None, None)


_lift_pool.register_autograd(_backward, setup_context=_save)


def _forward_cuda(
    depth: Tensor,
    context: Tensor,
    cells: Tensor,
    occupied: Tensor,
    offsets: Tensor,
    place: Tensor,
    pixel: Tensor,
    num_cells: int,
) -> Tensor:
    if context.dtype == torch.float64:
        return reference.lift_pool(depth, context, cells, num_cells)
    given = depth.float().contiguous(), context.float().contiguous(), occupied, offsets, place, pixel
    return cuda.forward(*given, num_cells).to(context.dtype)


def _backward_cuda(grad: Tensor, depth: Tensor, context: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    if context.dtype == torch.float64:
        return reference.lift_pool_backward(grad, depth, context, cells)
    g, d, f = (t.float().contiguous() for t in (grad, depth, context))
    grad_depth, grad_context = cuda.backward(g, d, f, cells.contiguous())
    return grad_depth.to(depth.dtype), grad_context.to(context.dtype)


def _register_cuda() -> None:
    _lift_pool.register_kernel("cuda")(_forward_cuda)
    _lift_pool_backward.register_kernel("cuda")(_backward_cuda)


kernels.declare("lift_pool", "cpu", "numba", "float32 and half types; float64 takes the torch reference")
kernels.declare_unproven_cuda("lift_pool", _register_cuda)
