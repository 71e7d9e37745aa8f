"""Host side of kernel.cu: every box's square of cells at once; the pairs are picked by torch afterwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ops import nvrtc
from ops.centre_targets import reference

SOURCE = Path(__file__).with_name("kernel.cu")


def _row_at(coords: Tensor, grid: Sequence[int], frames: int) -> Tensor:
    ny, nx = grid
    row_at = torch.full((frames * ny * nx,), -1, dtype=torch.int32, device=coords.device)
    row_at[(coords[:, 0] * ny + coords[:, 2]) * nx + coords[:, 3]] = torch.arange(
        len(coords), dtype=torch.int32, device=coords.device
    )
    return row_at


def centre_targets(
    coords: Tensor,
    boxes: Tensor,
    box_batch: Tensor,
    labels: Tensor,
    scales: Tensor,
    origin: Sequence[float],
    cell: Sequence[float],
    grid: Sequence[int],
    frames: int,
    reach: int,
    above: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(heat [T, K], rows [M], boxes [M], boxes with a voxel)."""
    N, K, S = boxes.shape[0], scales.shape[0], (2 * reach + 1) ** 2
    boxes, box_batch, labels = (t.contiguous() for t in (boxes, box_batch, labels))
    heat, nearest = boxes.new_zeros(coords.shape[0], K), boxes.new_empty(N)
    rows, values = labels.new_empty(N, S), boxes.new_empty(N, S)
    frame, row_at = boxes.new_tensor([*origin, *cell]), _row_at(coords, grid, frames)
    around = reach, frame, *grid, row_at
    nvrtc.launch(SOURCE, "centre_nearest", N, boxes, box_batch, N, boxes.shape[1], *around, nearest)
    given = boxes, box_batch, labels, scales.contiguous(), N, boxes.shape[1], K
    nvrtc.launch(SOURCE, "centre_heat", N * S, *given, *around, nearest, heat, rows, values)
    box, place = torch.nonzero(values > max(above, 0.0), as_tuple=True)
    row, value = rows[box, place], values[box, place]
    kept = value >= heat.amax(1)[row] if coords.shape[0] else value > 0
    return heat, row[kept], box[kept], nearest.isfinite().sum().to(heat.dtype)


def foreground_targets(
    coords: Tensor,
    boxes: Tensor,
    box_batch: Tensor,
    labels: Tensor,
    num_classes: int,
    origin: Sequence[float],
    cell: Sequence[float],
    grid: Sequence[int],
    frames: int,
) -> Tensor:
    """bool [T, K]."""
    boxes, N = boxes.contiguous(), boxes.shape[0]
    longest = reference._most(torch.hypot(boxes[:, 3], boxes[:, 4]))
    reach = min(math.ceil(longest / 2 / min(cell)) + 1, max(grid))
    target = torch.zeros(coords.shape[0], num_classes, dtype=torch.uint8, device=coords.device)
    given = boxes, box_batch.contiguous(), labels.contiguous(), N, boxes.shape[1], num_classes, reach
    place = boxes.new_tensor([*origin, *cell]), *grid, _row_at(coords, grid, frames)
    nvrtc.launch(SOURCE, "centre_foreground", N * (2 * reach + 1) ** 2, *given, *place, target)
    return target.bool()


def gaussian_heat(
    boxes: Tensor,
    box_batch: Tensor,
    labels: Tensor,
    origin: Sequence[float],
    cell: Sequence[float],
    overlap: float,
    least_radius: int,
    heat: Tensor,
) -> Tensor:
    """Writes into heat [B, K, ny, nx] and returns it."""
    boxes, N = boxes.contiguous(), boxes.shape[0]
    frame = torch.tensor([*origin, *cell, overlap], dtype=torch.float64, device=boxes.device)
    given = boxes, box_batch.contiguous(), labels.contiguous(), N, boxes.shape[1], heat.shape[1], frame
    nvrtc.launch(SOURCE, "centre_gaussian", N, *given, *heat.shape[2:], least_radius, heat)
    return heat
