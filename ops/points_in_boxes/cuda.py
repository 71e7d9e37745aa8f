"""Host side of kernel.cu."""

from pathlib import Path

import torch
from torch import Tensor

from ops import nvrtc

SOURCE = Path(__file__).with_name("kernel.cu")


def points_in_boxes(points: Tensor, point_batch: Tensor, boxes: Tensor, box_batch: Tensor) -> tuple[Tensor, Tensor]:
    """(first box of every point or -1, points of every box)."""
    boxes = boxes[:, :7].double().contiguous()
    turn = torch.stack([boxes[:, 6].cos(), boxes[:, 6].sin()], 1)
    usable = boxes.isfinite().all(1).to(torch.uint8)
    first = torch.empty_like(point_batch)
    counts = torch.zeros(boxes.shape[0], dtype=torch.int64, device=boxes.device)
    defines = (("REAL", "double" if points.dtype == torch.float64 else "float"),)
    given = points, point_batch, points.shape[0], points.shape[1], boxes, box_batch, turn, usable, boxes.shape[0]
    nvrtc.launch(SOURCE, "points_in_boxes", points.shape[0], *given, first, counts, defines=defines)
    return first, counts
