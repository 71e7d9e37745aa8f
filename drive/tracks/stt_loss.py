"""STT's joint loss: association, states with their uncertainty, now and before, existence, birth, boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from drive.tracks.stt_batch import TrackBatch
from drive.tracks.stt_config import SttLossConfig
from drive.tracks.stt_layers import gaussian_nll

if TYPE_CHECKING:
    from drive.tracks.stt import Estimate


def stt_losses(
    logits: Tensor, now: Estimate, before: Tensor, born: Tensor, batch: TrackBatch, config: SttLossConfig
) -> dict[str, Tensor]:
    """The parts, weighted, each a mean over what it is defined for, and their sum "loss".

    Args:
        logits: [N, 1 + K] of the association; now: of the true pairs; before: [N, 8] states and log-variances at the
            last observation; born: [D] logits.
    """
    parts = {"association": config.association * _mean(F.cross_entropy(logits, batch.match, reduction="none"))}
    for name, state, spread, target, valid, share in (
        ("", now.state, now.log_variance, batch.state, batch.state_valid, 1.0),
        ("_before", before[:, :4], before[:, 4:], batch.state_before, batch.before_valid, config.before),
    ):
        error = state - target
        known = valid.repeat_interleave(2, dim=1)
        huber = F.huber_loss(state, target, reduction="none", delta=config.huber_mps)
        parts["velocity" + name] = share * config.velocity * _mean(huber[:, :2], known[:, :2])
        parts["acceleration" + name] = share * config.acceleration * _mean(huber[:, 2:], known[:, 2:])
        parts["spread" + name] = share * config.spread * _mean(gaussian_nll(error.detach(), spread), known)
    box = F.smooth_l1_loss(now.box, batch.box, reduction="none", beta=0.1).sum(dim=1)
    parts["box"] = config.box * _mean(box, batch.box_valid)
    exists = F.binary_cross_entropy_with_logits(now.exists, batch.exists, reduction="none")
    parts["existence"] = config.existence * _mean(exists, batch.exists_weight)
    birth = F.binary_cross_entropy_with_logits(born, batch.born, reduction="none")
    parts["birth"] = config.existence * _mean(birth, batch.born_weight)
    return {"loss": torch.stack(list(parts.values())).sum(), **parts}


def _mean(values: Tensor, weight: Tensor | None = None) -> Tensor:
    """Weighted mean; 0 (with a gradient) where nothing has weight."""
    if weight is None:
        return values.sum() / max(values.numel(), 1)
    weight = weight.to(values.dtype)
    return (values * weight).sum() / weight.sum().clamp(min=1.0)
