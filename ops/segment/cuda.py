"""Host side of kernel.cu: float32 CUDA tensors in, the same results as the reference out."""

from pathlib import Path

import torch
from torch import Tensor

from ops import nvrtc

SOURCE = Path(__file__).with_name("kernel.cu")


def reduce(values: Tensor, offsets: Tensor, how: str) -> tuple[Tensor, Tensor]:
    """Rows [P, C] -> (segments [V, C], row of the maximum int64 [V, C] or [0, 0])."""
    V, C = offsets.shape[0] - 1, values.shape[1]
    out = values.new_empty(V, C)
    if how == "max":
        argmax = offsets.new_empty(V, C)
        nvrtc.launch(SOURCE, "segment_max", V * C, values, offsets, V, C, out, argmax)
        return out, argmax
    nvrtc.launch(SOURCE, "segment_sum", V * C, values, offsets, V, C, int(how == "mean"), out)
    return out, torch.empty(0, 0, dtype=torch.int64, device=values.device)


def spread(grad: Tensor, offsets: Tensor, argmax: Tensor, num_rows: int, how: str) -> Tensor:
    """Segments [V, C] -> rows [num_rows, C]: the gradient of `reduce`."""
    V, C = grad.shape
    out = grad.new_empty(num_rows, C)
    flags = int(how == "mean"), int(how == "max")
    nvrtc.launch(SOURCE, "segment_spread", V * C, grad, offsets, argmax, V, C, *flags, out)
    return out
