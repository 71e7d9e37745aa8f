"""The image tower: pixels to feature maps of the wanted strides, by a backbone and a pyramid neck."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from drive.errors import UserError
from drive.features.bifpn import BiFPN, BiFPNConfig
from drive.features.fpn import FPN, ConcatFPN
from drive.features.image_compose import ComposedBackbone
from drive.features.image_freeze import batch_norms, freeze, hold
from drive.features.image_plain import WIDTHS, PlainBackbone
from drive.features.image_timm import TimmBackbone

Backbone = PlainBackbone | TimmBackbone | ComposedBackbone


@dataclass(frozen=True)
class ImageNetConfig:
    """An image tower.

    backbone: "plain", our small net for CPUs (strides 2, 4, 8), or the id of any timm model that gives feature maps.
    pretrained: timm's published weights, from its hub. checkpoint: a local file of such weights in their place.
    image_size: (height, width) of every image; only for models that are built for one size (Swin, MaxViT, CoAtNet).
    drop_path: chance that training skips a residual branch, for models that know it.
    composed: two such backbones, the second with the help of the first (CBNet); for chains of convolutional stages.
    frozen_stride: what makes the backbone's maps up to this stride is not trained; 0: all is. 4 is the stem and the
    first stage of a ResNet. frozen_norm: the backbone's batch norms keep their weights and statistics.
    neck: "fpn" adds, "bifpn" adds with learned weights, "concat" is BEVFusion's. channels: of every map that comes out.
    neck_norm: batch norm in the fpn [inferred: steadier from scratch; the published one has none, the others have it].
    out_strides: of the maps that come out, pixels a cell, fine to coarse. in_strides: levels of the backbone that the
    neck joins; empty: all from the finest of out_strides on.
    """

    backbone: str = "resnet34"
    pretrained: bool = False
    checkpoint: str = ""
    image_size: tuple[int, int] | None = None
    drop_path: float = 0.0
    composed: bool = False
    frozen_stride: int = 0
    frozen_norm: bool = False
    neck: Literal["fpn", "bifpn", "concat"] = "fpn"
    channels: int = 128
    neck_norm: bool = True
    bifpn: BiFPNConfig = field(default_factory=BiFPNConfig)
    out_strides: tuple[int, ...] = (8,)
    in_strides: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, strides in (("out_strides", self.out_strides), ("in_strides", self.in_strides)):
            if list(strides) != sorted(set(strides)) or any(s < 1 or s & (s - 1) for s in strides):
                what = f"{strides} are not powers of two from fine to coarse"
                raise UserError(f"images {name}", what, "write for example (8, 16, 32)")
        if not self.out_strides:
            raise UserError("images out_strides", "no map is asked for", "write for example (8,)")
        if self.backbone == "plain" and (self.pretrained or self.checkpoint):
            mend = "set pretrained=False and no checkpoint"
            raise UserError("image backbone plain", "has no published weights", mend)
        if self.composed and (self.backbone == "plain" or self.in_strides):
            what = "is for timm's backbones with all their levels"
            raise UserError("images composed", what, "set composed=False, or leave in_strides empty")

    def build(self) -> ImageNet:
        """UserError where the backbone or its weights are not to be had here, or the strides do not go together."""
        return ImageNet(self)


class ImageNet(nn.Module):
    """uint8 [N, 3, H, W] RGB -> one [N, channels, ceil(H / s), ceil(W / s)] a stride s, channels last in memory."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: ImageNetConfig) -> None:
        super().__init__()
        self.channels, self.strides = config.channels, config.out_strides
        self.backbone = _backbone(config)
        self.neck = _neck(config, self.backbone)
        self.frozen = _frozen(config, self.backbone)
        # Of pixel values in [0, 255].
        self.register_buffer("mean", 255 * torch.tensor(self.backbone.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", 1 / (255 * torch.tensor(self.backbone.std).view(1, 3, 1, 1)), persistent=False)
        self.to(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        hold(self.backbone, self.frozen)
        return self

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        n, _, high, wide = pixels.shape
        if not n:  # batch norm knows no empty batch
            sizes = [(-(-high // s), -(-wide // s), self.channels) for s in self.strides]
            return tuple(self.mean.new_zeros(0, *size).permute(0, 3, 1, 2) for size in sizes)
        x = pixels.to(self.mean.dtype, copy=True, memory_format=torch.channels_last).sub_(self.mean).mul_(self.scale)
        maps = self.neck(self.backbone(x))
        return tuple(m.contiguous(memory_format=torch.channels_last) for m in maps)


def without_weights(config: Any) -> Any:
    """A configuration of which no part fetches published weights: for models whose own weights are loaded next.

    Looks through nested dataclasses for fields named ``pretrained`` and ``checkpoint``.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        return config
    old = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.init}
    new = {name: without_weights(value) for name, value in old.items()}
    if "pretrained" in old:
        new.update({name: none for name, none in (("pretrained", False), ("checkpoint", "")) if name in old})
    changed = {name: value for name, value in new.items() if value is not old[name]}
    return dataclasses.replace(config, **changed) if changed else config


def _backbone(config: ImageNetConfig) -> Backbone:
    """The backbone with the levels that the neck joins."""
    name, finest = config.backbone, config.out_strides[0]
    backbone: Backbone
    if name == "plain":
        backbone = PlainBackbone(config.in_strides or tuple(s for s in WIDTHS if s >= finest) or (max(WIDTHS),))
    else:
        weights = config.pretrained, config.checkpoint
        levels = ((), 1) if config.composed else (config.in_strides, finest)
        backbone = TimmBackbone(name, *levels, *weights, config.image_size, config.drop_path)
        if config.composed:
            assistant = TimmBackbone(name, *levels, *weights, config.image_size, config.drop_path)
            backbone = ComposedBackbone(backbone, assistant, finest)
    strides = backbone.strides
    if any(b != 2 * a for a, b in pairwise(strides)):
        raise UserError(f"image backbone {name}", f"levels of strides {strides} do not double", "set in_strides")
    if finest < strides[0]:
        mend = f"ask for out_strides from {strides[0]} on"
        raise UserError(
            f"image backbone {name}", f"its finest joined level has stride {strides[0]}, not {finest}", mend
        )
    return backbone


def _neck(config: ImageNetConfig, backbone: Backbone) -> FPN | BiFPN | ConcatFPN:
    inputs, strides, wanted = backbone.channels, backbone.strides, config.out_strides
    if config.neck != "bifpn" and strides[0] < wanted[0] and strides[-1] > strides[0]:
        what = f"the neck {config.neck} joins nothing to stride {strides[0]}, finer than the maps that come out"
        raise UserError("images in_strides", what, f"begin them at {wanted[0]}")
    try:
        if config.neck == "bifpn":
            return BiFPN(config.bifpn, inputs, strides, wanted, config.channels)
        if config.neck == "concat":
            return ConcatFPN(inputs, strides, wanted, config.channels)
    except ValueError as error:
        raise UserError(f"images neck {config.neck}", str(error), "set in_strides, out_strides or bifpn") from error
    return FPN(inputs, strides, wanted, config.channels, config.neck_norm)


def _frozen(config: ImageNetConfig, backbone: Backbone) -> tuple[str, ...]:
    """Takes what is not trained out of training; its modules' names."""
    frozen = batch_norms(backbone) if config.frozen_norm else []
    if config.frozen_stride:
        try:
            frozen += backbone.through(config.frozen_stride)
        except ValueError as error:
            mend = "name a stride of the backbone's levels"
            raise UserError("images frozen_stride", f"{config.frozen_stride}: {error}", mend) from error
    return freeze(backbone, frozen)
