"""TransFuser's trunk of sensors (Chitta et al., arXiv 2205.15997) as NAVSIM and DiffusionDrive build it.

    image  [B, 3, 256, 1024] -> stage 1 -+-> stage 2 -+-> stage 3 -+-> stage 4 -+
                                         |            |            |            |   fusion after each stage: both maps
                                       fusion       fusion       fusion       fusion   pooled to tokens, a transformer
                                         |            |            |            |   over all of them, added to both maps
    lidar  [B, 1, 256, 256]  -> stage 1 -+-> stage 2 -+-> stage 3 -+-> stage 4 -+-> coarse [B, 512, 8, 8]
                                                                                        |
                                                          fine [B, 64, 64, 64] <- top down, two steps

This is all of the transfer from images to the bird's eye: no depth, no lift, no calibration. A network learns the rig
that it was trained on. Sizes and the order of operations: spec 1.3 of planning, 5.4 of fusion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drive.errors import UserError
from drive.features.image_plain import Residual, conv_norm
from drive.features.image_timm import import_timm

PLAIN = "plain"


@dataclass(frozen=True)
class TransFuserConfig:
    """The defaults are the published ones.

    backbone: of both branches: a convolutional timm model, or "plain", a small one of our own for CPUs (strides 2, 4, 8
        and 16 where timm's are 4, 8, 16 and 32), its stages as wide as `widths`.
    pretrained: start the image's branch from timm's ImageNet weights; the lidar's is always random.
    image_tokens, lidar_tokens: rows and columns that the maps are pooled to.
    layers, heads, ratio, dropout: of each stage's transformer, as wide as the image's map.
    map_channels, map_size: of the fine map.
    """

    backbone: str = "resnet34"
    pretrained: bool = False
    widths: tuple[int, int, int, int] = (16, 32, 64, 96)
    image_tokens: tuple[int, int] = (8, 32)
    lidar_tokens: tuple[int, int] = (8, 8)
    layers: int = 2
    heads: int = 4
    ratio: int = 4
    dropout: float = 0.1
    map_channels: int = 64
    map_size: tuple[int, int] = (64, 64)

    def build(self) -> TransFuser:
        return TransFuser(self)


class TransFuser(nn.Module):
    """camera [B, 3, H, W] in 0..1, lidar [B, 1, R, C] -> coarse [B, C, r, c], fine [B, map_channels, *map_size].

    C is `channels`. Both maps are the lidar's: rows and columns are its rows and columns.
    """

    def __init__(self, config: TransFuserConfig) -> None:
        super().__init__()
        self.config = config
        self.image, image_widths = stages(config.backbone, 3, config.widths, config.pretrained)
        self.lidar, lidar_widths = stages(config.backbone, 1, config.widths, pretrained=False)
        pairs = zip(image_widths, lidar_widths, strict=True)
        self.fusions = nn.ModuleList(StageFusion(image, lidar, config) for image, lidar in pairs)
        self.channels = lidar_widths[-1]
        self.top_down = TopDown(self.channels, config.map_channels, config.map_size)

    def forward(self, camera: Tensor, lidar: Tensor) -> tuple[Tensor, Tensor]:
        camera = camera.contiguous(memory_format=torch.channels_last)
        lidar = lidar.contiguous(memory_format=torch.channels_last)
        for image_stage, lidar_stage, fusion in zip(self.image, self.lidar, self.fusions, strict=True):
            camera, lidar = fusion(image_stage(camera), lidar_stage(lidar))
        return lidar, self.top_down(lidar)


class StageFusion(nn.Module):
    """Image map [B, Ci, h, w] and lidar map [B, Cl, r, c] -> both with what all tokens say to each other added.

    The common width is the image's [recall: the published code has 1 x 1 convolutions on the lidar's side alone].
    """

    def __init__(self, image: int, lidar: int, config: TransFuserConfig) -> None:
        super().__init__()
        self.image_tokens, self.lidar_tokens = config.image_tokens, config.lidar_tokens
        self.to_common, self.from_common = nn.Conv2d(lidar, image, 1), nn.Conv2d(image, lidar, 1)
        self.split = config.image_tokens[0] * config.image_tokens[1]
        tokens = self.split + config.lidar_tokens[0] * config.lidar_tokens[1]
        self.positions = nn.Parameter(torch.zeros(1, tokens, image))
        self.drop = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                image, config.heads, config.ratio * image, config.dropout, batch_first=True, norm_first=True
            )
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(image)
        self.layers.apply(_narrow_start)

    def forward(self, image: Tensor, lidar: Tensor) -> tuple[Tensor, Tensor]:
        seen = F.adaptive_avg_pool2d(image, self.image_tokens)
        met = self.to_common(F.adaptive_avg_pool2d(lidar, self.lidar_tokens))
        tokens = torch.cat((as_tokens(seen), as_tokens(met)), dim=1)
        tokens = self.drop(tokens + self.positions)
        for layer in self.layers:
            tokens = layer(tokens)
        tokens = self.norm(tokens)
        to_image = as_map(tokens[:, : self.split], self.image_tokens)
        to_lidar = self.from_common(as_map(tokens[:, self.split :], self.lidar_tokens))
        return image + _enlarged(to_image, image), lidar + _enlarged(to_lidar, lidar)


class TopDown(nn.Module):
    """Coarse [B, C, r, c] -> fine [B, channels, *size]: 1 x 1, then twice enlarged and convolved."""

    def __init__(self, inputs: int, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.inner = nn.Conv2d(inputs, channels, 1)
        self.middle, self.outer = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, coarse: Tensor) -> Tensor:
        x = F.relu(self.inner(coarse))
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = F.relu(self.middle(x))
        x = F.interpolate(x, size=self.size, mode="bilinear", align_corners=False)
        return F.relu(self.outer(x))


def as_tokens(maps: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, h w, C], row by row."""
    return maps.flatten(2).transpose(1, 2)


def as_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """The reverse of :func:`as_tokens`."""
    return tokens.transpose(1, 2).unflatten(2, size)


def stages(
    backbone: str, in_channels: int, widths: tuple[int, ...], pretrained: bool
) -> tuple[nn.ModuleList, tuple[int, ...]]:
    """The four stages of a backbone, each a module of its own, and how many channels each gives.

    Raises:
        UserError: timm is not there, or does not know the model; a model that is no chain of convolutional stages; no
            weights.
    """
    if backbone == PLAIN:
        made, inputs = nn.ModuleList(), in_channels
        for width in widths:
            down = nn.Sequential(conv_norm(inputs, width, stride=2), nn.ReLU(inplace=True))
            made.append(nn.Sequential(down, Residual(width)))
            inputs = width
        return made, widths
    net = _timm_features(backbone, in_channels, pretrained)
    ends = getattr(net, "return_layers", None)  # of timm's FeatureListNet: the children after which a level comes out
    if ends is None or getattr(net, "output_fmt", "NCHW") not in ("NCHW", None) or len(ends) != 4:
        what = "cannot be taken apart into four convolutional stages"
        raise UserError(f"backbone {backbone}", what, "use a ResNet, ResNeXt, RegNet, Res2Net, or plain")
    made, own = nn.ModuleList(), list[nn.Module]()
    for name, child in net.named_children():
        own.append(child)
        if name in ends:
            made.append(nn.Sequential(*own))
            own = []
    return made, tuple(net.feature_info.channels())


def _timm_features(backbone: str, in_channels: int, pretrained: bool) -> Any:
    timm = import_timm()
    levels: dict[str, Any] = {"features_only": True, "out_indices": (-4, -3, -2, -1), "in_chans": in_channels}
    try:
        return timm.create_model(backbone, pretrained=pretrained, **levels)
    except OSError as error:
        mend = "set pretrained to False, or bring the weights here"
        raise UserError(f"backbone {backbone}", f"its weights cannot be had ({error})", mend) from error
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"backbone {backbone}", f"timm does not make it ({error})", "name another") from error


def _enlarged(maps: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(maps, size=like.shape[2:], mode="bilinear", align_corners=False)


def _narrow_start(module: nn.Module) -> None:
    """Published: linear weights from N(0, 0.02), biases 0."""
    if isinstance(module, nn.MultiheadAttention):
        nn.init.normal_(module.in_proj_weight, std=0.02)
        nn.init.zeros_(module.in_proj_bias)
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
