"""The kernels of this operator against its reference (`python -m ops check`)."""

from __future__ import annotations

from collections.abc import Iterator

from ops.compare import Comparison, both
from ops.examples import make
from ops.window_attention import window_attention


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error) on "cpu" or "cuda"."""
    e = make(12_000, 3, 200, 2_000, 4, device)
    yield from both("attention", window_attention, e.qkv, (e.windows,), 5e-5)
