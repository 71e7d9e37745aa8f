"""Foreground segmentation and voxel diffusion: tokens where object centres are, though no point is (spec 1.7)."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from drive.voxels.grid import GridSpec
from ops.dilate import dilate, gather_max
from ops.segment import segment_mean

# Foreground starts rare (spec 1.13).
FOREGROUND_BIAS = -math.log(99)


@dataclass(frozen=True)
class ForegroundConfig:
    """threshold: a voxel is kept above it; 0.05, low on purpose: recall first (paper).

    max_kept: voxels a frame and group, the highest scores first; the spec's cap of 4096 for the first steps
        [inferred], kept for good: a frame that reaches it is counted in the output, never cut in silence.
    centre_cue: also tell a token where the mean of the kept voxels in reach lies. Not in the paper: the maximum over
        the neighbourhood hides where its winner was, and a short training does not learn it back from attention.
    """

    threshold: float = 0.05
    max_kept: int = 4096
    centre_cue: bool = False


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
        self.kernel, self.centre_cue = kernel, config.centre_cue
        self.token = nn.Linear(channels + 1 + 3 * config.centre_cue, channels)

    def forward(
        self, x: Tensor, score: Tensor, keep: Tensor, coords: Tensor, grid: GridSpec, batch_size: int
    ) -> tuple[Tensor, Tensor]:
        """x [V, C], score [V], keep bool [V], coords [V, 4] -> tokens [D, C] and their coords [D, 4] in key order."""
        _, ny, nx = grid.shape
        spread = dilate(coords, keep, self.kernel, (ny, nx), batch_size)
        pooled = gather_max(torch.cat((x, score[:, None]), 1), spread.neighbours, spread.offsets)
        empty = (spread.source < 0)[:, None]
        own = x.index_select(0, spread.source.clamp(min=0)) if len(x) else pooled[:, :-1]
        parts = [torch.where(empty, pooled[:, :-1], own), pooled[:, -1:]]
        if self.centre_cue:
            places = coords[:, 2:].to(x.dtype).index_select(0, spread.neighbours)
            to_mean = (segment_mean(places, spread.offsets) - spread.coords[:, 2:]) * (2 / self.kernel)
            count = (spread.offsets[1:] - spread.offsets[:-1]).to(x.dtype)[:, None]
            parts += [to_mean, count.sqrt() / self.kernel]
        return self.token(torch.cat(parts, 1)), spread.coords
