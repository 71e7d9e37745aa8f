"""This operator beside its peers (`python -m ops bench`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ops.pair import Pair, with_gradient
from ops.point_attention import point_attention
from ops.segment import segment_ids
from ops.segment.bench import scatter_max


def _scatter_attention(ids: Tensor, segments: int) -> Callable[[Tensor, Tensor], Tensor]:
    def run(scores: Tensor, values: Tensor) -> Tensor:
        top = scatter_max(ids, segments)(scores.detach())
        weight = (scores - top[ids]).exp()
        total = torch.zeros_like(top).index_add(0, ids, weight)
        weighted = (weight / total[ids])[:, :, None] * values[:, None, :]
        return weighted.new_zeros(segments, *weighted.shape[1:]).index_add(0, ids, weighted)

    return run


def sweep_segments(seed: int = 0) -> Tensor:
    """Offsets of 13,600 pillars that hold about 176,000 points, as a Waymo sweep's do: most a few, some hundreds."""
    g = torch.Generator().manual_seed(seed)
    counts = (1.5 + 1.35 * torch.randn(13_600, generator=g)).exp().clamp(1, 600).long()
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def example(seed: int = 0, points: int = 2_000, heads: int = 8, channels: int = 128) -> tuple[Tensor, Tensor, Tensor]:
    """Scores [P, H], values [P, C] and offsets, cut to about so many points."""
    offsets = sweep_segments(seed)
    offsets = offsets[offsets <= points]
    g = torch.Generator().manual_seed(seed)
    P = int(offsets[-1])
    return torch.randn(P, heads, generator=g), torch.randn(P, channels, generator=g), offsets


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed."""
    scores, values, offsets = example(0, 1 << 40)
    peer = _scatter_attention(segment_ids(offsets, len(scores)), len(offsets) - 1)

    def ours() -> list[Tensor]:
        with torch.no_grad():
            return [point_attention(scores, values, offsets)]

    def theirs() -> list[Tensor]:
        with torch.no_grad():
            return [peer(scores, values)]

    size = f"{len(scores)} points, {len(offsets) - 1} pillars, 8 heads"
    yield Pair(f"point attention, {size}", "scatter softmax", ours, theirs, 1e-4)
    few = example(0, 60_000, 4, 64)
    small = _scatter_attention(segment_ids(few[2], len(few[0])), len(few[2]) - 1)
    yield Pair(
        f"point attention and gradient, {len(few[0])} points, 4 heads",
        "scatter softmax",
        with_gradient(lambda s, v: point_attention(s, v, few[2]), *few[:2]),
        with_gradient(small, *few[:2]),
        1e-3,
    )
