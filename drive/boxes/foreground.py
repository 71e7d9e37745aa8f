"""Foreground segmentation and voxel diffusion: tokens where object centres are, though no point is (spec 1.7)."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from drive.voxels.grid import GridSpec
from ops.dilate import Dilation, dilate, gather_max
from ops.segment import segment_sum

# Mean x y z from the token's centre, variance of x and y, covariance of x and y, amount.
SHAPE_CUES = 7
# Foreground starts rare (spec 1.13).
FOREGROUND_BIAS = -math.log(99)


@dataclass(frozen=True)
class ForegroundConfig:
    """threshold: a voxel is kept above it; 0.05, low on purpose: recall first (paper).

    max_kept: voxels a frame and group, the highest scores first; the spec's cap of 4096 for the first steps
        [inferred], kept for good: a frame that reaches it is counted in the output, never cut in silence.
    shape_cue: also tell tokens and heads the score-weighted mean and spread of the points in reach. Not in the paper:
        the maximum over the neighbourhood hides where its winner was, and a short training does not learn the
        geometry back from attention alone (see docs of the training recipes).
    """

    threshold: float = 0.05
    max_kept: int = 4096
    shape_cue: bool = False


def keep_voxels(
    score: Tensor, coords: Tensor, batch_size: int, config: ForegroundConfig, always: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Foreground voxels bool [V] of one group, and how many the cap left out (int64 scalar).

    score: float32 [V] highest foreground score of the group's classes; coords [V, 4] sorted by frame.
    always: bool [V] kept whatever the score: the true foreground while training, so that the head learns from
        complete objects from the first step on (spec 1.13, which does so for the first 5% of the steps; a step
        counter inside the model would be one more state to resume).
    """
    keep = score > config.threshold
    starts = torch.searchsorted(coords[:, 0].contiguous(), torch.arange(batch_size + 1, device=coords.device)).tolist()
    dropped = torch.zeros((), dtype=torch.int64, device=coords.device)
    for start, stop in itertools.pairwise(starts):
        if stop - start > config.max_kept:
            frame = keep[start:stop]
            best = score[start:stop].topk(config.max_kept).indices
            capped = torch.zeros_like(frame)
            capped[best] = frame[best]
            dropped += frame.sum() - capped.sum()
            keep[start:stop] = capped
    return (keep if always is None else keep | always), dropped


class VoxelDiffusion(nn.Module):
    """Kept voxels spread to their k x k neighbourhood; token = Linear([own or pooled feature, pooled score]).

    A cell that was occupied keeps its own feature, an empty one takes the channelwise maximum over the kept voxels
    in reach (the exact form is [inferred]; the pooled confidence as an input is the paper's).
    """

    def __init__(self, channels: int, kernel: int, config: ForegroundConfig) -> None:
        super().__init__()
        self.kernel, self.cues = kernel, SHAPE_CUES * config.shape_cue
        self.token = nn.Linear(channels + 1 + self.cues, channels)

    def forward(
        self, x: Tensor, score: Tensor, keep: Tensor, places: Tensor, coords: Tensor, grid: GridSpec, batch_size: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Spread kept voxels.

        x [V, C] features, score [V], keep bool [V], places [V, 3] mean point of each voxel (metres), coords [V, 4].
        Returns tokens [D, C], shape cues [D, 7] (or [D, 0] without), coords [D, 4] in key order, and anchors [D, 3]:
        where box offsets start, in metres; the token's centre, or in plan the mean of the points that its cue knows.
        """
        _, ny, nx = grid.shape
        spread = dilate(coords, keep, self.kernel, (ny, nx), batch_size)
        pooled = gather_max(torch.cat((x, score[:, None]), 1), spread.neighbours, spread.offsets)
        empty = (spread.source < 0)[:, None]
        own = x.index_select(0, spread.source.clamp(min=0)) if len(x) else pooled[:, :-1]
        cue = shape_cues(score, places, spread, grid, self.kernel) if self.cues else pooled[:, :0]
        token = self.token(torch.cat((torch.where(empty, pooled[:, :-1], own), pooled[:, -1:], cue), 1))
        anchors = grid.centres(spread.coords)
        if self.cues:
            anchors[:, :2] += cue[:, :2] * (self.kernel * grid.cell_size[0] / 2)
        return token, cue, spread.coords, anchors


@torch.no_grad()
def shape_cues(score: Tensor, places: Tensor, spread: Dilation, grid: GridSpec, kernel: int) -> Tensor:
    """Score-weighted moments of the kept voxels' mean points around each token, float32 [D, 7].

    Mean x y z from the token's centre, variances of x and y, covariance, root of the summed score; lengths in units
    of half the kernel's width (z in metres), so that every column is of order one.
    """
    reach = kernel * grid.cell_size[0] / 2
    unit = places.new_tensor([reach, reach, 1.0])
    rows = torch.repeat_interleave(
        torch.arange(len(spread.coords), device=places.device),
        spread.offsets[1:] - spread.offsets[:-1],
        output_size=len(spread.neighbours),
    )
    centre = grid.centres(spread.coords) / unit
    offset = (places / unit).index_select(0, spread.neighbours) - centre.index_select(0, rows)
    x, y, z = offset.unbind(1)
    weight = score.float().index_select(0, spread.neighbours).clamp(min=1e-4)
    moments = torch.stack((x, y, z, x * x, y * y, x * y, torch.ones_like(x)), 1) * weight[:, None]
    total = segment_sum(moments, spread.offsets)
    amount = total[:, 6:].clamp(min=1e-4)
    mean = total[:, :6] / amount
    product = mean[:, [0, 1, 0]] * mean[:, [0, 1, 1]]
    return torch.cat((mean[:, :3], mean[:, 3:] - product, amount.sqrt() / kernel), 1)
