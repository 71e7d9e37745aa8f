"""The image tower: pixels to feature maps of the wanted strides, by a backbone and a pyramid neck."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from drive.errors import UserError
from drive.features.fpn import FPN
from drive.features.image_plain import WIDTHS, PlainBackbone
from drive.features.image_timm import TimmBackbone


@dataclass(frozen=True)
class ImageNetConfig:
    """An image tower.

    backbone: "plain", our small net for CPUs (strides 2, 4, 8), or the id of any timm model that gives feature maps.
    pretrained: timm's published weights, from its hub. checkpoint: a local file of such weights in their place.
    image_size: (height, width) of every image; only for models that are built for one size (Swin, MaxViT, CoAtNet).
    drop_path: chance that training skips a residual branch, for models that know it.
    neck: "fpn". channels: of every map that comes out. neck_norm: batch norm in the neck [inferred: steadier from
    scratch; the published pyramid has none].
    out_strides: of the maps that come out, pixels a cell, fine to coarse. in_strides: levels of the backbone that the
    neck joins; empty: all from the finest of out_strides on.
    """

    backbone: str = "resnet34"
    pretrained: bool = False
    checkpoint: str = ""
    image_size: tuple[int, int] | None = None
    drop_path: float = 0.0
    neck: Literal["fpn"] = "fpn"
    channels: int = 128
    neck_norm: bool = True
    out_strides: tuple[int, ...] = (8,)
    in_strides: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        strides = self.out_strides
        if not strides or list(strides) != sorted(set(strides)) or any(s < 1 or s & (s - 1) for s in strides):
            what = f"strides {strides} are not powers of two from fine to coarse"
            raise UserError("images out_strides", what, "write for example (8, 16, 32)")
        if self.backbone == "plain" and (self.pretrained or self.checkpoint):
            raise UserError(
                "image backbone plain", "has no published weights", "set pretrained=False and no checkpoint"
            )

    def build(self) -> ImageNet:
        """UserError where the backbone or its weights are not to be had here."""
        return ImageNet(self)


class ImageNet(nn.Module):
    """uint8 [N, 3, H, W] RGB -> one [N, channels, ceil(H / s), ceil(W / s)] a stride s, channels last in memory."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: ImageNetConfig) -> None:
        super().__init__()
        self.channels, self.strides = config.channels, config.out_strides
        self.backbone = _backbone(config)
        self.neck = FPN(
            self.backbone.channels, self.backbone.strides, config.out_strides, config.channels, config.neck_norm
        )
        # Of pixel values in [0, 255].
        self.register_buffer("mean", 255 * torch.tensor(self.backbone.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", 1 / (255 * torch.tensor(self.backbone.std).view(1, 3, 1, 1)), persistent=False)
        self.to(memory_format=torch.channels_last)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        n, _, high, wide = pixels.shape
        if not n:  # batch norm knows no empty batch
            empty = self.mean.new_zeros
            return tuple(empty(0, self.channels, -(-high // s), -(-wide // s)) for s in self.strides)
        x = pixels.to(self.mean.dtype, memory_format=torch.channels_last).sub_(self.mean).mul_(self.scale)
        maps = self.neck(self.backbone(x))
        return tuple(m.contiguous(memory_format=torch.channels_last) for m in maps)


def _backbone(config: ImageNetConfig) -> PlainBackbone | TimmBackbone:
    """The backbone with the levels that the neck joins."""
    name, finest = config.backbone, config.out_strides[0]
    backbone: PlainBackbone | TimmBackbone
    if name == "plain":
        backbone = PlainBackbone(config.in_strides or tuple(s for s in WIDTHS if s >= finest) or (max(WIDTHS),))
    else:
        weights = config.pretrained, config.checkpoint
        backbone = TimmBackbone(name, config.in_strides, finest, *weights, config.image_size, config.drop_path)
    strides = backbone.strides
    if any(b != 2 * a for a, b in pairwise(strides)):
        raise UserError(f"image backbone {name}", f"levels of strides {strides} do not double", "set in_strides")
    if finest < strides[0]:
        mend = f"ask for out_strides from {strides[0]} on"
        raise UserError(
            f"image backbone {name}", f"its finest joined level has stride {strides[0]}, not {finest}", mend
        )
    return backbone
