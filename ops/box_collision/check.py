"""The kernels of this operator against its reference (`python -m ops check`)."""

from __future__ import annotations

from collections.abc import Iterator

from ops.box_collision import boxes_touch, collisions, reference
from ops.box_collision.bench import example
from ops.compare import Comparison, gap


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error) on "cpu" or "cuda"."""
    ego, others = example(12, 9, 70)
    found = collisions(ego.to(device), others.to(device))
    yield "over time", gap(found, reference.touch(ego[:, :, None], others[None])), 0.0
    a, b = others[0], others[1] * 0.3
    yield "pairs", gap(boxes_touch(a.to(device), b.to(device)), reference.touch(a, b)), 0.0
