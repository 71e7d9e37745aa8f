"""TransFuser's perceptron head on the same trunk and decisions as configs.town_diffusion."""

from __future__ import annotations

from configs.town_diffusion import data, training, trunk
from drive.experiment import Experiment
from drive.plans.learned import PlannerConfig
from drive.plans.mlp_head import MlpHeadConfig


def experiment() -> Experiment:
    """One trajectory from the ego token."""
    return Experiment(
        name="town_mlp",
        model=PlannerConfig(trunk=trunk(None), head=MlpHeadConfig(hidden=256)),
        data=data(),
        train=training(),
    )
