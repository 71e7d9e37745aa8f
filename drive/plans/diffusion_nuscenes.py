"""DiffusionDrive's nuScenes variant: displacements of 6 steps are diffused, 6 anchors for each of 3 commands.

    anchors of the command + a little noise -> clamp, metres -> feature
    layer: pooling at the trajectory's points -> self-attention -> agents -> the command's queries -> FFN -> level
           -> heads (a norm after each; the feature goes on to the next layer; heads answer with whole displacements)

Spec 1.11, and the published code of that branch: no residual in the answer, unlike the NAVSIM variant, and no heading:
that of the plan is the direction of each displacement. What differs: the published layer pools camera features at five
heights over each point, which the sensor-level trunk will bring; here a layer samples the bird's-eye map at the points.
The three blocks of motion and planning queries before it belong to that trunk too: the ego token plus a learned query a
mode stands for their result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drive.errors import UserError
from drive.plans.anchors import AffineRange, Coverage, coverage, k_means
from drive.plans.diffusion_parts import (
    CellValues,
    CrossAttention,
    LevelEmbedding,
    MapRows,
    Modulation,
    PlaceEmbedding,
    ScoreAndPoses,
    SpatialAttention,
    Taps,
)
from drive.plans.losses import PlanLossConfig, measures, mode_losses, positive_modes
from drive.plans.proposals import Proposals, TrainingAnswer
from drive.plans.schedule import Schedule, add_noise, as_published
from drive.plans.trunk import BevFrame, SceneFeatures

COMMANDS_WITH_ANCHORS = 3
"""left, straight, right, as in drive.samples.route.COMMANDS; "unknown" drives with the anchors of straight."""
STRAIGHT = 1


@dataclass(frozen=True)
class NuscenesConfig:
    """The defaults are the published sizes: 3 x 6 anchors of 6 points at 0.5 s, displacements forward (dx + 0.5) / 8.1
    and sideways dy / 3 to -1..1, trained on levels below 40, passes told 20 and 0 after noise of level 8.

    moving_m: displacements shorter than this keep the heading of the one before [inferred].
    """

    modes: int = 6
    points: int = 6
    step_s: float = 0.5
    channels: int = 256
    heads: int = 8
    ffn: int = 512
    layers: int = 2
    dropout: float = 0.1
    step_range: AffineRange = field(default_factory=lambda: AffineRange((-0.5, 8.1), (-3.0, 6.0)))
    train_levels: int = 40
    schedule: Schedule = field(default_factory=lambda: as_published(span=40))
    values: Literal["auto", "read", "dense"] = "auto"
    noise: bool = True
    moving_m: float = 0.2
    loss: PlanLossConfig = field(default_factory=PlanLossConfig.nuscenes)

    def build(self, frame: BevFrame, channels: int) -> NuscenesHead:
        if channels != self.channels:
            raise ValueError(f"the trunk gives {channels} channels, the head takes {self.channels}")
        return NuscenesHead(self, frame)


class NuscenesLayer(nn.Module):
    """Features [B, K, C] and cumulated places [B, K, T, 2] -> refined features, displacements and scores."""

    def __init__(self, config: NuscenesConfig) -> None:
        super().__init__()
        C, heads, dropout = config.channels, config.heads, config.dropout
        self.spatial = SpatialAttention(config.points, C, dropout)
        self.among = CrossAttention(C, heads, dropout)
        self.agents = CrossAttention(C, heads, dropout)
        self.queries = CrossAttention(C, heads, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(C) for _ in range(5))
        self.ffn_in, self.ffn_out = nn.Linear(C, config.ffn), nn.Linear(config.ffn, C)
        self.drop = nn.Dropout(dropout)
        self.modulation = Modulation(C)
        self.heads = ScoreAndPoses(config.points, C, columns=2)

    def forward(
        self, f: Tensor, taps: Taps, level: Tensor, values: CellValues, features: SceneFeatures, queries: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        assert features.agents is not None
        f = self.spatial(f, taps, values)
        f = self.norms[0](self.among(f, self.among.keys(f, None)))
        f = self.norms[1](self.agents(f, self.agents.keys(features.agents, features.agent_valid)))
        f = self.norms[2](self.queries(f, self.queries.keys(queries, None)))
        f = self.norms[3](f)  # the FFN's own norm comes before it
        f = self.norms[4](f + self.drop(self.ffn_out(F.relu(self.ffn_in(f)))))
        f = self.modulation(f, level)
        displacements, logits = self.heads(f)
        return f, displacements, logits


class NuscenesHead(nn.Module):
    """Scene features -> 6 proposals of the command at hand."""

    anchors: Tensor
    span: Tensor

    def __init__(self, config: NuscenesConfig, frame: BevFrame) -> None:
        super().__init__()
        self.config, self.frame = config, frame
        self.places = PlaceEmbedding(config.points, config.channels, code=128)
        self.level = LevelEmbedding(config.channels)
        self.queries = nn.Embedding(COMMANDS_WITH_ANCHORS * config.modes, config.channels)
        self.layers = nn.ModuleList(NuscenesLayer(config) for _ in range(config.layers))
        self.register_buffer("anchors", torch.zeros(COMMANDS_WITH_ANCHORS, config.modes, config.points, 2))
        self.register_buffer("span", torch.from_numpy(config.step_range.rows()[:2]).float())

    def fit(self, futures: np.ndarray, seed: int, commands: np.ndarray | None = None) -> Coverage:
        """Set the anchors from futures [N, T, 3], those of each command from its own.

        commands: int64 [N], 0 left, 1 straight, 2 right; None tells them by how far the future ends to a side (2 m, as
        nuScenes planners label their commands). A command with too few futures takes the anchors of all.

        Raises:
            UserError: fewer different futures than modes in all.
        """
        if commands is None:
            aside = futures[:, -1, 1]
            commands = np.where(aside > 2, 0, np.where(aside < -2, 2, 1))
        everything = k_means(futures, self.config.modes, seed)
        for command in range(COMMANDS_WITH_ANCHORS):
            try:
                anchors = k_means(futures[commands == command], self.config.modes, seed)
            except UserError:
                anchors = everything
            self.anchors[command].copy_(torch.from_numpy(anchors))
        farthest = self.config.points
        (low, wide), (right, across) = self.config.step_range.x, self.config.step_range.y
        span = AffineRange((farthest * low, farthest * wide), (farthest * right, farthest * across))
        every = self.anchors.flatten(0, 1).double().numpy()
        return coverage(every, futures, span, farthest * self.config.step_s)

    def noise(self, scenes: int, generator: torch.Generator | None = None) -> Tensor | None:
        """Fresh noise for `propose`, float32 [scenes, K, T, 2], drawn on the CPU; None where it is turned off."""
        if not self.config.noise:
            return None
        return torch.randn(scenes, *self.anchors.shape[1:], generator=generator).to(self.anchors.device)

    def normalise(self, steps: Tensor) -> Tensor:
        """Displacements in metres [..., 2] -> -1..1, clamped as published."""
        return (2 * (steps - self.span[:, 0]) / self.span[:, 1] - 1).clamp(-1, 1)

    def denormalise(self, values: Tensor) -> Tensor:
        """-1..1 -> displacements in metres."""
        return (values + 1) / 2 * self.span[:, 1] + self.span[:, 0]

    def propose(self, features: SceneFeatures, noise: Tensor | None = None) -> Proposals:
        """Trajectories by the schedule. noise [B, K, T, 2]; None starts from the anchors as they are."""
        anchors, queries = self._of_command(features)
        sample, schedule = self.normalise(steps_of(anchors)), self.config.schedule
        if noise is not None and schedule.start is not None:
            sample = add_noise(sample, noise, schedule.start)
        values = self._values(features)
        for step in schedule.steps:
            level = torch.full((1,), step.level, device=sample.device)
            steps, logits = self._decode(self.denormalise(sample.clamp(-1, 1)), level, features, values, queries)[-1]
            sample = step.next(self.normalise(steps), sample)
        return Proposals(self._poses(steps), logits)

    def answer(self, features: SceneFeatures) -> TrainingAnswer:
        """One pass over anchors with noise of a level drawn for each scene."""
        anchors, queries = self._of_command(features)
        level = torch.randint(self.config.train_levels, (len(anchors),), device=anchors.device)
        sample = add_noise(self.normalise(steps_of(anchors)), torch.randn_like(anchors), level)
        places = self.denormalise(sample.clamp(-1, 1))
        found = self._decode(places, level, features, self._values(features), queries)
        return TrainingAnswer(tuple(Proposals(steps, logits) for steps, logits in found), anchors)

    def losses(self, answer: TrainingAnswer, future: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """Weighted "score" and "regression" (of displacements, as published; the positive mode by places)."""
        modes = positive_modes(answer.anchors, future, valid)
        # A displacement is known where both of its ends are.
        known = valid & torch.cat((torch.ones_like(valid[:, :1]), valid[:, :-1]), dim=1)
        terms = mode_losses(answer, steps_of(future[..., :2]), known, self.config.loss, modes)
        last = answer.layers[-1]
        places = Proposals(last.poses.cumsum(2), last.logits)
        return {**terms, **measures(places, answer.anchors, future, valid)}

    def _of_command(self, features: SceneFeatures) -> tuple[Tensor, Tensor]:
        """Anchors [B, K, T, 2] and queries [B, K, C] of each scene's command."""
        command = torch.where(features.command < COMMANDS_WITH_ANCHORS, features.command, STRAIGHT)
        queries = self.queries.weight.unflatten(0, (COMMANDS_WITH_ANCHORS, -1))
        return self.anchors[command], queries[command] + features.ego

    def _values(self, features: SceneFeatures) -> list[CellValues]:
        if features.bev is None or features.agents is None:
            raise ValueError("a diffusion head needs a bird's-eye map and road users: this trunk gives neither")
        how = self.config.values
        if how == "auto":
            how = "read" if features.bev.device.type == "cpu" else "dense"
        maps = MapRows(features.bev)
        return [CellValues(maps, layer.spatial.value, how) for layer in self.layers]  # type: ignore[union-attr,arg-type]

    def _decode(
        self, steps: Tensor, level: Tensor, features: SceneFeatures, values: list[CellValues], queries: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """Every layer's displacements [B, K, T, 2] and logits [B, K]."""
        feature, moment = self.places(steps), self.level(level)
        found: list[tuple[Tensor, Tensor]] = []
        for layer, cells in zip(self.layers, values, strict=True):
            taps = Taps.at(steps.cumsum(2), self.frame, cells.maps.height, cells.maps.width)
            feature, steps, logits = layer(feature, taps, moment, cells, features, queries)
            found.append((steps, logits))
        return found

    def _poses(self, steps: Tensor) -> Tensor:
        """Poses [B, K, T, 3] of displacements: places summed up, headings along each displacement."""
        heading = torch.zeros_like(steps[..., 0])
        at = torch.zeros_like(heading[..., 0])
        for k in range(steps.shape[2]):
            moves = steps[:, :, k].norm(dim=-1) > self.config.moving_m
            at = torch.where(moves, torch.atan2(steps[:, :, k, 1], steps[:, :, k, 0]), at)
            heading[:, :, k] = at
        return torch.cat((steps.cumsum(2), heading[..., None]), dim=-1)


def steps_of(places: Tensor) -> Tensor:
    """Displacements [..., T, 2] of places [..., T, 2], the first one from the origin."""
    return torch.diff(places, dim=-2, prepend=torch.zeros_like(places[..., :1, :]))
