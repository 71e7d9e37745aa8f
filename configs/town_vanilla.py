"""A plain diffusion policy (20 passes from white noise) on the same trunk and decisions as configs.town_diffusion."""

from __future__ import annotations

from configs.town_diffusion import CHANNELS, GUESS, data, training, trunk
from drive.experiment import Experiment
from drive.plans.learned import PlannerConfig
from drive.plans.vanilla_diffusion import VanillaConfig


def experiment() -> Experiment:
    """A U-Net along time that sees the ego token."""
    return Experiment(
        name="town_vanilla",
        model=PlannerConfig(
            trunk=trunk(None),
            head=VanillaConfig(channels=CHANNELS, widths=(64, 128, 256), span=None, levels_a_step=4),
            guess=GUESS,
        ),
        data=data(),
        train=training(),
    )
