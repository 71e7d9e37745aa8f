"""The kernels of this operator against its reference (`python -m ops check`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from ops.centre_targets import centre_targets, foreground_targets, gaussian_heat, reference
from ops.centre_targets.bench import example
from ops.compare import Comparison, gap, gaps


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error) on "cpu" or "cuda"."""
    given: Any = example(1)
    here: Any = tuple(t.to(device) if isinstance(t, Tensor) else t for t in given)
    found, wanted = centre_targets(*here), reference.centre_targets(*given)
    yield "heat", gap(found[0], wanted[0]), 1e-5
    yield "pairs and count", gaps(found[1:], wanted[1:]), 0.0
    covered, dense = (*given[:4], 3, *given[5:9]), (*given[1:4], 3, *given[5:9], 0.1, 2)
    there = *here[:4], 3, *here[5:9]
    yield "foreground", gap(foreground_targets(*there), reference.foreground_targets(*covered)), 0.0
    yield "dense heat", gap(gaussian_heat(*there[1:]), reference.gaussian_heat(*dense)), 1e-6
