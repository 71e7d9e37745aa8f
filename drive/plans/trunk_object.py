"""The object-level trunk: road users, map lines and a raster -> scene features. Trains on any log with boxes.

    status, past -> ego token   \
    road users   -> a token each >  transformer over all of a scene's tokens -> ego, agents
    lines        -> a token each /
    raster (bit planes) -> convolutions at 1/2, 1/4, 1/8 -> summed top down -> bird's-eye map at 1/2

Sizes are [inferred]: the paper has no such trunk. The trunk gives what the sensor-level one will give.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drive.plans.trunk import BevFrame, SceneFeatures
from drive.samples.plan_sample import ACTOR_COLUMNS, BACK, LINE_COLUMNS, PAST_COLUMNS, ROUTE_M, STATUS_COLUMNS
from drive.samples.plan_sample_batch import PlanBatch, padded
from drive.samples.plan_sample_raster import PLANES, RasterGrid

# Metres and m/s are divided by this on the way in.
SCALE = 20.0


@dataclass(frozen=True)
class ObjectTrunkConfig:
    """channels: of every token and of the map. layers, heads, ffn, dropout: of the transformer over tokens.
    map_channels: of the convolutions at 1/2, 1/4 and 1/8 of the raster's resolution; None makes no map, for heads that
        read the ego token alone (the road is in the tokens of the lines).
    raster: the grid of the samples' rasters.
    past: whether the ego is told where it was and how it accelerates. Recorded accelerations are smoothed over what
        came next, and who learns to go on as before keeps standing once it stands.
    """

    channels: int = 256
    layers: int = 3
    heads: int = 8
    ffn: int = 1024
    dropout: float = 0.1
    map_channels: tuple[int, int, int] | None = (64, 128, 256)
    raster: RasterGrid = field(default_factory=RasterGrid)
    past: bool = True

    def build(self) -> ObjectTrunk:
        return ObjectTrunk(self)

    @property
    def frame(self) -> BevFrame:
        """Where the feature map lies."""
        (x0, x1), (y0, y1) = self.raster.x_m, self.raster.y_m
        return BevFrame((x0, x1 - x0), (y0, y1 - y0))


def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Two 3 x 3 convolutions with batch norm, the first one striding."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip


def perceptron(inputs: int, channels: int) -> nn.Sequential:
    """Linear, norm, ReLU, Linear."""
    return nn.Sequential(nn.Linear(inputs, channels), nn.LayerNorm(channels), nn.ReLU(), nn.Linear(channels, channels))


def ego_input(batch: PlanBatch, past: bool = True) -> Tensor:
    """[B, 8 + 4 * 5]: status and past, scaled; accelerations and past are 0 where not told."""
    status, before = batch.status * status_scale(batch.status), (batch.past * past_scale(batch.past)).flatten(1)
    if not past:
        status, before = status * status.new_tensor([1.0] * (len(STATUS_COLUMNS) - 2) + [0.0] * 2), before * 0
    return torch.cat((status, before), 1)


def status_scale(like: Tensor) -> Tensor:
    commands = len(STATUS_COLUMNS) - 4
    return like.new_tensor([1.0] * commands + [1 / SCALE] * 2 + [0.25] * 2)


def past_scale(like: Tensor) -> Tensor:
    return like.new_tensor([1 / SCALE if name in ("x", "y") else 1.0 for name in PAST_COLUMNS])


def actor_scale(like: Tensor) -> Tensor:
    metric = ("x", "y", "vx", "vy", "length", "width", "ahead", "aside")
    return like.new_tensor([1 / SCALE if name.split("_")[0] in metric else 1.0 for name in ACTOR_COLUMNS])


class ObjectTrunk(nn.Module):
    """PlanBatch -> SceneFeatures. The first agent token is "nobody": an empty road has something to look at, too."""

    def __init__(self, config: ObjectTrunkConfig) -> None:
        super().__init__()
        self.config = config
        C = config.channels
        self.ego = perceptron(len(STATUS_COLUMNS) + len(BACK) * len(PAST_COLUMNS) + 2 * len(ROUTE_M), C)
        self.actor = perceptron(len(ACTOR_COLUMNS), C)
        self.line_point, self.line = perceptron(4 + len(LINE_COLUMNS), C), nn.Linear(C, C)
        self.nobody = nn.Parameter(torch.randn(1, 1, C) * C**-0.5)
        self.kinds = nn.Parameter(torch.randn(3, C) * C**-0.5)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(C, config.heads, config.ffn, config.dropout, batch_first=True, norm_first=True)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(C)
        if config.map_channels is None:
            return
        fine, middle, coarse = config.map_channels
        self.fine, self.middle = block(len(PLANES), fine, 2), block(fine, middle, 2)
        self.coarse = block(middle, coarse, 2)
        self.to_map = nn.ModuleList(nn.Conv2d(width, C, 1) for width in config.map_channels)
        self.map_norm = nn.GroupNorm(1, C)

    def forward(self, batch: PlanBatch) -> SceneFeatures:
        tokens, agent_valid = self._tokens(batch)
        actors = agent_valid.shape[1]
        return SceneFeatures(
            bev=None if self.config.map_channels is None else self._map(batch.raster),
            agents=tokens[:, 1 : 1 + actors],
            agent_valid=agent_valid,
            ego=tokens[:, :1],
            command=batch.command,
            frame=self.config.frame,
        )

    def _tokens(self, batch: PlanBatch) -> tuple[Tensor, Tensor]:
        """Tokens [B, 1 + A + L, C] (ego, nobody and road users, lines) and which of nobody and road users are valid."""
        B = batch.batch_size
        actors, there = padded(self.actor(batch.actors * actor_scale(batch.actors)), batch.actor_offsets)
        lines, drawn = padded(self._line_tokens(batch), batch.line_offsets)
        told = torch.cat((ego_input(batch, self.config.past), (batch.route / SCALE).flatten(1)), 1)
        ego = self.ego(told)[:, None]
        nobody = self.nobody.expand(B, -1, -1)
        kinds = self.kinds
        tokens = torch.cat((ego + kinds[0], nobody, actors + kinds[1], lines + kinds[2]), dim=1)
        always = there.new_ones(B, 1)
        valid = torch.cat((always, always, there, drawn), dim=1)
        for layer in self.layers:
            tokens = layer(tokens, src_key_padding_mask=~valid)
        return self.norm(tokens), torch.cat((always, there), dim=1)

    def _line_tokens(self, batch: PlanBatch) -> Tensor:
        points = batch.lines / SCALE
        steps = F.pad(batch.lines.diff(dim=1), (0, 0, 0, 1), mode="constant")  # the last point has no direction
        about = batch.line_about[:, None].expand(-1, points.shape[1], -1)
        seen: Tensor = self.line_point(torch.cat((points, steps, about), dim=-1))
        tokens: Tensor = self.line(seen.amax(1))
        return tokens

    def _map(self, raster: Tensor) -> Tensor:
        planes = torch.arange(len(PLANES), device=raster.device, dtype=torch.int16)
        x = (raster[:, None] >> planes[:, None, None] & 1).to(self.nobody.dtype)
        fine = self.fine(x)
        middle = self.middle(fine)
        found = fine, middle, self.coarse(middle)
        levels = [convolution(level) for convolution, level in zip(self.to_map, found, strict=True)]
        summed = levels[2]
        for level in (levels[1], levels[0]):
            summed = level + F.interpolate(summed, size=level.shape[2:], mode="bilinear", align_corners=False)
        out: Tensor = self.map_norm(F.relu(summed))
        return out


@dataclass(frozen=True)
class EgoTrunkConfig:
    """Status and past of the ego alone: the baseline that sees nothing of the world."""

    channels: int = 256

    def build(self) -> EgoTrunk:
        return EgoTrunk(self)

    @property
    def frame(self) -> BevFrame:
        """There is no map; the head may ask."""
        return BevFrame()


class EgoTrunk(nn.Module):
    """PlanBatch -> the ego token alone."""

    def __init__(self, config: EgoTrunkConfig) -> None:
        super().__init__()
        self.config = config
        self.ego = perceptron(len(STATUS_COLUMNS) + len(BACK) * len(PAST_COLUMNS), config.channels)

    def forward(self, batch: PlanBatch) -> SceneFeatures:
        return SceneFeatures(None, None, None, self.ego(ego_input(batch))[:, None], batch.command)
