"""One trajectory from the ego token through a perceptron: TransFuser's head (Chitta et al., arXiv 2205.15997)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drive.plans.losses import PlanLossConfig, measures, mode_losses
from drive.plans.proposals import Proposals, TrainingAnswer
from drive.plans.trunk import BevFrame, SceneFeatures


@dataclass(frozen=True)
class MlpHeadConfig:
    """hidden: width of the one hidden layer. loss: its regression part; there is one mode and no score."""

    points: int = 8
    step_s: float = 0.5
    hidden: int = 1024
    loss: PlanLossConfig = field(default_factory=lambda: PlanLossConfig(score=0.0))

    def build(self, frame: BevFrame, channels: int) -> MlpHead:
        return MlpHead(self, channels)


class MlpHead(nn.Module):
    """Ego token -> one trajectory."""

    def __init__(self, config: MlpHeadConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        self.inner, self.outer = nn.Linear(channels, config.hidden), nn.Linear(config.hidden, 3 * config.points)

    def fit(self, futures: np.ndarray, seed: int) -> None:
        """Nothing is taken from the futures."""

    def noise(self, scenes: int, generator: torch.Generator | None = None) -> None:
        """None is needed."""

    def propose(self, features: SceneFeatures, noise: Tensor | None = None) -> Proposals:
        poses = self.outer(F.relu(self.inner(features.ego))).float().unflatten(2, (self.config.points, 3))
        poses = torch.cat((poses[..., :2], torch.pi * poses[..., 2:].tanh()), dim=-1)
        return Proposals(poses, poses.new_zeros(poses.shape[:2]))

    def answer(self, features: SceneFeatures) -> TrainingAnswer:
        found = self.propose(features)
        return TrainingAnswer((found,), found.poses[..., :2].detach())

    def losses(self, answer: TrainingAnswer, future: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """Weighted "regression", and the measures (without gradient)."""
        terms = mode_losses(answer, future, valid, self.config.loss)
        watched = measures(answer.layers[-1], answer.anchors, future, valid)
        return {"regression": terms["regression"], "l1_m": watched["l1_m"]}
