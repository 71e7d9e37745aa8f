"""This operator beside its peers (`python -m ops bench`)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ops.examples import make
from ops.pair import Pair
from ops.rotated_nms import reference, rotated_nms


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed."""
    e = make(10, 1, 1_000, 10, 1)
    limits = torch.full((3,), 0.2, dtype=torch.float64)
    yield Pair(
        f"rotated NMS, {len(e.boxes)} boxes, 3 classes",
        "our torch reference",
        lambda: [rotated_nms(e.boxes, e.scores, e.labels, [0.2] * 3)],
        lambda: [reference.rotated_nms(e.boxes, e.scores, e.labels, limits)],
    )
