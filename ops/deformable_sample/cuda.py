"""Host side of kernel.cu: float32, contiguous."""

from pathlib import Path

import torch
from torch import Tensor

from ops import nvrtc

SOURCE = Path(__file__).with_name("kernel.cu")


def forward(value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    """[B, Q, M, D]."""
    out = value.new_empty(*locations.shape[:3], value.shape[3])
    given = value, *_levels(value, shapes), locations, weights, *_sizes(value, locations)
    nvrtc.launch(SOURCE, "deformable_forward", out.numel(), *given, out)
    return out


def backward(
    grad: Tensor, value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, locations, weights."""
    grads = torch.zeros_like(value), torch.zeros_like(locations), torch.zeros_like(weights)
    given = grad, value, *_levels(value, shapes), locations, weights, *_sizes(value, locations)
    nvrtc.launch(SOURCE, "deformable_backward", weights.numel(), *given, *grads)
    return grads


def _levels(value: Tensor, shapes: list[int]) -> tuple[Tensor, Tensor]:
    levels = torch.tensor(shapes, dtype=torch.int64).reshape(-1, 2)
    sizes = levels.prod(1)
    return levels.to(value.device), (sizes.cumsum(0) - sizes).to(value.device)


def _sizes(value: Tensor, locations: Tensor) -> tuple[int, ...]:
    B, Q, M, L, K, _ = locations.shape
    return B, Q, value.shape[1], M, L, K, value.shape[3]
