"""This operator beside its peers (`python -m ops bench`)."""

from __future__ import annotations

from collections.abc import Iterator

from ops.examples import make
from ops.pair import Pair
from ops.rotated_iou import reference, rotated_iou_bev


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed."""
    boxes = make(10, 1, 1_000, 10, 1).boxes
    a, b = boxes[:500], boxes[500:]
    yield Pair(
        f"rotated IoU {len(a)} x {len(b)}",
        "our torch reference",
        lambda: [rotated_iou_bev(a, b)],
        lambda: [reference.iou_matrix(a, b, False)],
        1e-5,
    )
