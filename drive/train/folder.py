"""The folder of a run: ours or empty, and of one experiment only."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from torch import nn

from drive.errors import UserError
from drive.samples.config import DataConfig
from drive.samples.plan_sample_data import PlanDataConfig
from drive.tracks.history_data import TrackDataConfig
from drive.train.config import TrainConfig
from drive.train.weights import write_atomic

CONFIG, WEIGHTS, CHECKPOINTS, BANK = "config.json", "weights.safetensors", "checkpoints", "object_bank.arrow"
COVERAGE = "anchors.json"


class ModelConfig(Protocol):
    """A model's configuration."""

    def build(self) -> nn.Module:
        """The module: `forward(batch) -> output`, `losses(output, batch) -> dict with "loss"`."""
        ...


class ExperimentLike(Protocol):
    """What training needs of an experiment (`drive.experiment.Experiment` is one)."""

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> Any: ...

    @property
    def data(self) -> DataConfig | TrackDataConfig | PlanDataConfig: ...

    @property
    def train(self) -> TrainConfig: ...

    @property
    def seed(self) -> int: ...

    def to_json(self) -> str:
        """The resolved configuration."""
        ...

    def hash(self) -> str:
        """Of the configuration."""
        ...


def claim_folder(experiment: ExperimentLike, folder: Path) -> None:
    """Make `folder` the run's folder, or find that it is already.

    Raises:
        UserError: It holds something else, another experiment, or cannot be written.
    """
    config = folder / CONFIG
    if folder.exists() and not folder.is_dir():
        raise UserError(folder, "is a file", "name a folder for the run")
    if folder.is_dir() and not config.is_file() and any(folder.iterdir()):
        raise UserError(folder, "is not empty and not a run", "name a new folder for the run")
    if config.is_file():
        if config.read_text() != experiment.to_json():
            what = "this folder holds a run with another configuration"
            raise UserError(config, what, "name a new folder, or delete this one to start over")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(folder, f"cannot be made ({error.strerror})", "name a folder that you may write to") from error
    write_atomic(config, lambda path: _write_text(path, experiment.to_json()))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text)
