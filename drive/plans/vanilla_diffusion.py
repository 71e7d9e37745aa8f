"""A plain diffusion policy: whole trajectories from white noise in many steps, by a one-dimensional U-Net.

The paper's comparison (Liao et al., arXiv 2411.15139, table of the roadmap) after Chi et al., "Diffusion Policy"
(arXiv 2303.04137): residual blocks of two convolutions along time, each modulated by the condition (ego token and noise
level). The network answers with the clean sample, as the truncated planner's does; widths are [inferred].
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drive.plans.anchors import AffineRange
from drive.plans.diffusion_parts import LevelEmbedding
from drive.plans.losses import PlanLossConfig, l1_of_modes
from drive.plans.proposals import Proposals
from drive.plans.schedule import LEVELS, Schedule, add_noise, from_white_noise
from drive.plans.trunk import BevFrame, SceneFeatures


@dataclass(frozen=True)
class VanillaConfig:
    """modes: trajectories drawn for each scene, each from noise of its own. There is no score: the first one is driven.
    widths: channels at full, half and quarter length; points must be divisible by 4.
    span: the affine range; None takes it from the training futures.
    schedule: 20 passes from white noise.
    loss: its regression weight scales the squared error of the normalised sample.
    levels_a_step: noises of each decision in a training step, each of its own level: the trunk answers once for all.
    """

    modes: int = 20
    points: int = 8
    step_s: float = 0.5
    channels: int = 256
    widths: tuple[int, int, int] = (128, 256, 512)
    span: AffineRange | None = field(default_factory=AffineRange)
    schedule: Schedule = field(default_factory=from_white_noise)
    loss: PlanLossConfig = field(default_factory=PlanLossConfig)
    levels_a_step: int = 1

    def build(self, frame: BevFrame, channels: int) -> VanillaHead:
        if channels != self.channels:
            raise ValueError(f"the trunk gives {channels} channels, the head takes {self.channels}")
        if self.points % 4:
            raise ValueError(f"points must be divisible by 4, not {self.points}")
        return VanillaHead(self)


class TimeBlock(nn.Module):
    """Two convolutions along time with a residual; the condition scales and shifts between them."""

    def __init__(self, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(inputs, outputs, 3, padding=1), nn.Conv1d(outputs, outputs, 3, padding=1)
        self.first_norm, self.second_norm = nn.GroupNorm(8, outputs), nn.GroupNorm(8, outputs)
        self.condition = nn.Linear(condition, 2 * outputs)
        self.across = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.condition(F.mish(condition))[..., None].chunk(2, dim=1)
        h = F.mish(self.first_norm(self.first(x))) * (1 + scale) + shift
        found: Tensor = F.mish(self.second_norm(self.second(h))) + self.across(x)
        return found


class VanillaHead(nn.Module):
    """Ego token -> trajectories from white noise; (x, y, heading) are diffused."""

    span: Tensor

    def __init__(self, config: VanillaConfig) -> None:
        super().__init__()
        self.config = config
        C, (full, half, quarter) = config.channels, config.widths
        condition = 2 * C
        self.level = LevelEmbedding(C)
        self.down = nn.ModuleList([TimeBlock(3, full, condition), TimeBlock(full, half, condition)])
        self.shorten = nn.ModuleList([nn.Conv1d(width, width, 3, 2, 1) for width in (full, half)])
        self.middle = TimeBlock(half, quarter, condition)
        self.lengthen = nn.ModuleList(
            [nn.ConvTranspose1d(quarter, half, 4, 2, 1), nn.ConvTranspose1d(half, full, 4, 2, 1)]
        )
        self.up = nn.ModuleList([TimeBlock(2 * half, half, condition), TimeBlock(2 * full, full, condition)])
        self.out = nn.Conv1d(full, 3, 1)
        self.register_buffer("span", torch.from_numpy((config.span or AffineRange()).rows()).float())

    def fit(self, futures: np.ndarray, seed: int) -> None:
        """Set the range from futures [N, T, 3] where the configuration leaves it open."""
        if self.config.span is None:
            self.span.copy_(torch.from_numpy(AffineRange.of_futures(futures).rows()))

    def noise(self, scenes: int, generator: torch.Generator | None = None) -> Tensor:
        """White noise for `propose`, float32 [scenes, K, T, 3]."""
        shape = scenes, self.config.modes, self.config.points, 3
        return torch.randn(shape, generator=generator).to(self.span.device)

    def propose(self, features: SceneFeatures, noise: Tensor | None = None) -> Proposals:
        """Trajectories by the schedule, K a scene. noise [B, K, T, 3]; None takes zeros."""
        B, config = len(features.ego), self.config
        shape = B, config.modes, config.points, 3
        sample = torch.zeros(shape, device=self.span.device) if noise is None else noise
        ego = features.ego.expand(-1, config.modes, -1).flatten(0, 1)
        for step in config.schedule.steps:
            level = torch.full((1,), step.level, device=sample.device)
            clean = self._clean(sample.flatten(0, 1), ego, level.expand(len(ego))).reshape(shape)
            sample = step.next(clean, sample)
        poses = (clean + 1) / 2 * self.span[:, 1] + self.span[:, 0]
        logits = torch.zeros(B, config.modes, device=sample.device)
        logits[:, :1] = 1.0
        return Proposals(poses, logits)

    def answer(self, features: SceneFeatures) -> SceneFeatures:
        """The features: noise is drawn on the true future, so the pass itself is in `losses`."""
        return features

    def losses(self, answer: SceneFeatures, future: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """Weighted "regression", and the mean L1 over x and y in metres of one pass (without gradient)."""
        often = self.config.levels_a_step
        future, valid, ego = (torch.cat([v] * often) for v in (future, valid, answer.ego))
        clean = 2 * (future - self.span[:, 0]) / self.span[:, 1] - 1
        level = torch.randint(LEVELS, (len(future),), device=future.device)
        said = self._clean(add_noise(clean, torch.randn_like(clean), level), ego, level)
        squares = ((said - clean) ** 2).mean(-1) * valid
        error = squares.sum() / valid.sum().clamp(min=1)
        with torch.no_grad():
            poses = (said + 1) / 2 * self.span[:, 1] + self.span[:, 0]
            first = torch.zeros(len(poses), dtype=torch.int64, device=poses.device)
            l1_m = l1_of_modes(poses[:, None, :, :2], first, future, valid)
        loss = self.config.loss
        return {"regression": loss.total * loss.regression * error, "l1_m": l1_m}

    def _clean(self, sample: Tensor, ego: Tensor, level: Tensor) -> Tensor:
        """Sample [N, T, 3], ego [N, 1, C], level [N] -> clean sample."""
        condition = torch.cat((ego[:, 0] if ego.dim() == 3 else ego, self.level(level)[:, 0]), dim=1)
        x, kept = sample.transpose(1, 2), []
        for block, shorten in zip(self.down, self.shorten, strict=True):
            x = block(x, condition)
            kept.append(x)
            x = shorten(x)
        x = self.middle(x, condition)
        for lengthen, block in zip(self.lengthen, self.up, strict=True):
            x = block(torch.cat((lengthen(x), kept.pop()), dim=1), condition)
        found: Tensor = self.out(x).transpose(1, 2).float()
        return found
