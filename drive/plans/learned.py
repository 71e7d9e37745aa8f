"""A learned planner: a trunk and a head, trained on plan samples, asked about drives."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from drive.plans.anchors import Coverage
from drive.plans.diffusion import DiffusionConfig
from drive.plans.diffusion_nuscenes import NuscenesConfig
from drive.plans.losses import l1_of_modes
from drive.plans.mlp_head import MlpHeadConfig
from drive.plans.proposals import Proposals
from drive.plans.trunk import SceneFeatures
from drive.plans.trunk_object import EgoTrunkConfig, ObjectTrunkConfig
from drive.plans.trunk_sensor import SensorTrunkConfig
from drive.plans.vanilla_diffusion import VanillaConfig
from drive.samples.plan_sample_batch import PlanBatch


@dataclass(frozen=True)
class PlannerConfig:
    """Trunk and head of a learned planner; building it refuses a head that takes features of another size.

    guess: weight of a loss in training alone: the L1 of one trajectory that a perceptron reads off the ego token. It
        teaches the trunk what the ego is about to do, as other trunks are taught by maps and boxes; 0: none.
    """

    trunk: ObjectTrunkConfig | EgoTrunkConfig | SensorTrunkConfig
    head: DiffusionConfig | NuscenesConfig | MlpHeadConfig | VanillaConfig
    guess: float = 0.0

    def build(self) -> PlannerModel:
        return PlannerModel(self)


@dataclass(frozen=True, eq=False)
class TrainingPass:
    """What a training pass leaves for the losses: the head's answer, the guess's poses, what the trunk is taught."""

    answer: Any
    guessed: Tensor | None
    taught: Any


TAUGHT = ("score", "regression", "guess", "semantic", "agent_class", "agent_box")
"""The terms of the loss; the last three are a sensor-level trunk's."""


class PlannerModel(nn.Module):
    """`forward(batch)` and `losses` train it; `propose` gives trajectories."""

    def __init__(self, config: PlannerConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk: nn.Module = config.trunk.build()
        self.head: Any = config.head.build(config.trunk.frame, config.trunk.channels)
        guess = MlpHeadConfig(config.head.points, config.head.step_s, 4 * config.trunk.channels)
        self.guess = guess.build(config.trunk.frame, config.trunk.channels) if config.guess else None

    def fit(self, futures: np.ndarray, seed: int) -> Coverage | None:
        """What the head takes from the training futures [N, T, 3]: anchors, ranges. Before the first step. Answers what
        the anchors cover; None where a head has none."""
        found: Coverage | None = self.head.fit(futures, seed)
        return found

    def forward(self, batch: PlanBatch) -> TrainingPass:
        features: SceneFeatures = self.trunk(batch)
        guessed = None if self.guess is None else self.guess.propose(features).poses
        return TrainingPass(self.head.answer(features), guessed, features.taught)

    def losses(self, made: TrainingPass, batch: PlanBatch) -> dict[str, Tensor]:
        """Scalars: "loss" is the sum of the weighted terms (TAUGHT, those that there are); the rest is watched only.

        made: what `forward` gave.
        """
        guessed = made.guessed
        points = self.config.head.points
        if batch.future.shape[1] != points:
            raise ValueError(f"the head plans {points} points, the samples have futures of {batch.future.shape[1]}")
        terms: dict[str, Tensor] = self.head.losses(made.answer, batch.future, batch.future_valid)
        if guessed is not None:
            first = torch.zeros(len(guessed), dtype=torch.int64, device=guessed.device)
            error = l1_of_modes(guessed, first, batch.future, batch.future_valid)
            terms = {**terms, "guess": self.config.guess * error}
        if made.taught is not None:
            trunk: Any = self.trunk
            terms = {**terms, **trunk.losses(made.taught, batch)}
        taught = [terms[name] for name in TAUGHT if name in terms]
        return {"loss": torch.stack(taught).sum(), **{name: term.detach() for name, term in terms.items()}}

    @torch.inference_mode()
    def propose(self, batch: PlanBatch, seed: int | None = 0) -> Proposals:
        """Trajectories of every decision, in eval mode. Noise is a function of (seed, the decision's name) alone, so
        that a scene is answered alike in any batch; None starts without noise."""
        if self.training:
            raise ValueError("the planner is in training mode: call eval() first")
        noise = None if seed is None else self._noise(batch.frame_ids, seed)
        proposals: Proposals = self.head.propose(self.trunk(batch), noise)
        return proposals

    def _noise(self, names: Sequence[str], seed: int) -> Tensor | None:
        drawn = []
        for name in names:
            digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
            drawn.append(self.head.noise(1, generator))
        return None if not drawn or drawn[0] is None else torch.cat(drawn)
