"""This operator beside its peers (`python -m ops bench`)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ops.examples import make
from ops.pair import Pair
from ops.points_in_boxes import points_in_boxes, reference


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed."""
    e = make(120_000, 4, 1_000, 8_000, 4)
    points, boxes = e.points.double(), e.boxes[:100].double()
    one_frame = torch.zeros_like(e.point_batch), torch.zeros(100, dtype=torch.int64)
    yield Pair(
        f"points in boxes, {len(e.points)} x 100",
        "our torch reference",
        lambda: list(points_in_boxes(points, boxes)),
        lambda: list(reference.points_in_boxes(points, one_frame[0], boxes, one_frame[1])),
    )
