"""Depth of image cells, as lidar measured it: an input of the lift, its teacher, or both."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drive.features.pillars import conv_block
from ops.camera_sample import Pairs

DEPTH_CHANNELS = 64


@dataclass(frozen=True)
class DepthBins:
    """Depths start, start + step, ... below stop, metres along the optical axis.

    The value of a bin is where the lift puts it; the bin holds what lies within half a step of its value.
    """

    start: float = 1.0
    stop: float = 60.0
    step: float = 0.5

    def __post_init__(self) -> None:
        if not (self.start > 0 and self.step > 0 and self.stop > self.start):
            raise ValueError(f"depth bins from {self.start} to {self.stop} m by {self.step} m are none")

    @property
    def count(self) -> int:
        return max(1, round((self.stop - self.start) / self.step))

    def values(self) -> Tensor:
        """float64 [D] metres."""
        return self.start + self.step * torch.arange(self.count, dtype=torch.float64)

    def index(self, depth: Tensor) -> Tensor:
        """int64 bin of each depth, -1 outside all bins (NaN too)."""
        at = ((depth.double() - self.start) / self.step + 0.5).floor()
        inside = (at >= 0) & (at < self.count)
        return torch.where(inside, at, -1.0).long()


def nearest_depth(pairs: Pairs, cameras: int, size: tuple[int, int]) -> Tensor:
    """float32 [cameras, h, w]: depth in metres of the nearest point in each cell of maps of size (h, w), 0 without.

    The maps cover the images: size is the images' own (pixels) or a feature map's.
    """
    h, w = size
    column, row = ((pairs.place * pairs.place.new_tensor([w, h])).long().clamp_(min=0)).unbind(1)
    cell = (pairs.camera * h + row.clamp_(max=h - 1)) * w + column.clamp_(max=w - 1)
    out = torch.full((cameras * h * w,), torch.inf, device=cell.device)
    out = out.scatter_reduce(0, cell, pairs.depth, "amin")
    return torch.where(out.isinf(), 0.0, out).view(cameras, h, w)


def depth_targets(nearest: Tensor, bins: DepthBins) -> Tensor:
    """int64 [N, h, w]: the bin that lidar saw in each cell (of `nearest_depth`), -1 where none."""
    return bins.index(nearest)


def one_hot_depth(targets: Tensor, bins: DepthBins) -> Tensor:
    """float32 [N, D, h, w]: all of a cell's weight at the depth that lidar saw; zeros where it saw none."""
    known = F.one_hot(targets.clamp(min=0), bins.count).movedim(3, 1).float()
    return known * (targets >= 0)[:, None]


def depth_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy of depth logits [N, D, h, w] over the cells that have a target; 0 without any."""
    total = F.cross_entropy(logits.float(), targets, ignore_index=-1, reduction="sum")
    return total / (targets >= 0).sum().clamp(min=1)


class DepthEncoder(nn.Module):
    """Sparse depth map [N, 1, H, W] -> [N, 64, H / stride, W / stride] (DepthLSS, code: bevfusion).

    Three convolutions: 1 to 8 channels (1 x 1), to 32 (5 x 5, stride 4), to 64 (5 x 5, what is left of the stride).
    Depths come in units of scale_m, so that half precision holds [inferred].
    """

    def __init__(self, stride: int, scale_m: float) -> None:
        super().__init__()
        if stride % 4:
            raise ValueError(f"depth from lidar needs image features at a stride that 4 divides, not {stride}")
        self.scale_m = scale_m
        self.convs = nn.Sequential(
            conv_block(1, 8, 1), conv_block(8, 32, 5, 4), conv_block(32, DEPTH_CHANNELS, 5, stride // 4)
        )

    def forward(self, depth: Tensor) -> Tensor:
        return self.convs(depth / self.scale_m)
