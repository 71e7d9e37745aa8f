"""This operator's kernels against their reference (`python -m ops check`)."""

from __future__ import annotations

from collections.abc import Iterator

from ops.compare import Comparison, both
from ops.lift_pool import lift_pool
from ops.lift_pool.bench import example


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error)."""
    depth, context, plan = example(0)
    on = plan.to(device)
    # A cell adds up to a hundred products below 1.
    yield from both(
        "pooling",
        lambda d, c: lift_pool(d, c, on if d.device == on.cells.device else plan),
        (depth.to(device), context.to(device)),
        (),
        5e-5,
    )
