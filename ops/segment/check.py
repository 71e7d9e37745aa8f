"""The kernels of this operator against its reference (`python -m ops check`)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ops.compare import Comparison, both
from ops.examples import RANGE, VOXEL, make
from ops.segment import REDUCTIONS, segment_reduce
from ops.voxelize import voxelize


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error) on "cpu" or "cuda"."""
    e = make(12_000, 3, 200, 2_000, 4, device)
    groups = voxelize(e.points, e.point_batch, RANGE, VOXEL, e.frames)
    values = torch.randn(len(groups.order), 32, generator=torch.Generator().manual_seed(1)).to(device)
    for how in REDUCTIONS:
        yield from both(how, lambda v, o, how=how: segment_reduce(v, o, how), (values,), (groups.offsets,), 2e-5)
