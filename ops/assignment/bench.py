"""This operator beside its peers (`python -m ops bench`): a numpy cost matrix and scipy's assignment."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ops.assignment import Candidates, Matching, assign, candidates
from ops.pair import Pair

GATE = 4.0


def example(count: int, seed: int = 0, metres_a_track: float = 6.3) -> tuple[Tensor, Tensor]:
    """Tracks [count, 2] at constant density, and as many detections: nine tenths near a track, the rest anywhere."""
    g = torch.Generator().manual_seed(seed)
    tracks = torch.rand(count, 2, generator=g, dtype=torch.float64) * metres_a_track * math.sqrt(count)
    detections = tracks + 0.6 * torch.randn(count, 2, generator=g, dtype=torch.float64)
    strange = torch.rand(count, generator=g) < 0.1
    detections[strange] = tracks[strange].flip(1)
    return tracks, detections[torch.randperm(count, generator=g)]


def with_scipy(tracks: Tensor, detections: Tensor, gate: float) -> list[Tensor]:
    """(matches, total cost): distances in numpy, pairs beyond the gate made dear, scipy, dear pairs dropped."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    a, b = tracks.numpy(), detections.numpy()
    cost = np.sqrt(np.square(a[:, None] - b[None]).sum(2))
    dear = gate * (len(a) + 1)
    gated = np.where(cost <= gate, cost, dear)
    i, j = linear_sum_assignment(gated)
    good = gated[i, j] < dear
    return [torch.tensor(total, dtype=torch.float64) for total in (good.sum(), cost[i, j][good].sum())]


def totals(among: Candidates, found: Matching) -> list[Tensor]:
    """(matches, total cost) of a matching."""
    taken = found.column[among.rows()] == among.column
    return [taken.sum().double(), among.cost[taken].sum()]


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed."""
    for count in (100, 300, 1000):
        tracks, detections = example(count)

        def ours(t: Tensor = tracks, d: Tensor = detections) -> tuple[Candidates, Matching]:
            among = candidates(t, d, GATE)
            return among, assign(among, len(d))

        def same(found: tuple[Candidates, Matching], wanted: list[Tensor]) -> None:
            for mine, theirs in zip(totals(*found), wanted, strict=True):
                assert abs(float(mine - theirs)) < 1e-9 * float(theirs), f"{float(mine)} against {float(theirs)}"

        peer = (lambda t=tracks, d=detections: with_scipy(t, d, GATE)) if importlib.util.find_spec("scipy") else None
        name = f"gated assignment {count} x {count}, cost included"
        yield Pair(name, "numpy cost + scipy LSA", ours, peer, math.inf, same, 20.0 if count == 1000 else 0.0)
