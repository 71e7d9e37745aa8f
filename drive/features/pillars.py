"""The dense baseline: pillars scattered to a bird's-eye map, three convolution blocks, joined (PointPillars)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class DenseConfig:
    """Sizes of the convolution stack, a tuple entry a block (PointPillars on Waymo, code: OpenPCDet).

    strides multiply up; up_channels is what each block adds to the joined map at out_stride.
    """

    layers: tuple[int, ...] = (3, 5, 5)
    strides: tuple[int, ...] = (1, 2, 2)
    channels: tuple[int, ...] = (64, 128, 256)
    up_channels: int = 128
    out_stride: int = 1

    def __post_init__(self) -> None:
        if not len(self.layers) == len(self.strides) == len(self.channels):
            raise ValueError("layers, strides and channels of the dense stack must have one entry a block")


def conv_block(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU; a border is padded so that a stride of 1 keeps the size."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.05),
        nn.ReLU(inplace=True),
    )


class DenseBackbone(nn.Module):
    """Bird's-eye map [B, C, ny, nx] -> joined map [B, up_channels * blocks, ny / out_stride, nx / out_stride]."""

    def __init__(self, config: DenseConfig, inputs: int) -> None:
        super().__init__()
        self.blocks, self.ups = nn.ModuleList(), nn.ModuleList()
        stride = 1
        for layers, step, channels in zip(config.layers, config.strides, config.channels, strict=True):
            convs = [conv_block(inputs, channels, stride=step)]
            convs += [conv_block(channels, channels) for _ in range(layers)]
            self.blocks.append(nn.Sequential(*convs))
            inputs, stride = channels, stride * step
            self.ups.append(_resample(channels, config.up_channels, stride, config.out_stride))
        self.out_channels = config.up_channels * len(config.layers)

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = []
        for block, up in zip(self.blocks, self.ups, strict=True):
            x = block(x)
            maps.append(up(x))
        # A border that a stride does not divide leaves the coarser maps up to a stride longer.
        high, wide = (min(m.shape[d] for m in maps) for d in (2, 3))
        return torch.cat([m[:, :, :high, :wide] for m in maps], 1)


def _resample(inputs: int, outputs: int, stride: int, out_stride: int) -> nn.Module:
    if stride == out_stride:
        return conv_block(inputs, outputs, kernel=1)
    if stride > out_stride:
        factor = stride // out_stride
        return nn.Sequential(
            nn.ConvTranspose2d(inputs, outputs, factor, factor, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.05),
            nn.ReLU(inplace=True),
        )
    factor = out_stride // stride
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, factor, factor, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.05),
        nn.ReLU(inplace=True),
    )
