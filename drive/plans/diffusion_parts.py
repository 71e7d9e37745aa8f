"""The pieces of a diffusion decoder: codes of places and levels, reading the bird's-eye map, attention, heads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drive.plans.trunk import BevFrame


def place_code(points: Tensor, channels: int) -> Tensor:
    """Sines and cosines of places [..., 2] in metres: [..., channels], half of them of y, then half of x.

    Angle 2 pi metres / 10000^(4 i / channels), sine and cosine in turn (spec 1.6).
    """
    pairs = channels // 4
    wave = 10_000.0 ** (torch.arange(pairs, dtype=torch.float32, device=points.device) / pairs)
    angle = (points * (2 * math.pi))[..., [1, 0], None] / wave
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(-3)


def level_code(level: Tensor, channels: int) -> Tensor:
    """Sines, then cosines, of noise levels [B]: [B, channels], frequencies 1 to 1/10000."""
    half = channels // 2
    wave = torch.exp(torch.arange(half, device=level.device) * (-math.log(10_000) / (half - 1)))
    angle = level[:, None] * wave
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


class PlaceEmbedding(nn.Module):
    """Trajectories [B, K, T, 2] -> one feature each, [B, K, C] (spec 1.6)."""

    def __init__(self, points: int, channels: int, code: int = 64) -> None:
        super().__init__()
        self.code = code
        self.inner = nn.Linear(points * code, channels)
        self.norm = nn.LayerNorm(channels)
        self.outer = nn.Linear(channels, channels)

    def forward(self, points: Tensor) -> Tensor:
        code = place_code(points, self.code).flatten(-2).to(self.inner.weight.dtype)
        feature: Tensor = self.outer(self.norm(F.relu(self.inner(code))))
        return feature


class LevelEmbedding(nn.Module):
    """Noise levels [B] -> [B, 1, C]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)

    def forward(self, level: Tensor) -> Tensor:
        code = level_code(level, self.inner.in_features).to(self.inner.weight.dtype)
        feature: Tensor = self.outer(F.mish(self.inner(code)))
        return feature[:, None]


class Modulation(nn.Module):
    """f -> f (1 + s) + b with (s, b) of the noise level."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, 2 * channels)

    def forward(self, feature: Tensor, level: Tensor) -> Tensor:
        scale, shift = self.linear(F.mish(level)).chunk(2, dim=-1)
        return feature * (1 + scale) + shift


@dataclass(frozen=True, eq=False)
class Taps:
    """The four cells around points of B maps.

    cells: int64 [B, K, T, 4], rows of the flattened maps [B * H * W]; a cell outside its map is replaced by a near one.
    weight: float32 [B, K, T, 4], bilinear, 0 outside.
    """

    cells: Tensor
    weight: Tensor

    @staticmethod
    def at(points: Tensor, frame: BevFrame, height: int, width: int) -> Taps:
        """Cell centres lie at (i + 0.5) / size, zeros around (grid_sample's align_corners=False). No gradient."""
        size = points.new_tensor([height, width])
        place = (frame.fractions(points.detach().float()) * size - 0.5).clamp(-2, max(height, width) + 1)
        low = place.floor()
        share = place - low
        corner = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], device=points.device)
        cell = low.long()[..., None, :] + corner
        weight = torch.where(corner.bool(), share[..., None, :], 1 - share[..., None, :]).prod(-1)
        last = torch.tensor([height - 1, width - 1], device=points.device)
        inside = ((cell >= 0) & (cell <= last)).all(-1)
        cell = cell.clamp(min=torch.zeros_like(last), max=last)
        first = torch.arange(len(points), device=points.device)[:, None, None, None] * (height * width)
        return Taps(first + cell[..., 0] * width + cell[..., 1], weight * inside)


class MapRows:
    """B maps [B, C, H, W] with a border of zeros, a row a cell, so that a cell's 3 x 3 neighbours are nine rows."""

    def __init__(self, bev: Tensor) -> None:
        B, C, self.height, self.width = bev.shape
        self.bev = bev
        self.rows = F.pad(bev.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).reshape(-1, C)
        around = torch.arange(3, device=bev.device)
        self.around = (around[:, None] * (self.width + 2) + around).flatten()
        self.cells = B * self.height * self.width

    def neighbours(self, cells: Tensor) -> Tensor:
        """[N, 9 C] of cells int64 [N] (rows of the flattened maps), neighbours row by row."""
        row, column = cells // self.width, cells % self.width
        # A map's rows are two more with the border: first its own border row, then two for each map before.
        start = (row + row // self.height * 2) * (self.width + 2) + column
        found = self.rows.index_select(0, (start[:, None] + self.around).flatten())
        return found.reshape(len(cells), -1)


class CellValues:
    """ReLU(3 x 3 convolution) of maps, as rows by cell.

    The published code convolves the whole map in every layer of every pass, and reads at most 4 K T cells of it. It
    depends neither on the pass nor on the trajectories, so here a layer either convolves once ("dense"), or computes a
    cell when it is first read and keeps it for the passes that follow ("read"). The same numbers, fewer of them.
    """

    def __init__(self, maps: MapRows, convolution: nn.Conv2d, how: Literal["dense", "read"]) -> None:
        self.maps, self.convolution = maps, convolution
        if how == "dense":
            dense = F.relu(convolution(maps.bev))
            self.values = dense.permute(0, 2, 3, 1).reshape(maps.cells, -1)
            self.place: Tensor | None = None
        else:
            # Row 0 stands for every cell that no point reads.
            self.values = maps.rows.new_zeros(1, convolution.out_channels)
            self.place = torch.zeros(maps.cells, dtype=torch.int64, device=maps.rows.device)

    def read(self, taps: Taps) -> Tensor:
        """Values [..., C] at the cells of taps [...]."""
        if self.place is None:
            return self.values[taps.cells]
        unread = torch.zeros_like(self.place, dtype=torch.bool)
        unread[taps.cells[taps.weight > 0]] = True
        new = (unread & (self.place == 0)).nonzero()[:, 0]
        if len(new):
            kernel = self.convolution.weight.permute(0, 2, 3, 1).flatten(1)  # a view: the weight is channels-last
            value = F.relu(F.linear(self.maps.neighbours(new), kernel, self.convolution.bias))
            self.place[new] = torch.arange(len(self.values), len(self.values) + len(new), device=new.device)
            self.values = torch.cat((self.values, value))
        return self.values[self.place[taps.cells]]


class SpatialAttention(nn.Module):
    """Bird's-eye features at a trajectory's own points, weighted, added to its feature (spec 1.7, 1). No offsets."""

    def __init__(self, points: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.value = nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=torch.channels_last)
        self.weight = nn.Linear(channels, points)
        self.out = nn.Linear(channels, channels)
        self.drop = nn.Dropout(dropout)
        nn.init.zeros_(self.weight.weight)
        nn.init.zeros_(self.weight.bias)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, feature: Tensor, taps: Taps, values: CellValues) -> Tensor:
        B, K, C = feature.shape
        share = self.weight(feature).softmax(-1)[..., None] * taps.weight.to(feature.dtype)
        seen = values.read(taps).flatten(0, 1).flatten(1, 2)
        sampled = torch.bmm(share.flatten(0, 1).flatten(1)[:, None], seen).reshape(B, K, C)
        return feature + self.drop(self.out(sampled))


class CrossAttention(nn.Module):
    """Multi-head attention to a scene's tokens, added to the feature. Keys and values are made once a scene."""

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.value, self.out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.drop = nn.Dropout(dropout)

    def keys(self, tokens: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Of tokens [B, A, C] and valid bool [B, A] (None: all): keys, values, mask."""
        mask = None if valid is None else valid[:, None, None]
        return self._split(self.key(tokens)), self._split(self.value(tokens)), mask

    def forward(self, feature: Tensor, keys: tuple[Tensor, Tensor, Tensor | None]) -> Tensor:
        found = F.scaled_dot_product_attention(self._split(self.query(feature)), keys[0], keys[1], attn_mask=keys[2])
        return feature + self.drop(self.out(found.transpose(1, 2).flatten(2)))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class EgoAttention(nn.Module):
    """Multi-head attention to one token, the ego's, added to the feature.

    With one key the softmax is 1 whatever is asked, so the published form's queries and keys neither change anything
    nor learn: the two linear maps of the value are what is left.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.value, self.out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.drop = nn.Dropout(dropout)

    def answer(self, ego: Tensor) -> Tensor:
        """What every trajectory is told of the ego [B, 1, C]; made once a scene."""
        told: Tensor = self.out(self.value(ego))
        return told

    def forward(self, feature: Tensor, answer: Tensor) -> Tensor:
        return feature + self.drop(answer.expand_as(feature))


class ScoreAndPoses(nn.Module):
    """Features [B, K, C] -> poses [B, K, T, columns] as offsets, logits [B, K]."""

    def __init__(self, points: int, channels: int, columns: int = 3) -> None:
        super().__init__()
        self.points = points
        self.score = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(), nn.LayerNorm(channels),
            nn.Linear(channels, channels), nn.ReLU(), nn.LayerNorm(channels),
            nn.Linear(channels, 1),
        )  # fmt: skip
        self.poses = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(),
            nn.Linear(channels, channels), nn.ReLU(),
            nn.Linear(channels, points * columns),
        )  # fmt: skip
        last = self.score[-1]
        assert isinstance(last, nn.Linear)
        nn.init.constant_(last.bias, -math.log(99))  # a mode is right one time in a hundred

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        poses: Tensor = self.poses(feature).float()
        return poses.unflatten(2, (self.points, -1)), self.score(feature)[..., 0].float()
