"""Host side of kernel.cu: float64 CUDA tensors."""

from pathlib import Path

import torch
from torch import Tensor

from ops import nvrtc

SOURCE = Path(__file__).with_name("kernel.cu")


def pairs(a: Tensor, b: Tensor) -> Tensor:
    """Row by row: bool [N]."""
    out = torch.empty(a.shape[0], dtype=torch.uint8, device=a.device)
    nvrtc.launch(SOURCE, "pairs", a.shape[0], a, b, a.shape[0], out)
    return out.bool()


def over_time(proposals: Tensor, agents: Tensor, valid: Tensor) -> Tensor:
    """bool [P, T, A]."""
    P, (T, A) = proposals.shape[0], valid.shape
    out = torch.empty(P, T, A, dtype=torch.uint8, device=valid.device)
    seen = valid.to(torch.uint8).contiguous()
    nvrtc.launch(SOURCE, "over_time", P * T * A, proposals, agents, seen, P * T * A, T, A, out)
    return out.bool()
