"""The kernels of this operator against its reference (`python -m ops check`)."""

from __future__ import annotations

from collections.abc import Iterator

from ops.compare import Comparison, gap
from ops.examples import make
from ops.points_in_boxes import points_in_boxes, reference


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error) on "cpu" or "cuda"."""
    e = make(12_000, 3, 200, 2_000, 4, device)
    points, boxes = e.points.double(), e.boxes.double()
    found = points_in_boxes(points, boxes, e.point_batch, e.labels)
    cpu = [t.cpu() for t in (points, e.point_batch, boxes, e.labels)]
    wanted_boxes, wanted_counts = reference.points_in_boxes(*cpu)
    yield "first box", gap(found.box, wanted_boxes), 0.0
    yield "counts", gap(found.counts, wanted_counts), 0.0
