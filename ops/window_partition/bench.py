"""This operator beside its peers (`python -m ops bench`): row 2a, torch's sort and SST's bucketing."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ops.downscale import downscale
from ops.pair import Pair
from ops.scans import WAYMO_PILLARS, scan
from ops.voxelize import grid_shape, voxelize
from ops.window_partition import Windows, reference, window_partition

WINDOW = 10
BUCKETS = (16, 32, 64, 100)


def example(seed: int = 0) -> tuple[list[Tensor], list[tuple[int, int, int]], int, tuple[int, int]]:
    """Small arguments of `window_partition`: two scales and two shifts."""
    g = torch.Generator().manual_seed(seed)
    shapes = [(1, 37, 44), (2, 12, 9)]
    return [torch.nonzero(torch.rand(2, *shape, generator=g) < 0.3) for shape in shapes], shapes, WINDOW, (0, 5)


def scales(coords: Tensor, shape: tuple[int, int, int]) -> tuple[list[Tensor], list[tuple[int, int, int]]]:
    """The five scales of a SWFormer: cells and grid shapes."""
    cells, shapes = [coords], [shape]
    for ratio in (2, 2, 4, 2):
        cells.append(downscale(cells[-1], ratio, shapes[-1]).coords)
        nz, ny, nx = shapes[-1]
        shapes.append((nz, -(-ny // ratio), -(-nx // ratio)))
    return cells, shapes


def sst_bucketing(
    coords: Tensor, shape: tuple[int, int, int], shift: int
) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """SST's way: (the tokens of windows of similar size and each one's place in its padded batch, bucket by bucket;
    in-window cells).

    Written anew from the published algorithm and its steps: numbers of windows and of cells inside them; how many
    tokens a window's bucket keeps, and which tokens are over that; then, bucket by bucket, windows numbered anew and
    the tokens in them. Its random order of tokens, its masks and its position embedding are left out.
    """
    _, ny, nx = shape
    wide, high = (nx - 1 + shift) // WINDOW + 1, (ny - 1 + shift) // WINDOW + 1
    along_y, along_x = coords[:, 2] + shift, coords[:, 3] + shift
    number = (coords[:, 0] * high + along_y // WINDOW) * wide + along_x // WINDOW
    cell = along_y % WINDOW * WINDOW + along_x % WINDOW
    size, level, most = torch.bincount(number)[number], torch.full_like(number, -1), torch.zeros_like(number)
    for n, (low, top) in enumerate(zip((0, *BUCKETS), BUCKETS, strict=False)):
        inside = (size > low) & (size <= top)
        most[inside], level[inside] = top, n
    kept = (_inner(number) < most).nonzero()[:, 0]
    number, level = number[kept], level[kept]
    found = []
    for n, top in enumerate(BUCKETS):
        tokens = (level == n).nonzero()[:, 0]
        _, window = torch.unique(number[tokens], return_inverse=True)
        found.append((kept[tokens], window * top + _inner(window)))
    return found, cell


def _inner(window: Tensor) -> Tensor:
    """Number of each token in its window."""
    by_window, order = torch.sort(window, stable=True)
    starts = torch.bincount(by_window).cumsum(0).roll(1)
    starts[:1] = 0
    inner = torch.empty_like(order)
    inner[order] = torch.arange(len(order)) - starts[by_window]
    return inner


def _same_as_sst(ours: list[list[Windows]], theirs: list[list[tuple[list[tuple[Tensor, Tensor]], Tensor]]]) -> None:
    """Every bucket's padded batch holds our windows of that size, in our order; in-window cells are equal."""
    for scale, buckets_of in zip(ours, theirs, strict=True):
        for windows, (buckets, cell) in zip(scale, buckets_of, strict=True):
            _same_buckets(windows, buckets)
            assert torch.equal(cell[windows.order], windows.position), "window_partition: SST's cells differ"


def _same_buckets(windows: Windows, buckets: list[tuple[Tensor, Tensor]]) -> None:
    counts, starts = windows.offsets.diff(), windows.offsets[:-1]
    for (tokens, place), low, top in zip(buckets, (0, *BUCKETS), BUCKETS, strict=False):
        mine = ((counts > low) & (counts <= top)).nonzero()[:, 0]
        rows = torch.full((len(mine) * top,), -1)
        rows[place] = tokens
        for row, begin, count in zip(rows.view(-1, top), starts[mine].tolist(), counts[mine].tolist(), strict=True):
            assert torch.equal(row[:count], windows.order[begin : begin + count]), "window_partition: SST differs"


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed."""
    points = scan(64, 2600, sweeps=3)  # as many cells as row 2a has
    coords = voxelize(points, torch.zeros(len(points), dtype=torch.int64), *WAYMO_PILLARS, 1).coords
    shape = grid_shape(*WAYMO_PILLARS)
    size = f"{len(coords) / 1000:.1f}k cells"
    yield Pair(
        f"windows of {size}, one scale and shift",
        "torch sort + unique_consecutive",
        lambda: window_partition([coords], [shape], WINDOW)[0][0],
        lambda: reference.partition(coords, shape, WINDOW, 0),
        goal=6.0,
    )
    yield Pair(
        f"windows of {size}, one scale and shift",
        "SST's bucketing in torch",
        lambda: window_partition([coords], [shape], WINDOW),
        lambda: [[sst_bucketing(coords, shape, 0)]],
        same=_same_as_sst,
        goal=20.0,
    )
    cells, shapes = scales(coords, shape)
    flat = [n for s in shapes for n in s]
    yield Pair(
        "windows of five scales, two shifts",
        "torch sort + unique_consecutive",
        lambda: [t for scale in window_partition(cells, shapes, WINDOW, (0, 5)) for w in scale for t in w],
        lambda: reference.window_partition(cells, flat, WINDOW, (0, 5)),
        goal=6.0,
    )
    yield Pair(
        "windows of five scales, two shifts",
        "SST's bucketing in torch",
        lambda: window_partition(cells, shapes, WINDOW, (0, 5)),
        lambda: [[sst_bucketing(c, s, shift) for shift in (0, 5)] for c, s in zip(cells, shapes, strict=True)],
        same=_same_as_sst,
        goal=20.0,
    )
