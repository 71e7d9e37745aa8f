"""This operator beside its peers (`python -m ops bench`)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ops.camera_sample.bench import rig
from ops.lift_pool import LiftPlan, lift_pool, plan_cameras
from ops.pair import Pair, with_gradient

RANGE, CELL = (-54.0, -54.0, -10.0, 54.0, 54.0, 10.0), (0.6, 0.6, 20.0)


def example(seed: int) -> tuple[Tensor, Tensor, LiftPlan]:
    """A small input: (depth, context, plan) of two frames, two layers, a bent lens."""
    g = torch.Generator().manual_seed(seed)
    cameras, _ = rig([0.04, -0.05, 0.001, -0.001, 0.0], 2)
    plan = plan_cameras(cameras, torch.arange(1.0, 30.0, 2.5), (5, 8), (-20, -20, -4, 20, 20, 4), (2.0, 2.0, 4.0))
    depth = torch.randn(10, 12, 5, 8, generator=g).softmax(1)
    return depth, torch.randn(10, 7, 5, 8, generator=g), plan


def outer_product(depth: Tensor, context: Tensor, plan: LiftPlan) -> Tensor:
    """The usual way in torch: the outer product of the places inside the grid, then index_add."""
    frames, nz, ny, nx = plan.grid
    lifted = (depth[:, :, None] * context[:, None]).permute(0, 1, 3, 4, 2).flatten(0, 3)
    cells = plan.cells.flatten()
    inside = cells >= 0
    out = lifted.new_zeros(frames * nz * ny * nx, context.shape[1]).index_add(0, cells[inside], lifted[inside])
    return out.reshape(frames, nz, ny, nx, -1).permute(0, 1, 4, 2, 3).flatten(1, 2)


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed."""
    cameras, _ = rig()
    plan = plan_cameras(cameras, torch.arange(1.0, 60.0, 0.5), (32, 88), RANGE, CELL)
    g = torch.Generator().manual_seed(0)
    depth, context = torch.randn(5, 118, 32, 88, generator=g).softmax(1), torch.randn(5, 80, 32, 88, generator=g)
    size = "5 cameras, 118 depths, 80 channels, 180 x 180"
    # A cell near a camera adds some thousand products.
    yield Pair(
        f"lift, {size}",
        "torch outer product, index_add",
        lambda: [lift_pool(depth, context, plan)],
        lambda: [outer_product(depth, context, plan)],
        1e-3,
        goal=4.0,
    )
    yield Pair(
        "lift and gradient",
        "torch outer product, index_add",
        with_gradient(lambda d, c: lift_pool(d, c, plan), depth, context),
        with_gradient(lambda d, c: outer_product(d, c, plan), depth, context),
        1e-3,
        goal=4.0,
    )
