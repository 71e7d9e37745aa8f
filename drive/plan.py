"""``drive plan RECIPE``: train a planner on the drives of logs; and the planner of a trained run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from drive.errors import UserError
from drive.experiment import Experiment
from drive.features.images import without_weights
from drive.plans.learned import PlannerModel
from drive.plans.learned_planner import LearnedPlanner
from drive.recipes import load_recipe, override
from drive.samples.plan_sample_data import PlanDataConfig
from drive.train.folder import CONFIG, WEIGHTS
from drive.train.loop import train
from drive.train.weights import load_weights

HELP = """drive plan RECIPE [--out FOLDER] [--FIELD VALUE ...]

RECIPE is a module with a function experiment() that trains a planner, such as configs.town_diffusion.
--out        the run's folder (default runs/<the recipe's name>); the same command goes on where it was stopped
--FIELD      any field of the recipe, as --train.max-seconds 600 or --data.train-logs LOGS

Writes weights.safetensors, metrics.jsonl and, where the planner has anchors, anchors.json: what they cover.
"""


def plan_command(argv: Sequence[str]) -> int:
    """``drive plan``."""
    words = list(argv)
    if not words or words[0] in ("-h", "--help"):
        print(HELP)
        return 0
    experiment = load_recipe(words.pop(0))
    if not isinstance(experiment.data, PlanDataConfig):
        raise UserError(f"recipe {experiment.name}", "does not train a planner", "use it with `drive train`")
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=Path("runs") / experiment.name)
    own, rest = parser.parse_known_args(words)
    summary = train(override(experiment, rest, "drive plan RECIPE"), own.out)
    Console().print(f"{summary.steps} steps in {summary.seconds:.0f} s -> {summary.weights}", highlight=False)
    return 0


def load_planner(run: Path, device: str = "cpu", seed: int | None = 0) -> LearnedPlanner:
    """The planner of a run, ready to drive, with the headings of its paths. seed: of its noise; None: without any.

    Raises:
        UserError: no run, one of something else than a planner, a damaged file.
    """
    experiment = Experiment.read(run / CONFIG)
    model, data = without_weights(experiment.model).build(), experiment.data
    if not isinstance(model, PlannerModel) or not isinstance(data, PlanDataConfig):
        raise UserError(run, "is not a planner's run", "name a folder that `drive plan` made")
    load_weights(model, run / WEIGHTS)
    return LearnedPlanner(experiment.name, model.to(torch.device(device)).eval(), data.features, seed, "path")
