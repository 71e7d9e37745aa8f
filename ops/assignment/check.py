"""The kernels of this operator against its reference (`python -m ops check`)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ops.assignment import assign, assign_greedy, candidates, reference
from ops.assignment.bench import example, totals
from ops.compare import Comparison, gap


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error) on "cpu" or "cuda"."""
    tracks, detections = example(120, metres_a_track=3.0)
    bounds = torch.tensor([0, 50, 50, 120])
    given = tracks.to(device), detections.to(device)
    among = candidates(*given, 4.0, row_offsets=bounds.to(device), column_offsets=bounds.to(device))
    none = torch.empty(0, 2, 2, dtype=torch.float64)
    gates = torch.full((120,), 4.0, dtype=torch.float64)
    listed = reference.candidates(tracks, detections, gates, none, -1, bounds, bounds)
    yield "candidates", max(gap(x, y) for x, y in zip(among, listed, strict=True)), 1e-9
    here = type(among)(*(t.cpu() for t in among))
    wanted = reference.assign(bounds, *here, 120, None)
    found = assign(among, 120, row_offsets=bounds.to(device))
    mine = totals(here, type(found)(*(t.cpu() for t in found)))
    yield "optimal totals", max(gap(x, y) for x, y in zip(mine, totals(here, type(found)(*wanted)), strict=True)), 1e-9
    for order in (None, torch.cat([torch.arange(50).flip(0), torch.arange(50, 120).flip(0)])):
        moved = None if order is None else order.to(device)
        taken = assign_greedy(among, 120, order=moved, row_offsets=bounds.to(device))
        wanted = reference.assign(bounds, *here, 120, bounds[:0] if order is None else order)
        yield "greedy" if order is None else "greedy by rows", gap(taken.column, wanted[0]), 0.0
