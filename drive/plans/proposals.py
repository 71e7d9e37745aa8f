"""What a trajectory head answers: several trajectories with scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Proposals:
    """K trajectories for each of B scenes.

    Attributes:
        poses: float32 [B, K, T, 3] x, y, heading in the ego frame.
        logits: float32 [B, K]; the highest is driven.
    """

    poses: Tensor
    logits: Tensor

    def best(self) -> Tensor:
        """[B, T, 3]: the trajectory that is driven."""
        return self.poses[torch.arange(len(self.poses), device=self.poses.device), self.logits.argmax(1)]


@dataclass(frozen=True, eq=False)
class TrainingAnswer:
    """What a head leaves for its loss.

    Attributes:
        layers: each layer's proposals.
        anchors: float32 [B, K, T, 2], clean ones: the nearest to the true future is the positive mode.
    """

    layers: tuple[Proposals, ...]
    anchors: Tensor
