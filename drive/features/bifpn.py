"""BiFPN (EfficientDet, Tan et al. 2020): repeated top-down and bottom-up passes with learned weights at every sum.

Up to level 9 (stride 512) as in ESeg. Numbers recalled from the papers: D0 has 64 channels and 3 repeats, D4 224 and 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drive.features.fpn import MapNorm, conv_or_norm, halve, upsample_like


@dataclass(frozen=True)
class BiFPNConfig:
    """repeats: passes down and up. coarsest: stride of the coarsest level that is joined, at least that of the maps
    that come out: 128 is level 7 (EfficientDet), 512 level 9 (ESeg)."""

    repeats: int = 3
    coarsest: int = 128


class Node(nn.Module):
    """Maps of one size -> one: the weighted mean with w = relu(weight), SiLU, separable 3x3 convolution, norm."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(inputs))
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = MapNorm(channels)

    def forward(self, *maps: Tensor) -> Tensor:
        weight = F.relu(self.weight)
        shares = (weight / (weight.sum() + 1e-4)).to(maps[0].dtype)  # fast normalised fusion
        x = sum((share * x for share, x in zip(shares, maps, strict=True)), start=maps[0].new_zeros(()))
        return self.norm(self.pointwise(self.depthwise(F.silu(x))))


class Pass(nn.Module):
    """One pass over L maps, fine to coarse: down to the finest, then up again with a skip from each level's input.

    Nodes of a single input (the coarsest on the way down, the finest on the way up) are removed, as published.
    """

    def __init__(self, levels: int, channels: int, wanted: int) -> None:
        """wanted: how many of the finest levels the next pass, or the caller, uses; the others get no nodes."""
        super().__init__()
        self.levels = levels
        self.down = nn.ModuleList(Node(2, channels) for _ in range(levels - 1))
        self.up = nn.ModuleList(Node(3 if i < levels - 1 else 2, channels) for i in range(1, wanted))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        down = list(maps)
        for i in range(self.levels - 2, -1, -1):
            down[i] = self.down[i](maps[i], upsample_like(down[i + 1], maps[i]))
        out = [down[0]]
        for i, node in enumerate(self.up, 1):
            finer = halve(out[-1])
            out.append(node(maps[i], finer) if i == self.levels - 1 else node(maps[i], down[i], finer))
        return out


class BiFPN(nn.Module):
    """Maps of doubling strides -> those of out_strides, all of one width."""

    def __init__(
        self,
        config: BiFPNConfig,
        inputs: Sequence[int],
        strides: Sequence[int],
        out_strides: Sequence[int],
        channels: int,
    ) -> None:
        """inputs, strides: channels and stride of each map that comes in, fine to coarse. ValueError where the coarsest
        level is finer than a map that comes out, or nothing is left to join."""
        super().__init__()
        levels = [strides[0] * 2**i for i in range((config.coarsest // strides[0]).bit_length())]
        if len(levels) < 2 or levels[-1] < max(*out_strides, *strides):
            what = f"joins strides {strides[0]} to {config.coarsest}"
            raise ValueError(f"a BiFPN that {what} cannot take {tuple(strides)} and give {tuple(out_strides)}")
        self.take = [levels.index(s) for s in out_strides]
        self.laterals = nn.ModuleList(conv_or_norm(width, channels, 1, norm=True) for width in inputs)
        self.pooled = len(levels) - len(strides)  # levels that the backbone lacks, made from its coarsest map
        self.enter = conv_or_norm(inputs[-1], channels, 1, norm=True) if self.pooled else None
        self.passes = nn.ModuleList(
            Pass(len(levels), channels, len(levels) if i < config.repeats - 1 else self.take[-1] + 1)
            for i in range(config.repeats)
        )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        levels = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        if self.enter is not None:
            levels.append(halve(self.enter(maps[-1])))
            for _ in range(self.pooled - 1):
                levels.append(halve(levels[-1]))
        for step in self.passes:
            levels = step(levels)
        return tuple(levels[i] for i in self.take)
