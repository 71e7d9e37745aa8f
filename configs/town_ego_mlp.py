"""The baseline that sees nothing of the world: status and past of the ego through a perceptron."""

from __future__ import annotations

from configs.town_diffusion import CHANNELS, data, training
from drive.experiment import Experiment
from drive.plans.learned import PlannerConfig
from drive.plans.mlp_head import MlpHeadConfig
from drive.plans.trunk_object import EgoTrunkConfig


def experiment() -> Experiment:
    """The same head and decisions as configs.town_mlp; the command is part of the ego's status."""
    return Experiment(
        name="town_ego_mlp",
        model=PlannerConfig(trunk=EgoTrunkConfig(channels=CHANNELS), head=MlpHeadConfig(hidden=256)),
        data=data(),
        train=training(),
    )
