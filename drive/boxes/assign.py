"""Which voxel answers for which box: the centre targets of spec 1.8, for sparse voxels and dense maps alike."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from drive.voxels.grid import GridSpec


@dataclass(frozen=True)
class CentreTargets:
    """heat: float32 [T, K] in 0..1, one voxel a box with exactly 1.

    rows, boxes: int64 [M] pairs (voxel, box) to regress: voxels with heat above the threshold, each with the box that
    gives it its heat (two boxes at exactly the same heat both stay).
    num_objects: boxes that some voxel answers for; float32 scalar tensor.
    """

    heat: Tensor
    rows: Tensor
    boxes: Tensor
    num_objects: Tensor


def row_index(coords: Tensor, grid: GridSpec, batch_size: int) -> Tensor:
    """int64 [batch_size * cells + 1]: the row of each cell, -1 where it is empty; the last entry is always -1."""
    index = torch.full((batch_size * grid.num_cells + 1,), -1, dtype=torch.int64, device=coords.device)
    index[grid.key(coords)] = torch.arange(len(coords), device=coords.device)
    return index


def cells_around(
    boxes: Tensor, box_batch: Tensor, reach: int, index: Tensor, grid: GridSpec
) -> tuple[Tensor, Tensor, Tensor]:
    """The (2 reach + 1)^2 cells around each box centre: rows [N, S] (-1: empty or outside) and their offsets in metres
    from the box centre, x [N, S] and y [N, S]."""
    _, ny, nx = grid.shape
    (size_x, size_y), (low_x, low_y) = grid.cell_size, grid.range[:2]
    step = torch.arange(-reach, reach + 1, device=boxes.device)
    x = torch.floor((boxes[:, 0] - low_x) / size_x).long()[:, None] + step.repeat(2 * reach + 1)
    y = torch.floor((boxes[:, 1] - low_y) / size_y).long()[:, None] + step.repeat_interleave(2 * reach + 1)
    inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
    key = (box_batch[:, None] * ny + y) * nx + x
    rows = index[torch.where(inside, key, len(index) - 1)]
    off_x = (x.to(boxes.dtype) + 0.5) * size_x + low_x - boxes[:, :1]
    off_y = (y.to(boxes.dtype) + 0.5) * size_y + low_y - boxes[:, 1:2]
    return rows, off_x, off_y


def assign_centres(
    coords: Tensor,
    grid: GridSpec,
    batch_size: int,
    boxes: Tensor,
    box_batch: Tensor,
    labels: Tensor,
    scales: Tensor,
    regress_above: float,
) -> CentreTargets:
    """Heat h(v) = max over boxes of exp(-(|v - c| - |v_b - c|) / scale), v_b the voxel nearest the box centre c.

    Args:
        coords: int64 [T, 4] active voxels of a grid with one layer in z.
        boxes: float32 [N, >= 2], box_batch: int64 [N], labels: int64 [N] in 0..K-1.
        scales: float32 [K], metres (spec 1.8: 1.0 vehicle, 0.22 pedestrian, 0.39 cyclist) [inferred].
        regress_above: heat from which a voxel regresses its box (0.2) [recall].
    Boxes without an active voxel within 4.6 scales and 3 m (heat 0.01 around a centre 3 m away) have no target.
    """
    num_classes = len(scales)
    heat = torch.zeros(len(coords) * num_classes, device=coords.device)
    if len(coords) == 0 or len(boxes) == 0:
        nothing = torch.zeros(0, dtype=torch.int64, device=coords.device)
        return CentreTargets(heat.view(-1, num_classes), nothing, nothing, heat.new_zeros(()))
    scale = scales[labels][:, None]
    reach = math.ceil((4.6 * float(scales.max()) + 3.0) / min(grid.cell_size))
    rows, off_x, off_y = cells_around(boxes, box_batch, reach, row_index(coords, grid, batch_size), grid)
    distance = torch.where(rows >= 0, torch.hypot(off_x, off_y), math.inf)
    nearest = distance.amin(1, keepdim=True)
    found = nearest.isfinite()
    value = torch.exp(-(distance - nearest.where(found, 0)) / scale)
    box, cell = torch.nonzero(value > 0.01, as_tuple=True)
    row, value = rows[box, cell], value[box, cell]
    place = row * num_classes + labels[box]
    heat.scatter_reduce_(0, place, value, "amax")
    best = heat.view(-1, num_classes).amax(1)
    kept = (value > regress_above) & (value >= best[row])
    return CentreTargets(heat.view(-1, num_classes), row[kept], box[kept], found.sum().to(heat.dtype))


def foreground_targets(
    coords: Tensor,
    grid: GridSpec,
    batch_size: int,
    boxes: Tensor,
    box_batch: Tensor,
    labels: Tensor,
    num_classes: int,
) -> Tensor:
    """bool [T, K]: does the voxel's square overlap (separating axes) a box of the class, seen from above (spec 1.7)."""
    target = torch.zeros((len(coords), num_classes), dtype=torch.bool, device=coords.device)
    if len(coords) == 0 or len(boxes) == 0:
        return target
    half_x, half_y = grid.cell_size[0] / 2, grid.cell_size[1] / 2
    longest = float(torch.hypot(boxes[:, 3], boxes[:, 4]).amax()) / 2
    reach = math.ceil(longest / min(grid.cell_size)) + 1
    rows, x, y = cells_around(boxes, box_batch, reach, row_index(coords, grid, batch_size), grid)
    cos, sin = boxes[:, 6:7].cos(), boxes[:, 6:7].sin()
    half_l, half_w = boxes[:, 3:4] / 2, boxes[:, 4:5] / 2
    overlap = (
        (rows >= 0)
        & (x.abs() <= half_x + half_l * cos.abs() + half_w * sin.abs())
        & (y.abs() <= half_y + half_l * sin.abs() + half_w * cos.abs())
        & ((x * cos + y * sin).abs() <= half_l + half_x * cos.abs() + half_y * sin.abs())
        & ((y * cos - x * sin).abs() <= half_w + half_x * sin.abs() + half_y * cos.abs())
    )
    box, cell = torch.nonzero(overlap, as_tuple=True)
    target[rows[box, cell], labels[box]] = True
    return target
