"""Normalisation of ragged rows."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RowNorm(nn.Module):
    """Batch or layer normalisation of rows [R, C], for any R, 0 and 1 included.

    "batch" has the published code's eps 1e-3 (SST, FlatFormer, OpenPCDet); its momentum is 0.05 in place of 0.01,
    because short trainings must settle the running statistics. With fewer than two rows a batch has no variance:
    the running statistics are used and stay as they are.
    """

    def __init__(self, channels: int, kind: Literal["batch", "layer"], momentum: float = 0.05) -> None:
        super().__init__()
        self.kind = kind
        self.norm: nn.Module = (
            nn.BatchNorm1d(channels, eps=1e-3, momentum=momentum) if kind == "batch" else nn.LayerNorm(channels)
        )

    def affine(self) -> tuple[Tensor, Tensor] | None:
        """(scale, shift), each [channels], where the norm is a fixed scale and shift of every row: batch norm outside
        training. None where it depends on the rows (batch norm in training, layer norm)."""
        norm = self.norm
        if not isinstance(norm, nn.BatchNorm1d) or norm.training:
            return None
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        return scale, norm.bias - norm.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        if isinstance(norm, nn.BatchNorm1d) and self.training and len(x) < 2:
            return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)
        return norm(x)
