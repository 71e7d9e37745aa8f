"""Losses of the planners (spec 1.8, 1.11)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from drive.boxes.losses import focal_loss
from drive.plans.proposals import Proposals, TrainingAnswer


@dataclass(frozen=True)
class PlanLossConfig:
    """Weights; the defaults are the NAVSIM variant's.

    score: of the focal loss on logits; regression: of the L1 between the positive mode and the true future.
    total: of their sum over layers, beside a trunk's own losses (a sensor-level trunk also learns boxes and a semantic
        map; the object-level one is given both).
    alpha, gamma: the focal loss's.
    softmax: scores the modes by cross-entropy over them instead of the focal loss (`score` is then its weight).
    """

    score: float = 10.0
    regression: float = 8.0
    total: float = 12.0
    alpha: float = 0.25
    gamma: float = 2.0
    softmax: bool = False

    @staticmethod
    def nuscenes() -> PlanLossConfig:
        """Focal 0.5 and L1 1.0, not scaled as a whole (spec 1.11)."""
        return PlanLossConfig(score=0.5, regression=1.0, total=1.0)


def positive_modes(anchors: Tensor, future: Tensor, valid: Tensor) -> Tensor:
    """int64 [B]: the clean anchor [B, K, T, 2] with the least mean distance to the future [B, T, >= 2] over its valid
    points, bool [B, T] (the first of equals)."""
    distance = (anchors - future[:, None, :, :2]).norm(dim=-1)
    share = valid / valid.sum(1, keepdim=True).clamp(min=1)
    return (distance * share[:, None]).sum(-1).argmin(1)


def l1_of_modes(poses: Tensor, modes: Tensor, future: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute difference, over all valid numbers, of the chosen modes' poses [B, K, T, D] and the future's
    [B, T, D]. Headings are compared as they stand, as published: both lie within +-pi around straight ahead."""
    chosen = poses[torch.arange(len(poses), device=poses.device), modes]
    error = (chosen - future[..., : chosen.shape[-1]]).abs() * valid[..., None]
    return error.sum() / (valid.sum() * chosen.shape[-1]).clamp(min=1)


def mode_losses(
    answer: TrainingAnswer, future: Tensor, valid: Tensor, config: PlanLossConfig, modes: Tensor | None = None
) -> dict[str, Tensor]:
    """Scalars: "score" and "regression" over all layers, weighted as in the total.

    The answer's poses have columns (x, y) or (x, y, heading); future: float32 [B, T, 3]; valid: bool [B, T]. Scenes
    without any valid point teach neither. modes: int64 [B], where the positive ones are known already.
    """
    modes = positive_modes(answer.anchors, future, valid) if modes is None else modes
    known = valid.any(1)
    score, regression = answer.anchors.new_zeros(()), answer.anchors.new_zeros(())
    for layer in answer.layers:
        target = F.one_hot(modes, layer.logits.shape[1])
        logits, target = layer.logits[known], target[known]
        if config.softmax:
            missed = -(target * logits.log_softmax(1)).sum() / max(len(logits), 1)
        else:
            missed = focal_loss(logits, target, config.alpha, config.gamma) / max(logits.numel(), 1)
        score = score + config.score * missed
        regression = regression + config.regression * l1_of_modes(layer.poses, modes, future, valid)
    return {"score": config.total * score, "regression": config.total * regression}


def measures(answer: Proposals, anchors: Tensor, future: Tensor, valid: Tensor) -> dict[str, Tensor]:
    """What is watched in training, without gradient: "l1_m", the positive mode's mean L1 over x and y in metres;
    "chosen", the share of scenes whose driven mode is the positive one."""
    with torch.no_grad():
        modes = positive_modes(anchors, future, valid)
        return {
            "l1_m": l1_of_modes(answer.poses[..., :2], modes, future, valid),
            "chosen": (answer.logits.argmax(1) == modes)[valid.any(1)].float().mean().nan_to_num(),
        }
