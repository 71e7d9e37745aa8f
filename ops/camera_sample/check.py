"""This operator's kernels against their reference (`python -m ops check`)."""

from __future__ import annotations

from collections.abc import Iterator

from ops.camera_sample import Pairs, project_points, reference, sample_points
from ops.camera_sample.bench import example
from ops.compare import Comparison, both, gap, gaps


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error)."""
    points, batch, cameras, features = example(0)
    for best in (False, True):
        found = project_points(points.to(device), cameras.to(device), batch.to(device), best=best)
        wanted = reference.project(points, batch, cameras.table, cameras.offsets, 0.1, best)
        what = "the best camera" if best else "all cameras"
        yield f"{what}, pairs", gaps([*found[:2], found.offsets], [*wanted[:2], wanted[4]]), 0.0
        yield f"{what}, places", gap(found.place, wanted[2]), 1e-7
    # Bilinear weights err by 1e-7 each, on values up to 5.
    pairs = Pairs(*(t.cpu() for t in found))
    on = Pairs(*found)
    yield from both(
        "mean over cameras",
        lambda f: sample_points(f, on if f.device == on.place.device else pairs),
        (features.to(device),),
        (),
        2e-5,
    )
