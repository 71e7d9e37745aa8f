"""The kernels of this operator against its reference (`python -m ops check`)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ops.compare import Comparison, gap
from ops.examples import make
from ops.rotated_nms import reference, rotated_nms


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error) on "cpu" or "cuda"."""
    e = make(12_000, 3, 200, 2_000, 4, device)
    limits = [0.1, 0.3, 0.5]
    kept = rotated_nms(e.boxes, e.scores, e.labels, limits)
    thresholds = torch.tensor(limits, dtype=torch.float64)
    yield "kept boxes", gap(kept, reference.rotated_nms(e.boxes.cpu(), e.scores.cpu(), e.labels.cpu(), thresholds)), 0.0
