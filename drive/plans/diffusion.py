"""DiffusionDrive's decoder (Liao et al., arXiv 2411.15139), as it drives in NAVSIM: read it beside the paper's figure.

    anchors + a little noise                               scene features
        |                                          bev         agents       ego
        v                                           |             |          |
    clamp, metres -> places -> feature              |             |          |
        |                        |                  v             v          v
        |              [ spatial attention -> agent attention -> ego attention -> FFN -> level modulation -> heads ]
        |              [ the same with other weights, at the places that the first layer answered                  ]
        |                                                                                                  |
        +<------ step of the schedule (drive.plans.schedule): next, less noisy trajectories <------ x0 ----+

The weights of both layers serve every pass. Nothing of the scene depends on the pass: what it contributes to a layer is
made once (`LayerScene`). Spec sections 1.4 to 1.7; `drive.plans.diffusion_parts` has the pieces.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drive.plans.anchors import AffineRange, Coverage, coverage, k_means
from drive.plans.diffusion_parts import (
    CellValues,
    CrossAttention,
    EgoAttention,
    LevelEmbedding,
    MapRows,
    Modulation,
    PlaceEmbedding,
    ScoreAndPoses,
    SpatialAttention,
    Taps,
)
from drive.plans.losses import PlanLossConfig, measures, mode_losses
from drive.plans.proposals import Proposals, TrainingAnswer
from drive.plans.schedule import Schedule, add_noise, as_published
from drive.plans.trunk import BevFrame, SceneFeatures

METRES = 20.0
"""Points are divided by this where they are told in metres."""


@dataclass(frozen=True)
class DiffusionConfig:
    """The truncated-diffusion head. The defaults are the published NAVSIM variant's.

    modes, points, step_s: 20 anchors of 8 points at 0.5 s.
    channels, heads, ffn, layers, dropout: of the decoder.
    span: the affine range; None takes it from the training futures (spec 1.13).
    train_levels: noise levels of training, drawn from 0 to this less one.
    schedule: passes of inference. `drive.plans.schedule.true_ddim()` is the other mode.
    values: how the bird's-eye values are computed: "read" (each cell when it is first read), "dense" (whole maps, once
        a layer), "auto": "read" on a CPU, "dense" elsewhere.
    noise: False starts from the anchors themselves, without noise (deterministic).
    with_ego: adds to a trajectory's first feature a perceptron of its points in metres and the ego token. As published
        the ego reaches a mode as a sum under a norm alone: in short trainings scores do not learn to hear it.
    """

    modes: int = 20
    points: int = 8
    step_s: float = 0.5
    channels: int = 256
    heads: int = 8
    ffn: int = 1024
    layers: int = 2
    dropout: float = 0.1
    span: AffineRange | None = field(default_factory=AffineRange)
    train_levels: int = 50
    schedule: Schedule = field(default_factory=as_published)
    values: Literal["auto", "read", "dense"] = "auto"
    noise: bool = True
    with_ego: bool = False
    loss: PlanLossConfig = field(default_factory=PlanLossConfig)

    def build(self, frame: BevFrame, channels: int) -> DiffusionHead:
        """The head on features of a trunk with this map and these channels, which must be the head's own."""
        if channels != self.channels:
            raise ValueError(f"the trunk gives {channels} channels, the head takes {self.channels}")
        return DiffusionHead(self, frame)


@dataclass(frozen=True, eq=False)
class LayerScene:
    """What one layer reads of the scene in every pass."""

    values: CellValues
    agents: tuple[Tensor, Tensor, Tensor | None]
    ego: Tensor
    token: Tensor


class CascadeLayer(nn.Module):
    """One box of the figure: features [B, K, C] and places [B, K, T, 2] -> refined poses and scores."""

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        C = config.channels
        self.spatial = SpatialAttention(config.points, C, config.dropout)
        self.agents = CrossAttention(C, config.heads, config.dropout)
        self.agents_norm = nn.LayerNorm(C)
        self.ego = EgoAttention(C, config.dropout)
        self.ego_norm = nn.LayerNorm(C)
        self.ffn_in, self.ffn_out = nn.Linear(C, config.ffn), nn.Linear(config.ffn, C)
        self.ffn_norm = nn.LayerNorm(C)
        self.modulation = Modulation(C)
        self.heads = ScoreAndPoses(config.points, C)

    def scene(self, features: SceneFeatures, maps: MapRows, how: Literal["dense", "read"]) -> LayerScene:
        assert features.agents is not None
        values = CellValues(maps, self.spatial.value, how)
        agents = self.agents.keys(features.agents, features.agent_valid)
        return LayerScene(values, agents, self.ego.answer(features.ego), features.ego)

    def forward(self, f: Tensor, places: Tensor, taps: Taps, level: Tensor, scene: LayerScene) -> Proposals:
        f = self.spatial(f, taps, scene.values)
        f = self.agents_norm(self.agents(f, scene.agents))
        f = self.ego_norm(self.ego(f, scene.ego))
        f = self.ffn_norm(self.ffn_out(F.relu(self.ffn_in(f))))  # no residual here, as published
        f = self.modulation(f, level)
        offsets, logits = self.heads(f)
        poses = torch.cat((places + offsets[..., :2], torch.pi * offsets[..., 2:].tanh()), dim=-1)
        return Proposals(poses, logits)


class DiffusionHead(nn.Module):
    """Scene features -> proposals. `losses` trains it on noisy anchors, `propose` denoises them by the schedule."""

    anchors: Tensor
    span: Tensor

    def __init__(self, config: DiffusionConfig, frame: BevFrame) -> None:
        super().__init__()
        self.config, self.frame = config, frame
        self.places = PlaceEmbedding(config.points, config.channels)
        self.level = LevelEmbedding(config.channels)
        C = config.channels
        self.with_ego = (
            nn.Sequential(nn.Linear(2 * config.points + C, 4 * C), nn.ReLU(), nn.Linear(4 * C, C))
            if config.with_ego
            else None
        )
        self.layers = nn.ModuleList(CascadeLayer(config) for _ in range(config.layers))
        self.register_buffer("anchors", torch.zeros(config.modes, config.points, 2))
        rows = (config.span or AffineRange()).rows()
        self.register_buffer("span", torch.from_numpy(rows).float())

    def fit(self, futures: np.ndarray, seed: int) -> Coverage:
        """Set the anchors, and the range where the configuration leaves it open, from futures [N, T, 3]; answers what
        they cover. Raises UserError where there are too few.
        """
        anchors, span = k_means(futures, self.config.modes, seed), self.config.span or AffineRange.of_futures(futures)
        self.anchors.copy_(torch.from_numpy(anchors))
        self.span.copy_(torch.from_numpy(span.rows()))
        return coverage(anchors, futures, span, self.config.points * self.config.step_s)

    def narrow(self, dtype: torch.dtype = torch.bfloat16) -> DiffusionHead:
        """Weights in a narrower type, for inference. Anchors, places and noise stay float32: at 50 m a bfloat16 is
        12 cm off. The scene's features have to be of the same type."""
        for part in self.children():
            part.to(dtype)
        return self

    def normalise(self, places: Tensor) -> Tensor:
        """Metres [..., 2] -> -1..1."""
        return 2 * (places - self.span[:2, 0]) / self.span[:2, 1] - 1

    def denormalise(self, values: Tensor) -> Tensor:
        """The reverse of :meth:`normalise`."""
        return (values + 1) / 2 * self.span[:2, 1] + self.span[:2, 0]

    def noise(self, scenes: int, generator: torch.Generator | None = None) -> Tensor | None:
        """Fresh noise for `propose`, float32 [scenes, K, T, 2], drawn on the CPU; None where it is turned off."""
        if not self.config.noise:
            return None
        return torch.randn(scenes, *self.anchors.shape, generator=generator).to(self.anchors.device)

    def propose(self, features: SceneFeatures, noise: Tensor | None = None) -> Proposals:
        """Trajectories by the schedule. noise [B, K, T, 2]; None starts from the anchors as they are."""
        schedule, B = self.config.schedule, len(features.ego)
        sample = self.normalise(self.anchors).expand(B, -1, -1, -1)
        if noise is not None and schedule.start is not None:
            sample = add_noise(sample, noise, schedule.start)
        scenes = self._scenes(features)
        for step in schedule.steps:
            level = torch.full((1,), step.level, device=sample.device)
            answer = self._decode(self.denormalise(sample.clamp(-1, 1)), level, scenes)[-1]
            sample = step.next(self.normalise(answer.poses[..., :2]), sample)
        return answer

    def answer(self, features: SceneFeatures) -> TrainingAnswer:
        """One pass over anchors with noise of a level drawn for each scene."""
        B = len(features.ego)
        level = torch.randint(self.config.train_levels, (B,), device=self.anchors.device)
        anchors = self.anchors.expand(B, -1, -1, -1)
        sample = add_noise(self.normalise(anchors), torch.randn_like(anchors), level)
        layers = self._decode(self.denormalise(sample.clamp(-1, 1)), level, self._scenes(features))
        return TrainingAnswer(tuple(layers), anchors)

    def losses(self, answer: TrainingAnswer, future: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """Weighted "score" and "regression", and the measures (without gradient)."""
        watched = measures(answer.layers[-1], answer.anchors, future, valid)
        return {**mode_losses(answer, future, valid, self.config.loss), **watched}

    def _scenes(self, features: SceneFeatures) -> list[LayerScene]:
        if features.bev is None or features.agents is None:
            raise ValueError("a diffusion head needs a bird's-eye map and road users: this trunk gives neither")
        how = self.config.values
        if how == "auto":
            how = "read" if features.bev.device.type == "cpu" else "dense"
        maps = MapRows(features.bev)
        return [layer.scene(features, maps, how) for layer in self.layers]  # type: ignore[operator]

    def _decode(self, places: Tensor, level: Tensor, scenes: list[LayerScene]) -> list[Proposals]:
        """Every layer's proposals: the feature starts anew in each layer, the places go on."""
        feature, moment = self.places(places), self.level(level)
        if self.with_ego is not None:
            token = scenes[0].token.expand(-1, places.shape[1], -1)
            feature = feature + self.with_ego(torch.cat((places.flatten(-2) / METRES, token), dim=-1))
        found: list[Proposals] = []
        for layer, scene in zip(self.layers, scenes, strict=True):
            maps = scene.values.maps
            taps = Taps.at(places, self.frame, maps.height, maps.width)
            found.append(layer(feature, places, taps, moment, scene))
            places = found[-1].poses[..., :2].detach()
        return found
