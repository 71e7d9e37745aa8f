"""Host side of kernel.cu. The gradients, and the two-layer net, stay with the reference: matrix products of torch."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ops import nvrtc

SOURCE = Path(__file__).with_name("kernel.cu")


def pillar_max(features: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """(maximum [V, C], its row int32 [V, C], -1 where it is 0) of contiguous float32 tensors."""
    V, (K, C) = offsets.shape[0] - 1, weight.shape
    out, where = features.new_empty(V, C), torch.empty(V, C, dtype=torch.int32, device=features.device)
    given = features, offsets, weight, bias, int(bias.dim() == 2), V, K, C
    nvrtc.launch(SOURCE, "pillar_max", V * C, *given, out, where)
    return out, where
