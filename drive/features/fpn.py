"""Feature pyramid necks: the additive one of the detectors, and the concatenating one of BEVFusion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MapNorm(nn.BatchNorm2d):
    """Batch normalisation of maps [N, C, H, W]; a single cell has no variance: the running statistics are used."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, momentum=0.05)  # short trainings must settle the running statistics

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] < 2:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


def conv_or_norm(inputs: int, outputs: int, kernel: int, norm: bool) -> nn.Sequential:
    """Convolution of one size with a bias, or with batch norm in its place."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=not norm)
    return nn.Sequential(conv, MapNorm(outputs)) if norm else nn.Sequential(conv)


def upsample_like(x: Tensor, target: Tensor, mode: str = "nearest") -> Tensor:
    """x2, cut to the target's size: a cell stays over the pixels that it came from, at odd sizes too."""
    smooth = {} if mode == "nearest" else {"align_corners": False}
    return F.interpolate(x, scale_factor=2.0, mode=mode, **smooth)[:, :, : target.shape[2], : target.shape[3]]


def halve(x: Tensor) -> Tensor:
    """Maximum of 3 x 3, stride 2: a map of ceil(size / 2)."""
    return F.max_pool2d(x, 3, 2, 1)


class FPN(nn.Module):
    """Maps of doubling strides -> those of out_strides, of one width (Lin et al. 2017): 1x1 lateral, top-down sum,
    3x3 smoothing. Levels that the backbone lacks are made from the coarsest by pooling."""

    def __init__(
        self, inputs: Sequence[int], strides: Sequence[int], out_strides: Sequence[int], channels: int, norm: bool
    ) -> None:
        """inputs, strides: channels and stride of each map that comes in, fine to coarse."""
        super().__init__()
        self.strides, self.out_strides = tuple(strides), tuple(out_strides)
        self.laterals = nn.ModuleList(conv_or_norm(width, channels, 1, norm) for width in inputs)
        smoothed = [s for s in self.strides if s in self.out_strides]
        self.smooths = nn.ModuleDict({str(s): conv_or_norm(channels, channels, 3, norm) for s in smoothed})

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        joined = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for i in range(len(joined) - 2, -1, -1):
            joined[i] = joined[i] + upsample_like(joined[i + 1], joined[i])
        outs = {s: self.smooths[str(s)](x) for s, x in zip(self.strides, joined, strict=True) if s in self.out_strides}
        stride, x = self.strides[-1], outs.get(self.strides[-1], joined[-1])
        while stride < self.out_strides[-1]:
            stride, x = stride * 2, halve(x)
            outs[stride] = x
        return tuple(outs[s] for s in self.out_strides)


class ConcatFPN(nn.Module):
    """BEVFusion's neck (code: GeneralizedLSSFPN): each coarser map is laid beside the finer one, then 1x1 and 3x3.

    Gives one level fewer than it takes: the coarsest only feeds the others.
    """

    def __init__(
        self, inputs: Sequence[int], strides: Sequence[int], out_strides: Sequence[int], channels: int
    ) -> None:
        """inputs, strides: channels and stride of each map that comes in, fine to coarse. ValueError where a wanted
        stride is not among them, or is the coarsest."""
        super().__init__()
        if not set(out_strides) <= set(strides[:-1]):
            raise ValueError(
                f"a neck over strides {tuple(strides)} gives {tuple(strides[:-1])}, not {tuple(out_strides)}"
            )
        self.take = [list(strides).index(s) for s in out_strides]
        above = [*[channels] * (len(inputs) - 2), inputs[-1]]
        self.joins = nn.ModuleList(
            nn.Sequential(
                conv_or_norm(width + coarser, channels, 1, norm=True),
                nn.ReLU(inplace=True),
                conv_or_norm(channels, channels, 3, norm=True),
                nn.ReLU(inplace=True),
            )
            for width, coarser in zip(inputs[:-1], above, strict=True)
        )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        levels = list(maps)
        for i in range(len(self.joins) - 1, -1, -1):
            levels[i] = self.joins[i](torch.cat([levels[i], upsample_like(levels[i + 1], levels[i], "bilinear")], 1))
        return tuple(levels[i] for i in self.take)
