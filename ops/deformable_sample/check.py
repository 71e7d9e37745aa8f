"""This operator's kernels against their reference (`python -m ops check`)."""

from __future__ import annotations

from collections.abc import Iterator

from ops.compare import Comparison, both
from ops.deformable_sample import deformable_sample, sample_map
from ops.deformable_sample.bench import example, scene


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error)."""
    value, shapes, at, weights = example(0)
    value, at, weights = value.to(device), at.to(device), weights.to(device)
    # Places round to 6e-8 of the map: values are off by 1e-6, differences of values times 9 cells by 1e-5.
    yield from both("samples", lambda v, a, w: deformable_sample(v, shapes, a, w), (value, at, weights), (), 5e-5)
    value, at, weights = (t.to(device) for t in scene(2, 3, 1, 20, [(16, 16)], 4))
    maps = value.reshape(2, 16, 16, 20).permute(0, 3, 1, 2).contiguous()
    yield from both("one map", sample_map, (maps, at[:, :, 0, 0], weights[:, :, 0, 0]), (), 1e-4)
