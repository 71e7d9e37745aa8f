"""This operator beside its peers (`python -m ops bench`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ops.examples import RANGE, VOXEL, make
from ops.pair import Pair, with_gradient
from ops.segment import segment_ids, segment_max
from ops.voxelize import voxelize


def scatter_max(ids: Tensor, segments: int) -> Callable[[Tensor], Tensor]:
    """torch's usual way: zeros where a segment is empty."""
    return lambda v: v.new_zeros(segments, v.shape[1]).scatter_reduce(
        0, ids[:, None].expand_as(v), v, "amax", include_self=False
    )


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed."""
    e = make(120_000, 4, 1_000, 8_000, 4)
    groups = voxelize(e.points, e.point_batch, RANGE, VOXEL, e.frames)
    offsets = groups.offsets
    ids = segment_ids(offsets, len(groups.order))
    values = torch.randn(len(ids), 64)
    yield Pair(
        "segment max, 64 channels, and gradient",
        "scatter_reduce amax",
        with_gradient(lambda v: segment_max(v, offsets), values),
        with_gradient(scatter_max(ids, len(groups.coords)), values),
        1e-6,
    )
