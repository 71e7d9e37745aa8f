"""This operator beside its peers (`python -m ops bench`): row 1d, torch linear + scatter_reduce, and both layers.

Both sides get the points as a scan has them: ours first gathers them pillar after pillar, which is timed, too.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ops.pair import Pair, with_gradient
from ops.pillar_encoder import pillar_max, pillar_net
from ops.scans import WAYMO_PILLARS, scan
from ops.voxelize import voxelize


def example(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Small arguments of `pillar_max`: pillars of 0 to 20 points."""
    g = torch.Generator().manual_seed(seed)
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64), torch.randint(0, 21, (40,), generator=g).cumsum(0)))
    x, w, b = (torch.randn(size, generator=g) for size in ((int(offsets[-1]), 10), (10, 24), (24,)))
    return x, offsets, w, b


def _scatter_max(rows: Tensor, ids: Tensor, segments: int) -> Tensor:
    return rows.new_zeros(segments, rows.shape[1]).scatter_reduce(0, ids[:, None].expand_as(rows), rows, "amax")


def _same_but_for_rounding(ours: list[Tensor], theirs: list[Tensor]) -> None:
    """Outputs to 1e-4; gradients, sums of 13,000 chosen points, to a thousandth of the largest: where two points come
    within rounding of each other, either may be the maximum."""
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=1e-4)
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        assert float((a - b).abs().max()) <= 1e-3 * float(b.abs().max()), "pillar_encoder: gradients differ"


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed."""
    points = scan(64, 2770)
    groups = voxelize(points, torch.zeros(len(points), dtype=torch.int64), *WAYMO_PILLARS, 1)
    V, offsets = len(groups.coords), groups.offsets
    # Points of the range only, in the scan's order: the pillar of each, and where the pillars' points lie among them.
    kept, order = groups.order.sort()[1], torch.empty_like(groups.order)
    order[kept] = torch.arange(len(kept))
    ids = torch.repeat_interleave(torch.arange(V), offsets.diff())[kept]
    g = torch.Generator().manual_seed(0)
    size = f"{len(ids) // 1000}k points, {V / 1000:.1f}k pillars"
    x, w, b = (torch.randn(s, generator=g) for s in ((len(ids), 10), (10, 64), (64,)))

    def one(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return _scatter_max(torch.relu(torch.addmm(b, x, w)), ids, V)

    with torch.no_grad():
        yield Pair(
            f"pillar net 10 -> 64 and maximum, {size}",
            "torch linear + scatter_reduce(amax)",
            lambda: [pillar_max(x.index_select(0, order), offsets, w, b)],
            lambda: [one(x, w, b)],
            1e-4,
            goal=7.0,
        )
    yield Pair(
        "pillar net 10 -> 64 and maximum, with gradient of weights",
        "torch linear + scatter_reduce(amax)",
        with_gradient(lambda w, b: pillar_max(x.index_select(0, order), offsets, w, b), w, b),
        with_gradient(lambda w, b: one(x, w, b), w, b),
        same=_same_but_for_rounding,
        goal=7.0,
    )
    y, *weights = (torch.randn(s, generator=g) for s in ((len(ids), 17), (17, 64), (64,), (64, 128), (64, 128), (128,)))
    for weight in weights:
        weight /= 4

    def two(w1: Tensor, b1: Tensor, w2: Tensor, wp: Tensor, b2: Tensor) -> Tensor:
        h = torch.relu(torch.addmm(b1, y, w1))
        own = torch.addmm(b2, _scatter_max(h, ids, V), wp)
        return _scatter_max(torch.relu(torch.mm(h, w2) + own.index_select(0, ids)), ids, V)

    with torch.no_grad():
        yield Pair(
            f"pillar net 17 -> 64 -> 128, two maxima, {size}",
            "torch linear + scatter_reduce(amax)",
            lambda: [pillar_net(y.index_select(0, order), offsets, *weights)],
            lambda: [two(*weights)],
            1e-3,
        )
