"""This operator beside its peers (`python -m ops bench`)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from ops.deformable_sample import deformable_sample, sample_map
from ops.pair import Pair, with_gradient

Shapes = list[tuple[int, int]]


def scene(B: int, Q: int, M: int, D: int, shapes: Shapes, K: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """(value, locations, weights): each query looks around one place, a few cells apart, partly beyond the map."""
    g = torch.Generator().manual_seed(seed)
    value = torch.randn(B, sum(h * w for h, w in shapes), M, D, generator=g)
    around = torch.rand(B, Q, 1, 1, 1, 2, generator=g)
    steps = 4.0 * torch.randn(B, Q, M, len(shapes), K, 2, generator=g)
    weights = torch.rand(B, Q, M, len(shapes) * K, generator=g).softmax(-1)
    sizes = torch.tensor([[w, h] for h, w in shapes])[:, None]
    return value, around + steps / sizes, weights.reshape(B, Q, M, len(shapes), K)


def example(seed: int) -> tuple[Tensor, Shapes, Tensor, Tensor]:
    """A small input: (value, shapes, locations, weights)."""
    shapes = [(6, 9), (3, 5), (1, 2)]
    value, locations, weights = scene(2, 7, 3, 10, shapes, 4, seed)
    return value, shapes, locations, weights


def per_level(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """The usual way in torch: one grid_sample a map, all samples kept, then the weighted sum."""
    B, _, M, D = value.shape
    Q = locations.shape[1]
    maps, found = value.split([h * w for h, w in shapes], 1), []
    for level, (h, w) in enumerate(shapes):
        planes = maps[level].flatten(2).transpose(1, 2).reshape(B * M, D, h, w)
        grid = 2 * locations[:, :, :, level].transpose(1, 2).flatten(0, 1) - 1
        found.append(grid_sample(planes, grid, align_corners=False))
    shares = weights.transpose(1, 2).reshape(B * M, 1, Q, -1)
    out = (torch.stack(found, -2).flatten(-2) * shares).sum(-1)
    return out.view(B, M * D, Q).transpose(1, 2).contiguous()


def _transformers() -> Callable[..., Tensor] | None:
    try:
        found: Any = importlib.import_module("transformers.models.deformable_detr.modeling_deformable_detr")
    except ImportError:
        return None
    peer = found.MultiScaleDeformableAttention()

    def call(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
        sizes = torch.tensor(shapes)
        first = torch.cat([sizes.new_zeros(1), sizes.prod(1).cumsum(0)[:-1]])
        answer: Tensor = peer(value, sizes, shapes, first, locations, weights, 64)
        return answer

    return call


def grid_sample_map(maps: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """DiffusionDrive's way: all samples by grid_sample, then the weighted sum."""
    found = grid_sample(maps, 2 * places - 1, align_corners=False)
    return (weights[:, None] * found).sum(-1).transpose(1, 2).contiguous()


def _quiet(call: Callable[..., Tensor], *given: Any) -> Callable[[], list[Tensor]]:
    def run() -> list[Tensor]:
        with torch.no_grad():
            return [call(*given)]

    return run


def _same_gradients(ours: list[Tensor], theirs: list[Tensor]) -> None:
    """Output, values and weights to 1e-3; places too, but for those within rounding of a cell's centre.

    There the slope jumps, and the peer, which rounds a place to 1e-5 of a cell, takes the other side's.
    """
    names = ("output", "values", "places", "weights")
    for name, a, b in zip(names, ours, theirs, strict=True):
        # A place's gradient is a difference of cells times the map's width of 200.
        wrong = ((a - b).abs() > (0.05 if name == "places" else 1e-3)).double().mean()
        assert wrong <= (2e-4 if name == "places" else 0.0), f"{name}: {float(wrong)} of the gradients differ"


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed."""
    peer = _transformers()
    sizes: dict[str, tuple[int, int, Shapes, float]] = {
        "6 cameras x 900 queries": (6, 900, [(58, 100), (29, 50), (15, 25), (8, 13)], 4.0),
        "10,000 bird's-eye queries": (1, 10_000, [(200, 200), (100, 100), (50, 50), (25, 25)], 4.0),
    }
    for what, (B, Q, shapes, goal) in sizes.items():
        value, at, weights = scene(B, Q, 8, 32, shapes, 8)
        given = value, shapes, at, weights
        # Places in single precision: 1e-5 of a cell, on values that change by 4 from cell to cell.
        name, ours = f"deformable, {what}, 4 maps, 8 points", _quiet(deformable_sample, *given)
        yield Pair(name, "torch grid_sample", ours, _quiet(per_level, *given), 1e-4, goal=goal)
        theirs = None if peer is None else _quiet(peer, *given)
        yield Pair(name, "transformers MultiScaleDeformableAttention", ours, theirs, 1e-4, goal=goal)
    value, at, weights = scene(1, 900, 8, 32, shapes, 8)
    yield Pair(
        "deformable and gradient, 900 queries, 4 maps, 8 points",
        "torch grid_sample",
        with_gradient(lambda v, a, w: deformable_sample(v, shapes, a, w), value, at, weights),
        with_gradient(lambda v, a, w: per_level(v, shapes, a, w), value, at, weights),
        same=_same_gradients,
    )
    _, at, weights = scene(1, 20, 1, 1, [(64, 64)], 8)
    given_map = torch.randn(1, 256, 64, 64), at[:, :, 0, 0], weights[:, :, 0, 0]
    for layout in (torch.channels_last, torch.contiguous_format):
        maps = given_map[0].contiguous(memory_format=layout)
        yield Pair(
            f"20 x 8 points of a 64 x 64 map, {'channels last' if layout == torch.channels_last else 'plane by plane'}",
            "torch grid_sample",
            _quiet(sample_map, maps, *given_map[1:]),
            _quiet(grid_sample_map, maps, *given_map[1:]),
            1e-4,
            goal=3.0 if layout == torch.channels_last else 0.0,
        )
