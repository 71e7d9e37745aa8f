"""This operator beside its peers (`python -m ops bench`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ops.examples import RANGE, VOXEL, make
from ops.pair import Pair, with_gradient
from ops.point_attention import point_attention
from ops.segment import segment_ids
from ops.segment.bench import scatter_max
from ops.voxelize import voxelize


def _scatter_attention(ids: Tensor, segments: int) -> Callable[[Tensor, Tensor], Tensor]:
    def run(scores: Tensor, values: Tensor) -> Tensor:
        top = scatter_max(ids, segments)(scores.detach())
        weight = (scores - top[ids]).exp()
        total = torch.zeros_like(top).index_add(0, ids, weight)
        weighted = (weight / total[ids])[:, :, None] * values[:, None, :]
        return weighted.new_zeros(segments, *weighted.shape[1:]).index_add(0, ids, weighted)

    return run


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed."""
    e = make(120_000, 4, 1_000, 8_000, 4)
    groups = voxelize(e.points, e.point_batch, RANGE, VOXEL, e.frames)
    offsets = groups.offsets
    ids = segment_ids(offsets, len(groups.order))
    values, scores = torch.randn(len(ids), 64), torch.randn(len(ids), 4)
    yield Pair(
        "point attention, 4 heads, and gradient",
        "scatter softmax",
        with_gradient(lambda s, v: point_attention(s, v, offsets), scores, values),
        with_gradient(_scatter_attention(ids, len(groups.coords)), scores, values),
        1e-3,
    )
