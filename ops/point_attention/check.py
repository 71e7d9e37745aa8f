"""The kernels of this operator against its reference (`python -m ops check`)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ops.compare import Comparison, both
from ops.examples import RANGE, VOXEL, make
from ops.point_attention import point_attention
from ops.voxelize import voxelize


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error) on "cpu" or "cuda"."""
    e = make(12_000, 3, 200, 2_000, 4, device)
    groups = voxelize(e.points, e.point_batch, RANGE, VOXEL, e.frames)
    g = torch.Generator().manual_seed(1)
    values = torch.randn(len(groups.order), 32, generator=g).to(device)
    scores = torch.randn(len(groups.order), 4, generator=g).to(device)
    yield from both("pooling", point_attention, (scores, values), (groups.offsets,), 5e-5)
