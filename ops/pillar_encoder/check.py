"""The kernels of this operator against its reference (`python -m ops check`)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ops.compare import Comparison, both
from ops.examples import RANGE, VOXEL, make
from ops.pillar_encoder import pillar_max, pillar_net
from ops.voxelize import voxelize


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error) on "cpu" or "cuda"; sums of at most 5000 terms of size 1."""
    e = make(12_000, 3, 200, 2_000, 4, device)
    groups = voxelize(e.points, e.point_batch, RANGE, VOXEL, e.frames)
    g = torch.Generator().manual_seed(1)
    features, *weights = (
        torch.randn(size, generator=g).to(device)
        for size in ((len(groups.order), 10), (10, 64), (64,), (64, 128), (64, 128), (128,))
    )
    yield from both(
        "one layer", lambda x, w, b, o: pillar_max(x, o, w, b), (features, *weights[:2]), (groups.offsets,), 2e-3
    )
    yield from both(
        "two layers", lambda x, *r: pillar_net(x, r[-1], *r[:-1]), (features, *weights), (groups.offsets,), 5e-3
    )
