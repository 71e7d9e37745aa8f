"""Losses of the detectors (spec 1.8, 1.9, 5): all are sums, the caller divides by the number of objects."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from drive.boxes.coder import BIN_LOGITS, IOU, LOG_SIZE, OFFSET, RESIDUALS, VELOCITY, BoxTargets

# Smooth L1's switch from square to line (code: lingvo pillars_anchor_free.py).
HUBER_DELTA = 1 / 9
# A heat above this is a positive (spec 1.8).
POSITIVE_HEAT = 1 - 1e-3


def focal_loss(
    logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0, poly_epsilon: float = 0.0
) -> Tensor:
    """Binary focal loss, summed; target is bool or 0/1. Poly-1 adds epsilon (1 - p_t)^(gamma + 1) under the same
    class balance (PolyLoss, spec 5; scaling both by alpha is [inferred]). A negative alpha means no class balance."""
    target = target.to(logits.dtype)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p = torch.sigmoid(logits)
    miss = p + target - 2 * p * target
    loss = cross_entropy * miss**gamma
    if poly_epsilon:
        loss = loss + poly_epsilon * miss ** (gamma + 1)
    if alpha >= 0:
        loss = loss * (alpha * target + (1 - alpha) * (1 - target))
    return loss.sum()


def heat_focal_loss(
    logits: Tensor, heat: Tensor, alpha: float = 2.0, beta: float = 4.0, poly_epsilon: float = 0.0
) -> Tensor:
    """Penalty-reduced focal loss of a heat map (CornerNet; exponents from code: OpenPCDet), summed.

    A cell with heat h below 1 is a negative whose weight is (1 - h)^beta. Poly-1 as in spec 5 [inferred].
    """
    p = torch.sigmoid(logits)
    positive = heat > POSITIVE_HEAT
    miss = torch.where(positive, 1 - p, p)
    loss = F.softplus(torch.where(positive, -logits, logits)) * miss**alpha
    if poly_epsilon:
        loss = loss + poly_epsilon * miss ** (alpha + 1)
    return (loss * torch.where(positive, 1.0, (1 - heat) ** beta)).sum()


def quality_heat_loss(logits: Tensor, heat: Tensor, gamma: float = 2.0) -> Tensor:
    """Quality focal loss: cross entropy towards the heat itself, weighted |h - p|^gamma (Generalized Focal Loss, eq.
    5), summed. Every voxel near a centre teaches, not only the nearest one."""
    p = torch.sigmoid(logits)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, heat, reduction="none")
    return (cross_entropy * (heat - p).abs() ** gamma).sum()


def _huber(prediction: Tensor, target: Tensor) -> Tensor:
    return F.smooth_l1_loss(prediction, target, reduction="none", beta=HUBER_DELTA).sum(1)


def box_losses(regression: Tensor, target: BoxTargets, velocity_valid: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Weighted sums over rows of regression [M, C] of: offset, size, heading (bin cross entropy and residual) and
    velocity (rows with velocity_valid only). weight: float32 [M]."""
    residual = regression[:, RESIDUALS].gather(1, target.bin[:, None])
    heading = F.cross_entropy(regression[:, BIN_LOGITS], target.bin, reduction="none")
    heading = heading + _huber(residual, target.residual[:, None])
    velocity = _huber(regression[:, VELOCITY], target.velocity)
    return {
        "offset": (_huber(regression[:, OFFSET], target.offset) * weight).sum(),
        "size": (_huber(regression[:, LOG_SIZE], target.log_size) * weight).sum(),
        "heading": (heading * weight).sum(),
        "velocity": (velocity * weight * velocity_valid).sum(),
    }


def iou_branch_loss(regression: Tensor, iou: Tensor, weight: Tensor) -> Tensor:
    """Smooth L1 of the IoU branch towards 2 IoU - 1 of predicted box and its own target; iou [M] has no gradient."""
    return (_huber(regression[:, IOU : IOU + 1], (2 * iou - 1)[:, None]) * weight).sum()
