"""What a sensor-level trunk is taught beside planning: a semantic map of the ground and the vehicles around.

NAVSIM's TransFuser (spec 1.3, 1.8 of planning): cross-entropy of a map of the front half; 30 vehicles that are matched
one to one with the true ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ops.assignment import Candidates, assign

BOX_COLUMNS = ("x", "y", "heading", "length", "width")


class SemanticHead(nn.Module):
    """Fine map [B, C, H, W] -> logits [B, classes, *size] of its upper half (rows from H / 2 on: what lies ahead).

    The published code stretches the whole map over a target of the front half; here each cell answers for its place.
    """

    def __init__(self, channels: int, classes: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.inner, self.outer = nn.Conv2d(channels, channels, 3, padding=1), nn.Conv2d(channels, classes, 1)

    def forward(self, fine: Tensor) -> Tensor:
        ahead = fine[:, :, fine.shape[2] // 2 :]
        logits: Tensor = self.outer(F.relu(self.inner(ahead)))
        return F.interpolate(logits, size=self.size, mode="bilinear", align_corners=False)


class AgentHead(nn.Module):
    """Tokens [B, A, C] -> boxes [B, A, 5], BOX_COLUMNS (metres, radians; x, y within `reach_m`), logits [B, A]."""

    def __init__(self, channels: int, ffn: int, reach_m: float) -> None:
        super().__init__()
        self.reach_m = reach_m
        self.inner, self.outer = nn.Linear(channels, ffn), nn.Linear(ffn, len(BOX_COLUMNS))
        self.exists = nn.Linear(channels, 1)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        said = self.outer(F.relu(self.inner(tokens))).float()
        place, heading, size = self.reach_m * said[..., :2].tanh(), torch.pi * said[..., 2:3].tanh(), said[..., 3:]
        return torch.cat((place, heading, size), dim=-1), self.exists(tokens)[..., 0].float()


def semantic_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy over all cells; logits [B, K, h, w], target uint8 [B, h, w]."""
    return F.cross_entropy(logits.float(), target.long())


def agent_losses(
    boxes: Tensor, logits: Tensor, truth: Tensor, offsets: Tensor, class_weight: float, box_weight: float
) -> tuple[Tensor, Tensor]:
    """Existence (mean binary cross-entropy over B x A) and boxes (L1 summed over columns, mean over true vehicles).

    Each true vehicle is matched with one token of its scene: least `box_weight` L1 of x, y minus `class_weight` logit
    (of the published cost, cross-entropies with 1 and 0, this is the part that depends on the matching).

    Args:
        boxes: float32 [B, A, 5]; logits: float32 [B, A].
        truth: float32 [N, 5], at most A of a scene; those of scene b are rows offsets[b]:offsets[b + 1].
        offsets: int64 [B + 1].
        class_weight, box_weight: Of the cost, and nothing else.
    """
    B, A = logits.shape
    N = len(truth)
    scene = torch.repeat_interleave(torch.arange(B, device=logits.device), offsets.diff())
    with torch.no_grad():
        apart = (boxes[scene, :, :2] - truth[:, None, :2]).abs().sum(-1)
        cost = box_weight * apart - class_weight * logits[scene]
        column = (scene[:, None] * A + torch.arange(A, device=logits.device)).flatten()
        bounds = torch.arange(N + 1, device=logits.device) * A
        matched = assign(Candidates(bounds, column, cost.flatten().double()), B * A, row_offsets=offsets).column
    exists = torch.zeros(B * A, device=logits.device)
    exists[matched] = 1.0
    found = F.binary_cross_entropy_with_logits(logits.flatten(), exists)
    error = (boxes.flatten(0, 1)[matched] - truth).abs().sum() / max(N, 1)
    return found, error
