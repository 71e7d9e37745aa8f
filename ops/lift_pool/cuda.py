"""Host side of kernel.cu: float32, contiguous. Nothing is added atomically."""

from pathlib import Path

from torch import Tensor

from ops import nvrtc

SOURCE = Path(__file__).with_name("kernel.cu")


def forward(
    depth: Tensor, context: Tensor, occupied: Tensor, offsets: Tensor, place: Tensor, pixel: Tensor, num_cells: int
) -> Tensor:
    """[cells, C]."""
    C = context.shape[3]
    out = context.new_zeros(num_cells, C)
    order = (t.contiguous() for t in (occupied, offsets, place, pixel))
    nvrtc.launch(SOURCE, "lift_forward", len(occupied) * C, depth, context, *order, len(occupied), C, out)
    return out


def backward(grad: Tensor, depth: Tensor, context: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of depth and context."""
    N, D, h, w = depth.shape
    C = context.shape[3]
    grad_depth, grad_context = depth.new_zeros(depth.shape), context.new_zeros(context.shape)
    nvrtc.launch(SOURCE, "lift_depth", depth.numel(), grad, context, cells, N, D, h * w, C, grad_depth)
    nvrtc.launch(SOURCE, "lift_context", N * h * w * C, grad, depth, cells, N, D, h * w, C, grad_context)
    return grad_depth, grad_context
