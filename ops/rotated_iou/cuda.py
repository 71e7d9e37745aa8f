"""Host side of kernel.cu: float64 CUDA tensors."""

from pathlib import Path

from torch import Tensor

from ops import nvrtc

SOURCE = Path(__file__).with_name("kernel.cu")


def iou_matrix(a: Tensor, b: Tensor, three_d: bool) -> Tensor:
    """IoU [N, M] of boxes a [N, 7], b [M, 7]."""
    N, M = a.shape[0], b.shape[0]
    out = a.new_empty(N, M)
    nvrtc.launch(SOURCE, "iou_matrix", N * M, a, N, b, M, int(three_d), out)
    return out


def paired_overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Overlap [N] of rectangles a, b [N, 5] (x y length width yaw) and its gradients [N, 5]."""
    N = a.shape[0]
    area, grad_a, grad_b = a.new_empty(N), a.new_empty(N, 5), a.new_empty(N, 5)
    nvrtc.launch(SOURCE, "paired_overlap", N, a, b, N, area, grad_a, grad_b)
    return area, grad_a, grad_b
