"""Boxes as what a head regresses at a voxel, and back (spec 1.2, 1.8).

Columns of a regression row: dx dy dz (metres from the voxel's centre), log l w h, 12 heading bin logits, 12 heading
residuals in bin widths (bins centred on multiples of 30 degrees, code: lingvo pillars_anchor_free.py), vx vy (m/s),
and 2 * IoU - 1 of the predicted box (code: DSVT, VoxelNeXt).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

HEADING_BINS = 12
BIN_WIDTH = 2 * math.pi / HEADING_BINS
OFFSET, LOG_SIZE = slice(0, 3), slice(3, 6)
BIN_LOGITS = slice(6, 6 + HEADING_BINS)
RESIDUALS = slice(BIN_LOGITS.stop, BIN_LOGITS.stop + HEADING_BINS)
VELOCITY = slice(RESIDUALS.stop, RESIDUALS.stop + 2)
IOU = VELOCITY.stop
REGRESSION_CHANNELS = IOU + 1
# exp(4) = 55 m: longer than any road user, and far from overflow in the first steps.
MAX_LOG_SIZE = 4.0


@dataclass(frozen=True)
class BoxTargets:
    """What the regression rows [M, ...] should be. bin: int64 [M]; residual [M] in (-0.5, 0.5]."""

    offset: Tensor
    log_size: Tensor
    bin: Tensor
    residual: Tensor
    velocity: Tensor


def encode_boxes(boxes: Tensor, centres: Tensor) -> BoxTargets:
    """boxes [M, 9] seen from voxel centres [M, 3]."""
    turns = boxes[:, 6] / BIN_WIDTH
    nearest = torch.floor(turns + 0.5)
    return BoxTargets(
        offset=boxes[:, :3] - centres,
        log_size=boxes[:, 3:6].clamp(min=1e-2).log(),
        bin=nearest.long() % HEADING_BINS,
        residual=turns - nearest,
        velocity=boxes[:, 7:9],
    )


def decode_boxes(regression: Tensor, centres: Tensor, bins: Tensor | None = None) -> Tensor:
    """Boxes [M, 9] of regression rows [M, REGRESSION_CHANNELS] at voxel centres [M, 3].

    bins: int64 [M] heading bins to read, for losses; the likeliest ones without it. Yaw is in (-pi, pi].
    """
    if bins is None:
        bins = regression[:, BIN_LOGITS].argmax(1)
    residual = regression[:, RESIDUALS].gather(1, bins[:, None])[:, 0]
    yaw = (bins + residual) * BIN_WIDTH
    yaw = math.pi - torch.remainder(math.pi - yaw, 2 * math.pi)
    return torch.cat(
        (
            regression[:, OFFSET] + centres,
            regression[:, LOG_SIZE].clamp(max=MAX_LOG_SIZE).exp(),
            yaw[:, None],
            regression[:, VELOCITY],
        ),
        1,
    )
