"""A small convolutional backbone of our own, for training on a CPU: residual stages at strides 2, 4 and 8."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from drive.errors import UserError

WIDTHS = {2: 16, 4: 32, 8: 64}
"""Channels by stride [inferred]: a training step of twelve images of 224 x 400 takes 0.2 s of a core."""


def conv_norm(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution that keeps ceil(size / stride), and batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs, momentum=0.05),
    )


class Residual(nn.Module):
    """relu(x + conv(relu(conv(x)))) at one stride."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = conv_norm(channels, channels), conv_norm(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(x + self.second(F.relu_(self.first(x))))


class PlainBackbone(nn.Module):
    """Normalised images [N, 3, H, W] -> a map [N, channels[i], ceil(H / strides[i]), ceil(W / strides[i])] a level."""

    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(self, strides: tuple[int, ...] = (2, 4, 8), blocks: tuple[int, int, int] = (0, 0, 1)) -> None:
        """strides: of the levels that come out. blocks: residual blocks at strides 2, 4 and 8."""
        super().__init__()
        unknown = [s for s in strides if s not in WIDTHS]
        if unknown:
            what = f"has no level of stride {unknown[0]}, only {', '.join(map(str, WIDTHS))}"
            raise UserError("image backbone plain", what, "ask for strides among these")
        self.strides = strides
        self.channels = tuple(WIDTHS[s] for s in strides)
        self.stages = nn.ModuleList()
        inputs = 3
        for (stride, width), count in zip(WIDTHS.items(), blocks, strict=True):
            if stride > max(strides):
                break
            down = nn.Sequential(conv_norm(inputs, width, stride=2), nn.ReLU(inplace=True))
            self.stages.append(nn.Sequential(down, *(Residual(width) for _ in range(count))))
            inputs = width

    def through(self, stride: int) -> list[nn.Module]:
        """The modules that make the level of this stride. ValueError where there is no such level."""
        last = list(WIDTHS).index(stride)
        return [module for stage in self.stages[: last + 1] for module in stage.modules()]

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = {}
        for stride, stage in zip(WIDTHS, self.stages, strict=False):
            maps[stride] = x = stage(x)
        return [maps[s] for s in self.strides]
