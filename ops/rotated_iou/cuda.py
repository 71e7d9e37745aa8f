"""Host side of kernel.cu: float64 CUDA tensors."""

from pathlib import Path

import torch
from torch import Tensor

from ops import nvrtc
from ops.rotated_iou.reference import usable

SOURCE = Path(__file__).with_name("kernel.cu")


def prepare(boxes: Tensor, three_d: bool) -> tuple[Tensor, Tensor]:
    """Rows x y cos sin half_length half_width bottom top size [N, 9] of float64 boxes [N, >=7], and reach [N]."""
    x, y, z, length, width, height, yaw = boxes[:, :7].unbind(1)
    size = length * width * height if three_d else length * width
    rows = [x, y, yaw.cos(), yaw.sin(), length / 2, width / 2, z - height / 2, z + height / 2, size]
    reach = (length * length + width * width).sqrt() / 2
    return torch.stack(rows, 1), torch.where(usable(boxes, three_d), reach, -1.0)


def iou_matrix(a: Tensor, b: Tensor, three_d: bool) -> Tensor:
    """IoU [N, M] of boxes a [N, 7], b [M, 7]."""
    N, M = a.shape[0], b.shape[0]
    out = a.new_empty(N, M)
    rows_a, rows_b = prepare(a, three_d), prepare(b, three_d)
    nvrtc.launch(SOURCE, "iou_matrix", N * M, *rows_a, N, *rows_b, M, int(three_d), out)
    return out


def suppression_words(boxes: Tensor, groups: Tensor, limits: Tensor) -> Tensor:
    """Bits int64 [N, ceil(N / 64)]: box i overlaps the worse box j of its group by more than limits[i] (float64)."""
    rows, reach = prepare(boxes, False)
    N = boxes.shape[0]
    W = -(-N // 64)
    words = torch.empty(N, W, dtype=torch.int64, device=boxes.device)
    nvrtc.launch(SOURCE, "suppression_words", N * W, rows, reach, groups, limits, N, W, words)
    return words


def paired_overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Overlap [N] of rectangles a, b [N, 5] (x y length width yaw) and its gradients [N, 5]."""
    N = a.shape[0]
    area, grad_a, grad_b = a.new_empty(N), a.new_empty(N, 5), a.new_empty(N, 5)
    nvrtc.launch(SOURCE, "paired_overlap", N, a, b, N, area, grad_a, grad_b)
    return area, grad_a, grad_b


def convex_giou(a: Tensor, b: Tensor) -> Tensor:
    """GIoU [N] of boxes a, b [N, 7], pair by pair."""
    out = a.new_empty(a.shape[0])
    rows_a, rows_b = prepare(a, True), prepare(b, True)
    nvrtc.launch(SOURCE, "convex_giou", a.shape[0], *rows_a, *rows_b, a.shape[0], out)
    return out
