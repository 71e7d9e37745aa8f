"""Feature pyramid necks: the additive one of the detectors, and BEVFusion's concatenating one."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def upsample_like(x: Tensor, target: Tensor) -> Tensor:
    """Nearest x2, cut to the target's size: a cell stays over the pixels that it came from, at odd sizes too."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")[:, :, : target.shape[2], : target.shape[3]]


def halve(x: Tensor) -> Tensor:
    """Maximum of 3 x 3, stride 2: a map of ceil(size / 2)."""
    return F.max_pool2d(x, 3, 2, 1)


def join(inputs: int, outputs: int, kernel: int, norm: bool) -> nn.Sequential:
    """Convolution with a bias, or with batch norm in its place."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=not norm)]
    return nn.Sequential(*layers, nn.BatchNorm2d(outputs, momentum=0.05)) if norm else nn.Sequential(*layers)


class FPN(nn.Module):
    """Maps of doubling strides -> as many of one width (Lin et al. 2017): 1x1 lateral, top-down sum, 3x3 smoothing.

    Levels that the backbone lacks are made from its coarsest by pooling.
    """

    def __init__(
        self, inputs: Sequence[int], strides: Sequence[int], out_strides: Sequence[int], channels: int, norm: bool
    ) -> None:
        """inputs, strides: channels and stride of each map that comes in, fine to coarse."""
        super().__init__()
        self.strides, self.out_strides = tuple(strides), tuple(out_strides)
        self.laterals = nn.ModuleList(join(width, channels, 1, norm) for width in inputs)
        self.smooths = nn.ModuleList(
            join(channels, channels, 3, norm) for stride in self.strides if stride in self.out_strides
        )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        joined = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for i in range(len(joined) - 2, -1, -1):
            joined[i] = joined[i] + upsample_like(joined[i + 1], joined[i])
        levels = dict(zip(self.strides, joined, strict=True))
        wanted = [stride for stride in self.strides if stride in self.out_strides]
        outs = {stride: smooth(levels[stride]) for stride, smooth in zip(wanted, self.smooths, strict=True)}
        stride, x = self.strides[-1], outs.get(self.strides[-1], joined[-1])
        while stride < self.out_strides[-1]:
            stride, x = stride * 2, halve(x)
            outs[stride] = x
        return tuple(outs[stride] for stride in self.out_strides)
