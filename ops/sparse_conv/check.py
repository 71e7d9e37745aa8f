"""The kernels of this operator against its reference (`python -m ops check`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from ops.compare import Comparison, both, gaps
from ops.examples import RANGE, make
from ops.sparse_conv import TILE, reference, sparse_conv, strided_rules, submanifold_rules
from ops.voxelize import grid_shape, voxelize

SIZE = (0.4, 0.4, 0.4)


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error) on "cpu" or "cuda"."""
    e = make(12_000, 3, 200, 2_000, 4, device)
    coords, shape = voxelize(e.points, e.point_batch, RANGE, SIZE, e.frames).coords, grid_shape(RANGE, SIZE)
    rules = submanifold_rules(coords, shape, e.frames)
    on_cpu = coords.cpu()
    wanted = reference.rules(on_cpu, on_cpu, shape, (3, 3, 3), (1, 1, 1), (1, 1, 1), TILE)
    yield "submanifold rulebook", gaps((rules.inputs, rules.outputs, rules.starts), wanted), 0.0
    down = strided_rules(coords, shape, e.frames)
    cells = reference.outputs(on_cpu, down.shape_out, (3, 3, 3), (2, 2, 2), (1, 1, 1))
    wanted = reference.rules(on_cpu, cells, shape, (3, 3, 3), (2, 2, 2), (1, 1, 1), TILE)
    yield "strided rulebook", gaps((down.coords_out, down.inputs, down.outputs, down.starts), (cells, *wanted)), 0.0
    g = torch.Generator().manual_seed(1)
    for name, book in (("submanifold", rules), ("strided", down), ("inverse", down.reversed())):
        x = torch.randn(len(book.coords_in), 20, generator=g).to(device)
        weight = (torch.randn(27, 20, 48, generator=g) / 20**0.5).to(device)
        here = [book.inputs, book.outputs, book.starts]

        def call(x, weight, *lists, book=book):  # type: ignore[no-untyped-def]
            return sparse_conv(x, weight, replace(book, inputs=lists[0], outputs=lists[1], starts=lists[2]))

        # The weight's gradient sums up to a few thousand products of size about one.
        yield from both(name, call, (x, weight), tuple(here), 2e-3)
