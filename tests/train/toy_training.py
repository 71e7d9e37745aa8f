"""A detector of a few hundred parameters and frames that need no logs: a training of seconds."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from drive.samples.batch import FrameBatch
from drive.samples.config import DataConfig
from drive.samples.sample import FrameSample
from drive.train.config import TrainConfig


class ToyDetector(nn.Module):
    """Guesses the mean point of each frame from its points; has a norm, dropout (random state) and a buffer."""

    def __init__(self, dropout: float, norm: bool) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 16)
        self.norm = nn.BatchNorm1d(16) if norm else nn.LayerNorm(16)
        self.drop = nn.Dropout(dropout)
        self.outer = nn.Linear(16, 3)

    def forward(self, batch: FrameBatch) -> Tensor:
        x = self.drop(torch.relu(self.norm(self.inner(batch.points))))
        summed = torch.zeros(batch.batch_size, 16).index_add(0, batch.point_batch, x.float())
        counts = (batch.point_offsets[1:] - batch.point_offsets[:-1]).clamp(min=1)
        return self.outer(summed / counts[:, None])

    def losses(self, output: Tensor, batch: FrameBatch) -> dict[str, Tensor]:
        output = output.float()
        target = torch.zeros_like(output).index_add(0, batch.point_batch, batch.points[:, :3])
        counts = (batch.point_offsets[1:] - batch.point_offsets[:-1]).clamp(min=1)
        error = (output - target / counts[:, None]) ** 2
        return {"loss": error.mean(), "x": error[:, 0].mean().detach()}


@dataclass(frozen=True)
class ToyModel:
    dropout: float = 0.2
    norm: bool = True

    def build(self) -> ToyDetector:
        return ToyDetector(self.dropout, self.norm)


@dataclass(frozen=True)
class ToyExperiment:
    name: str = "toy"
    model: Any = field(default_factory=ToyModel)
    data: DataConfig = field(default_factory=lambda: DataConfig(batch_size=2))
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=12, device="cpu", log_every=1))
    seed: int = 3

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    def hash(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]


class ToyFrames:
    """Frames of a fixed number of random points; `bad` names one that holds a NaN."""

    def __init__(self, frames: int = 9, points: int = 5, bad: int = -1) -> None:
        self.frames, self.points, self.bad = frames, points, bad

    def __len__(self) -> int:
        return self.frames

    def item(self, index: int, epoch: int = 0, repeat: int = 0, paste: bool = True) -> FrameSample:
        rng = np.random.default_rng([index, epoch, repeat])
        points = rng.normal(size=(self.points, 6)).astype(np.float32) + np.float32(index)
        if index == self.bad:
            points[1, 3] = np.nan
        return FrameSample(
            points=points,
            boxes=np.tile(np.array([[0, 0, 0, 1, 1, 1, 0, 0, 0]], np.float32), (1, 1)),
            labels=np.array([index % 3]),
            velocity_valid=np.ones(1, np.bool_),
            num_points=np.ones(1, np.int64),
            frame_id=f"toy/{index}",
        )

    def presence(self) -> np.ndarray:
        return np.arange(self.frames)[:, None] % 3 == np.arange(3)


def weights_hash(path: Any) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
