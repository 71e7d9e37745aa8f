"""Training targets around the centres of boxes: one call for a whole batch.

For sparse voxels: heat by the distance to a box's centre, measured from the nearest voxel, with the pairs to regress
(SWFormer, arXiv 2210.07372; spec 1.8), and which voxels a box covers (spec 1.7). For dense maps: CenterPoint's
Gaussians (arXiv 2006.11275). No gradient flows through targets.

The frame's cells are `grid` = (ny, nx) of edge `cell` = (dx, dy) metres from the corner `origin` = (x0, y0). Boxes are
float32 rows x y z length width height yaw ...; those with a number that is needed and not finite have no target.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ops import checks, kernels
from ops.arrays import arrays, tensors
from ops.centre_targets import cpu, cuda, reference
from ops.operator import operator

__all__ = ["centre_targets", "foreground_targets", "gaussian_heat"]

MOST_CELLS = 2**34


def _check(
    op: str,
    boxes: Tensor,
    box_batch: Tensor,
    labels: Tensor,
    cell: Sequence[float],
    grid: Sequence[int],
    batch_size: int,
    coords: Tensor | None = None,
) -> None:
    if boxes.dtype != torch.float32 or boxes.dim() != 2 or boxes.shape[1] < 7:
        raise ValueError(f"{op}: boxes must be float32 [N, >= 7], got {boxes.dtype} {tuple(boxes.shape)}")
    for name, tensor in (("box_batch", box_batch), ("labels", labels)):
        checks.check_index(op, name, tensor)
        checks.check_rows(op, name, tensor, boxes.shape[0])
    checks.check_same_device(op, boxes, box_batch, labels, *(() if coords is None else (coords,)))
    if coords is not None:
        checks.check_index(op, "coords", coords, 2)
        if coords.shape[1] != 4:
            raise ValueError(f"{op}: coords must be [T, 4] (batch, z, y, x), got {tuple(coords.shape)}")
    if min(cell) <= 0 or min(grid) < 1 or batch_size < 0 or batch_size * grid[0] * grid[1] > MOST_CELLS:
        raise ValueError(f"{op}: cells {cell}, grid {grid} and {batch_size} frames: all positive, under 2**34 cells")


def _check_values(op: str, box_batch: Tensor, labels: Tensor, num_classes: int, batch_size: int) -> None:
    """Reads values: inside a kernel only."""
    for name, tensor, top in (("box_batch", box_batch, batch_size), ("labels", labels, num_classes)):
        if tensor.numel() and (int(tensor.min()) < 0 or int(tensor.max()) >= top):
            raise ValueError(f"{op}: {name} must lie in 0..{top - 1}")


def _check_coords(op: str, coords: Tensor, grid: Sequence[int], batch_size: int) -> None:
    limit = torch.tensor([batch_size, 2**62, *grid], device=coords.device)
    if bool(((coords < 0) | (coords >= limit)).any()):
        raise ValueError(f"{op}: coords must lie inside {batch_size} frames of {grid[0]} x {grid[1]} cells")


def centre_targets(
    coords: Tensor,
    boxes: Tensor,
    box_batch: Tensor,
    labels: Tensor,
    scales: Tensor,
    origin: tuple[float, float],
    cell: tuple[float, float],
    grid: tuple[int, int],
    batch_size: int,
    regress_above: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Heat h(v) = max over boxes of exp(-(|v - c| - |v_b - c|) / scale), v_b the voxel nearest the box centre c.

    Args:
        coords: int64 [T, 4] (batch, z, y, x) voxels of one layer in z, each at most once.
        boxes, box_batch, labels: float32 [N, >= 7], int64 [N], int64 [N] in 0..K-1.
        scales: float32 [K], metres.
        regress_above: heat from which a voxel regresses its box.

    Returns heat float32 [T, K]; rows and boxes int64 [M], box after box: voxels with heat above the threshold and the
    box that gives them their heat (two boxes at exactly the same heat both stay); float32 scalar, the boxes that have a
    voxel within 4.6 scales and 3 m. Heat below 0.01 is 0. ValueError: dtypes, shapes, numbers out of range.
    """
    _check("centre_targets", boxes, box_batch, labels, cell, grid, batch_size, coords)
    if scales.dtype != torch.float32 or scales.dim() != 1 or scales.numel() == 0:
        raise ValueError(f"centre_targets: scales must be float32 [K], got {scales.dtype} {tuple(scales.shape)}")
    checks.check_same_device("centre_targets", boxes, scales)
    given = coords, boxes.detach(), box_batch, labels, scales
    return _centre_targets(*given, list(origin), list(cell), list(grid), batch_size, regress_above)


def foreground_targets(
    coords: Tensor,
    boxes: Tensor,
    box_batch: Tensor,
    labels: Tensor,
    num_classes: int,
    origin: tuple[float, float],
    cell: tuple[float, float],
    grid: tuple[int, int],
    batch_size: int,
) -> Tensor:
    """bool [T, K]: does the voxel's square overlap (separating axes) a box of the class, seen from above."""
    _check("foreground_targets", boxes, box_batch, labels, cell, grid, batch_size, coords)
    given = coords, boxes.detach(), box_batch, labels, num_classes
    return _foreground_targets(*given, list(origin), list(cell), list(grid), batch_size)


def gaussian_heat(
    boxes: Tensor,
    box_batch: Tensor,
    labels: Tensor,
    num_classes: int,
    origin: tuple[float, float],
    cell: tuple[float, float],
    grid: tuple[int, int],
    batch_size: int,
    overlap: float = 0.1,
    least_radius: int = 2,
) -> Tensor:
    """CenterPoint's dense heat map float32 [B, K, ny, nx]: maximum of a Gaussian around every box's cell.

    Its radius is what keeps an IoU of `overlap` (CornerNet's formula as it is in use), at least `least_radius` cells;
    sigma is a sixth of the diameter. Boxes outside the grid, or without a size, leave nothing.
    """
    _check("gaussian_heat", boxes, box_batch, labels, cell, grid, batch_size)
    if not 0 < overlap < 1 or least_radius < 0 or num_classes < 1:
        raise ValueError(
            f"gaussian_heat: overlap {overlap} must lie in 0..1, {least_radius} and {num_classes} positive"
        )
    given = boxes.detach(), box_batch, labels, num_classes, list(origin), list(cell), list(grid)
    return _gaussian_heat(*given, batch_size, overlap, least_radius)


@operator("drive_ops::centre_targets")
def _centre_targets(
    coords: Tensor,
    boxes: Tensor,
    box_batch: Tensor,
    labels: Tensor,
    scales: Tensor,
    origin: Sequence[float],
    cell: Sequence[float],
    grid: Sequence[int],
    batch_size: int,
    regress_above: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _check_values("centre_targets", box_batch, labels, len(scales), batch_size)
    _check_coords("centre_targets", coords, grid, batch_size)
    given = coords, boxes, box_batch, labels, scales, origin, cell, grid, batch_size, regress_above
    return reference.centre_targets(*given)


@operator("drive_ops::foreground_targets")
def _foreground_targets(
    coords: Tensor,
    boxes: Tensor,
    box_batch: Tensor,
    labels: Tensor,
    num_classes: int,
    origin: Sequence[float],
    cell: Sequence[float],
    grid: Sequence[int],
    batch_size: int,
) -> Tensor:
    _check_values("foreground_targets", box_batch, labels, num_classes, batch_size)
    _check_coords("foreground_targets", coords, grid, batch_size)
    given = coords, boxes, box_batch, labels, num_classes, origin, cell, grid, batch_size
    return reference.foreground_targets(*given)


@operator("drive_ops::gaussian_heat")
def _gaussian_heat(
    boxes: Tensor,
    box_batch: Tensor,
    labels: Tensor,
    num_classes: int,
    origin: Sequence[float],
    cell: Sequence[float],
    grid: Sequence[int],
    batch_size: int,
    overlap: float,
    least_radius: int,
) -> Tensor:
    _check_values("gaussian_heat", box_batch, labels, num_classes, batch_size)
    given = boxes, box_batch, labels, num_classes, origin, cell, grid, batch_size, overlap, least_radius
    return reference.gaussian_heat(*given)


@_centre_targets.register_kernel("cpu")
def _(coords, boxes, box_batch, labels, scales, origin, cell, grid, batch_size, regress_above):  # type: ignore[no-untyped-def]
    _check_values("centre_targets", box_batch, labels, len(scales), batch_size)
    size = {"origin": origin, "cell": cell, "grid": grid, "frames": batch_size}
    reach = reference.reach_of(scales, cell)
    given = arrays(coords, boxes, box_batch, labels, scales)
    *found, objects = cpu.centre_targets(*given, **size, reach=reach, above=regress_above)
    return *tensors(tuple(found)), torch.tensor(float(objects))


@_foreground_targets.register_kernel("cpu")
def _(coords, boxes, box_batch, labels, num_classes, origin, cell, grid, batch_size):  # type: ignore[no-untyped-def]
    _check_values("foreground_targets", box_batch, labels, num_classes, batch_size)
    size = {"origin": origin, "cell": cell, "grid": grid, "frames": batch_size}
    given = *arrays(coords, boxes, box_batch, labels), num_classes
    return tensors(cpu.foreground_targets(*given, **size))


@_gaussian_heat.register_kernel("cpu")
def _(boxes, box_batch, labels, num_classes, origin, cell, grid, batch_size, overlap, least_radius):  # type: ignore[no-untyped-def]
    heat = np.zeros((batch_size, num_classes, *grid), np.float32)  # fresh pages are zero: no second pass over them
    given = *arrays(boxes, box_batch, labels), *map(float, (*origin, *cell)), overlap, least_radius, heat
    if not cpu.gaussian_heat(*given):
        _check_values("gaussian_heat", box_batch, labels, num_classes, batch_size)
    return torch.from_numpy(heat)


@_centre_targets.register_fake
def _(coords, boxes, box_batch, labels, scales, origin, cell, grid, batch_size, regress_above):  # type: ignore[no-untyped-def]
    pairs = torch.library.get_ctx().new_dynamic_size()
    heat = boxes.new_empty(coords.shape[0], scales.shape[0])
    return heat, coords.new_empty(pairs), coords.new_empty(pairs), boxes.new_empty(())


@_foreground_targets.register_fake
def _(coords, boxes, box_batch, labels, num_classes, origin, cell, grid, batch_size):  # type: ignore[no-untyped-def]
    return coords.new_empty((coords.shape[0], num_classes), dtype=torch.bool)


@_gaussian_heat.register_fake
def _(boxes, box_batch, labels, num_classes, origin, cell, grid, batch_size, overlap, least_radius):  # type: ignore[no-untyped-def]
    return boxes.new_empty(batch_size, num_classes, *grid)


def _centre_targets_cuda(coords, boxes, box_batch, labels, scales, origin, cell, grid, batch_size, regress_above):  # type: ignore[no-untyped-def]
    _check_values("centre_targets", box_batch, labels, len(scales), batch_size)
    _check_coords("centre_targets", coords, grid, batch_size)
    reach = reference.reach_of(scales, cell)
    given = coords, boxes, box_batch, labels
    return cuda.centre_targets(*given, scales, origin, cell, grid, batch_size, reach, regress_above)


def _foreground_targets_cuda(coords, boxes, box_batch, labels, num_classes, origin, cell, grid, batch_size):  # type: ignore[no-untyped-def]
    _check_values("foreground_targets", box_batch, labels, num_classes, batch_size)
    _check_coords("foreground_targets", coords, grid, batch_size)
    return cuda.foreground_targets(coords, boxes, box_batch, labels, num_classes, origin, cell, grid, batch_size)


def _gaussian_heat_cuda(boxes, box_batch, labels, num_classes, origin, cell, grid, batch_size, overlap, least_radius):  # type: ignore[no-untyped-def]
    _check_values("gaussian_heat", box_batch, labels, num_classes, batch_size)
    heat = boxes.new_zeros(batch_size, num_classes, *grid)
    return cuda.gaussian_heat(boxes, box_batch, labels, origin, cell, overlap, least_radius, heat)


def _register_cuda() -> None:
    _centre_targets.register_kernel("cuda")(_centre_targets_cuda)
    _foreground_targets.register_kernel("cuda")(_foreground_targets_cuda)
    _gaussian_heat.register_kernel("cuda")(_gaussian_heat_cuda)


kernels.declare("centre_targets", "cpu", "numba", "cells around a box through a bitmap of the occupied ones")
kernels.declare_unproven_cuda("centre_targets", _register_cuda)
