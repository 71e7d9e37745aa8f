"""The kernels of this operator against its reference (`python -m ops check`)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ops.compare import Comparison, gap
from ops.kalman import AB3DMOT, Tracks, predict, predict_update, reference, update
from ops.kalman.bench import example


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error) on "cpu" or "cuda"."""
    tracks, dt, Q, measured, R = example(70)
    rows = torch.arange(0, 70, 2)
    here = [t.to(device) for t in (*tracks, dt, Q, rows, measured[rows], R)]
    ahead = predict(AB3DMOT, Tracks(here[0], here[1]), here[2], here[3])
    wanted = reference.predict(*tracks, dt, Q[None], list(AB3DMOT.derivative))
    yield "predict", max(gap(x, y) for x, y in zip(ahead, wanted, strict=True)), 1e-9
    found = update(AB3DMOT, ahead, here[4], here[5], here[6])
    exact = reference.update(*wanted, rows, measured[rows], R[None], AB3DMOT.heading)[:2]
    yield "update", max(gap(x, y) for x, y in zip(found, exact, strict=True)), 1e-9
    both = predict_update(AB3DMOT, Tracks(here[0], here[1]), here[2], here[3], here[4], here[5], here[6])
    yield "predict_update", max(gap(x, y) for x, y in zip(both, exact, strict=True)), 1e-9
