"""The SWFormer backbone: down through strided sparse scales, up by fusion into occupied cells (spec 1.4 to 1.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from drive.features.attention import WindowBlock
from drive.voxels.grid import STRIDES
from drive.voxels.levels import Level
from drive.voxels.windows import WINDOW
from ops.downscale import upsample


@dataclass(frozen=True)
class BackboneConfig:
    """Sizes of the backbone.

    channels, heads, mlp_channels: 128, 8, 256 [recall for 128; the rest from code of SST and FlatFormer].
    strides: 1 2 4 16 32 (paper). window: 10 cells (paper).
    layers: (plain, shifted) a scale; 2 layers at the first and 3 at the second scale are the paper's, the split and
        the coarser scales are [inferred].
    neighbour_mix: a sparse 3 x 3 convolution before each block. Not in the paper; trains several times faster.
    """

    channels: int = 128
    heads: int = 8
    mlp_channels: int = 256
    strides: tuple[int, ...] = STRIDES
    window: int = WINDOW
    layers: tuple[tuple[int, int], ...] = ((1, 1), (2, 1), (2, 1), (2, 1), (2, 1))
    neighbour_mix: bool = False

    def __post_init__(self) -> None:
        if len(self.layers) != len(self.strides):
            raise ValueError(f"{len(self.layers)} scales have layers, {len(self.strides)} have strides")
        if self.channels % self.heads or self.channels % 4:
            raise ValueError(f"channels {self.channels} must divide by the {self.heads} heads and by 4")


class Fusion(nn.Module):
    """One step up: the coarse feature is copied to the occupied fine cells, joined, projected, one window layer.

    The projection of the joined 2C channels is split in two, and the coarse half is applied before the copy: the
    same function with fewer rows.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.mix = config.neighbour_mix
        self.fine = nn.Linear(config.channels, config.channels)
        self.coarse = nn.Linear(config.channels, config.channels, bias=False)
        self.block = WindowBlock(
            config.channels, config.heads, config.mlp_channels, 1, 0, config.window, config.neighbour_mix
        )

    def forward(self, fine: Tensor, coarse: Tensor, level: Level) -> Tensor:
        x = self.fine(fine) + upsample(self.coarse(coarse), level.parent)
        return self.block(x, level.windows, level.shifted, level.neighbours if self.mix else None)


class SWFormer(nn.Module):
    """Features of the occupied stride-1 voxels with context of up to ten stride-32 cells."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.mix = config.neighbour_mix
        size = (config.channels, config.heads, config.mlp_channels)
        self.blocks = nn.ModuleList(
            WindowBlock(*size, *split, config.window, config.neighbour_mix) for split in config.layers
        )
        self.fusions = nn.ModuleList(Fusion(config) for _ in config.layers[1:])

    def forward(self, x: Tensor, levels: Sequence[Level]) -> Tensor:
        """x [V, C] of the finest level -> [V, C] of the finest level."""
        scales: list[Tensor] = []
        for block, level in zip(self.blocks, levels, strict=True):
            x = x.index_select(0, level.chosen) if scales else x
            x = block(x, level.windows, level.shifted, level.neighbours if self.mix else None)
            scales.append(x)
        for fusion, fine, level in reversed(list(zip(self.fusions, scales, levels, strict=False))):
            x = fusion(fine, x, level)
        return x
