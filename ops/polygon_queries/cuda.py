"""Host side of kernel.cu: contiguous float64 CUDA tensors."""

from pathlib import Path

import torch
from torch import Tensor

from ops import nvrtc

SOURCE = Path(__file__).with_name("kernel.cu")


def corners_inside(points: Tensor, vertices: Tensor, rings: Tensor, polygons: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See reference.corners_inside."""
    N, C = points.shape[:2]
    any_of, all_of, touched = rings.new_empty(N), rings.new_empty(N), rings.new_empty(N)
    given = points, N, C, vertices, rings, polygons, polygons.numel() - 1
    nvrtc.launch(SOURCE, "corners_inside", N, *given, any_of, all_of, touched)
    return any_of, all_of, touched


def nearest(points: Tensor, vertices: Tensor, lines: Tensor) -> tuple[Tensor, Tensor]:
    """See reference.nearest."""
    N = points.shape[0]
    line_of = torch.repeat_interleave(torch.arange(lines.numel() - 1, device=lines.device), lines.diff())
    first = (line_of[1:] == line_of[:-1]).nonzero()[:, 0]
    segment, share = lines.new_empty(N), points.new_empty(N)
    nvrtc.launch(SOURCE, "nearest", N, points, N, vertices, first, first.numel(), segment, share)
    return segment, share
