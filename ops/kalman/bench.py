"""This operator beside its peers (`python -m ops bench`): filterpy's objects, one a track, and our torch reference."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ops.kalman import AB3DMOT, Tracks, predict_update, reference
from ops.pair import Pair


def example(count: int, seed: int = 0) -> tuple[Tracks, Tensor, Tensor, Tensor, Tensor]:
    """Tracks with AB3DMOT's covariances, dt, Q, measurements of all, R."""
    g = torch.Generator().manual_seed(seed)
    mean = torch.randn(count, 10, generator=g, dtype=torch.float64)
    mean[:, 3].clamp_(-1, 1)
    P = torch.diag(torch.tensor([10.0] * 7 + [10_000.0] * 3, dtype=torch.float64)).repeat(count, 1, 1)
    P = P + torch.randn(count, 10, 10, generator=g, dtype=torch.float64).mul_(0.1) @ torch.eye(10).double()
    P = (P + P.mT) / 2
    Q = torch.diag(torch.tensor([1.0] * 7 + [0.01] * 3, dtype=torch.float64))
    measured = mean[:, :7] + 0.2 * torch.rand(count, 7, generator=g, dtype=torch.float64)
    return Tracks(mean, P), torch.full((count,), 0.5, dtype=torch.float64), Q, measured, torch.eye(7).double()


def with_filterpy(tracks: Tracks, dt: Tensor, Q: Tensor, measured: Tensor, R: Tensor) -> Callable[[], list[Tensor]]:
    """One predict and update of an object a track, as AB3DMOT does it, from the same state each time."""
    import numpy as np
    from filterpy.kalman import KalmanFilter

    filters = []
    for step in reference.transition(dt, list(AB3DMOT.derivative)).numpy():
        one = KalmanFilter(10, 7)
        one.F, one.H, one.R, one.Q = step, np.eye(7, 10), R.numpy(), Q.numpy()
        filters.append(one)
    means, covariances, seen = tracks.mean.numpy()[:, :, None], tracks.covariance.numpy(), measured.numpy()[:, :, None]

    def run() -> list[Tensor]:
        for n, one in enumerate(filters):
            one.x, one.P = means[n], covariances[n]
            one.predict()
            one.update(seen[n])
        return [torch.from_numpy(np.stack(part)) for part in ([f.x[:, 0] for f in filters], [f.P for f in filters])]

    return run


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed."""
    tracks, dt, Q, measured, R = example(200)
    rows = torch.arange(200)
    name = "Kalman predict and update, 200 tracks, 10 states"
    ours = lambda: list(predict_update(AB3DMOT, tracks, dt, Q, rows, measured, R))  # noqa: E731
    peer = with_filterpy(tracks, dt, Q, measured, R) if importlib.util.find_spec("filterpy") else None
    yield Pair(name, "filterpy objects", ours, peer, 1e-10, goal=40.0)

    def plain() -> list[Tensor]:
        given = *tracks, dt, Q[None], list(AB3DMOT.derivative), rows, measured, R[None], AB3DMOT.heading
        return list(reference.predict_update(*given)[:2])

    yield Pair(name, "our torch reference", ours, plain, 1e-10)
