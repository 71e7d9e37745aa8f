"""Centre and foreground targets in plain torch, and the heat map's loop over boxes: the specification."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LEAST_HEAT = 0.01  # below, a voxel has no heat
SEARCH_M = 3.0  # how far from its centre a box may look for its nearest voxel, plus the reach of its heat


def reach_of(scales: Tensor, cell: Sequence[float]) -> int:
    """Cells around a box's centre that can hold heat: 4.6 scales (heat 0.01) around a voxel 3 m away."""
    if not bool((scales > 0).all() & scales.isfinite().all()):
        raise ValueError(f"centre_targets: scales must be positive and finite, got {scales.tolist()}")
    return math.ceil((4.6 * float(scales.max()) + SEARCH_M) / min(cell))


def cells_around(
    coords: Tensor,
    boxes: Tensor,
    box_batch: Tensor,
    reach: int,
    origin: Sequence[float],
    cell: Sequence[float],
    grid: Sequence[int],
    batch_size: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The (2 reach + 1)^2 cells around each box centre: rows [N, S] (-1: empty or outside) and their offsets in metres
    from the box centre, x [N, S] and y [N, S]."""
    ny, nx = grid
    index = torch.full((batch_size * ny * nx + 1,), -1, dtype=torch.int64, device=coords.device)
    index[(coords[:, 0] * ny + coords[:, 2]) * nx + coords[:, 3]] = torch.arange(len(coords), device=coords.device)
    step = torch.arange(-reach, reach + 1, device=boxes.device)
    finite = boxes[:, :2].isfinite().all(1, keepdim=True)
    place = torch.where(finite, boxes[:, :2], -1e6)
    x = torch.floor((place[:, 0] - origin[0]) / cell[0]).long()[:, None] + step.repeat(2 * reach + 1)
    y = torch.floor((place[:, 1] - origin[1]) / cell[1]).long()[:, None] + step.repeat_interleave(2 * reach + 1)
    inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny) & finite
    key = (box_batch[:, None] * ny + y) * nx + x
    rows = index[torch.where(inside, key, len(index) - 1)]
    off_x = (x.to(boxes.dtype) + 0.5) * cell[0] + origin[0] - place[:, :1]
    off_y = (y.to(boxes.dtype) + 0.5) * cell[1] + origin[1] - place[:, 1:2]
    return rows, off_x, off_y


def centre_targets(
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
    """See ops.centre_targets.centre_targets: (heat [T, K], rows [M], boxes [M], number of boxes with a voxel)."""
    num_classes = len(scales)
    heat = torch.zeros(len(coords) * num_classes, device=coords.device)
    if len(coords) == 0 or len(boxes) == 0:
        nothing = torch.zeros(0, dtype=torch.int64, device=coords.device)
        return heat.view(-1, num_classes), nothing, nothing.clone(), heat.new_zeros(())
    scale = scales[labels][:, None]
    around = reach_of(scales, cell), origin, cell, grid, batch_size
    rows, off_x, off_y = cells_around(coords, boxes, box_batch, *around)
    distance = torch.where(rows >= 0, torch.hypot(off_x, off_y), math.inf)
    nearest = distance.amin(1, keepdim=True)
    found = nearest.isfinite()
    value = torch.exp(-(distance - nearest.where(found, 0)) / scale)
    box, place = torch.nonzero(value > LEAST_HEAT, as_tuple=True)
    row, value = rows[box, place], value[box, place]
    heat.scatter_reduce_(0, row * num_classes + labels[box], value, "amax")
    best = heat.view(-1, num_classes).amax(1)
    kept = (value > regress_above) & (value >= best[row])
    return heat.view(-1, num_classes), row[kept], box[kept], found.sum().to(heat.dtype)


def foreground_targets(
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
    """See ops.centre_targets.foreground_targets: bool [T, K]."""
    target = torch.zeros((len(coords), num_classes), dtype=torch.bool, device=coords.device)
    if len(coords) == 0 or len(boxes) == 0:
        return target
    half_x, half_y = cell[0] / 2, cell[1] / 2
    longest = torch.hypot(boxes[:, 3], boxes[:, 4])
    reach = min(math.ceil(_most(longest) / 2 / min(cell)) + 1, max(grid))
    rows, x, y = cells_around(coords, boxes, box_batch, reach, origin, cell, grid, batch_size)
    cos, sin = boxes[:, 6:7].cos(), boxes[:, 6:7].sin()
    half_l, half_w = boxes[:, 3:4] / 2, boxes[:, 4:5] / 2
    overlap = (
        (rows >= 0)
        & boxes[:, [3, 4, 6]].isfinite().all(1, keepdim=True)
        & (x.abs() <= half_x + half_l * cos.abs() + half_w * sin.abs())
        & (y.abs() <= half_y + half_l * sin.abs() + half_w * cos.abs())
        & ((x * cos + y * sin).abs() <= half_l + half_x * cos.abs() + half_y * sin.abs())
        & ((y * cos - x * sin).abs() <= half_w + half_x * sin.abs() + half_y * cos.abs())
    )
    box, place = torch.nonzero(overlap, as_tuple=True)
    target[rows[box, place], labels[box]] = True
    return target


def _most(values: Tensor) -> float:
    finite = values[values.isfinite()]
    return float(finite.max()) if len(finite) else 0.0


def gaussian_radius(length: float, width: float, overlap: float) -> float:
    """Largest shift of a box's corners that keeps an IoU of `overlap`, as CornerNet's code has it (its second and third
    roots divide by 2 whatever the leading coefficient is; CenterPoint and its kin train with that)."""
    total = length + width
    first = (total + math.sqrt(total * total - 4 * length * width * (1 - overlap) / (1 + overlap))) / 2
    second = (2 * total + math.sqrt(4 * total * total - 16 * (1 - overlap) * length * width)) / 2
    b, c = -2 * overlap * total, (overlap - 1) * length * width
    third = (b + math.sqrt(b * b - 16 * overlap * c)) / 2
    return min(first, second, third)


def gaussian_heat(
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
    """See ops.centre_targets.gaussian_heat: float32 [B, K, ny, nx]; a loop over boxes."""
    ny, nx = grid
    heat = torch.zeros(batch_size, num_classes, ny, nx)
    for (x, y, _, length, width, *_), frame, label in zip(
        boxes.double().tolist(), box_batch.tolist(), labels.tolist(), strict=True
    ):
        at_x, at_y = (x - origin[0]) / cell[0], (y - origin[1]) / cell[1]
        length, width = length / cell[0], width / cell[1]
        if not (length > 0 and width > 0 and 0 <= at_x < nx and 0 <= at_y < ny) or math.inf in (length, width):
            continue
        radius = max(least_radius, int(min(gaussian_radius(length, width, overlap), 1e6)))
        i, j, sigma = int(at_x), int(at_y), (2 * radius + 1) / 6
        rows = torch.arange(max(j - radius, 0), min(j + radius, ny - 1) + 1)
        columns = torch.arange(max(i - radius, 0), min(i + radius, nx - 1) + 1)
        square = (rows[:, None] - j).double() ** 2 + (columns - i).double() ** 2
        patch = heat[frame, label, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        torch.maximum(patch, torch.exp(-square / (2 * sigma * sigma)).float(), out=patch)
    return heat.to(boxes.device)
