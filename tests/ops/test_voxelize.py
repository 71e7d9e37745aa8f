"""Grouping points by voxel."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ops.voxelize import _voxelize, grid_shape, reference, voxelize

RANGE, SIZE = (-8.0, -4.0, -2.0, 8.0, 4.0, 2.0), (0.5, 0.5, 2.0)


def scene(count: int) -> tuple[Tensor, Tensor]:
    return (torch.rand(count, 5) - 0.5) * torch.tensor([20.0, 10.0, 5.0, 1.0, 1.0]), torch.randint(0, 3, (count,))


def test_numbers_by_hand(pure) -> None:
    points = torch.tensor(
        [
            [7.9, 3.9, 1.9],  # last cell
            [-8.0, -4.0, -2.0],  # lower bound: first cell
            [8.0, 0.0, 0.0],  # upper bound: out
            [-7.9, -3.9, -1.9],  # first cell again
            [torch.nan, 0.0, 0.0],
            [0.0, torch.inf, 0.0],
            [-8.0, -4.0, 0.0],  # one layer up
        ]
    )
    coords, order, offsets = pure(voxelize, points, torch.zeros(7, dtype=torch.int64), RANGE, SIZE, 1)
    assert coords.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 15, 31]]
    assert order.tolist() == [1, 3, 6, 0]
    assert offsets.tolist() == [0, 2, 3, 4]
    assert grid_shape(RANGE, SIZE) == (2, 16, 32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 100, 20_000])
def test_kernel_equals_reference_bit_for_bit(count: int, dtype: torch.dtype, pure) -> None:
    points, batch = scene(count)
    points = points.to(dtype)
    ours = pure(voxelize, points, batch, RANGE, SIZE, 3)
    for a, b in zip(ours, reference.voxelize(points, batch, RANGE, SIZE, 3), strict=True):
        assert torch.equal(a, b)


def test_against_torch_unique() -> None:
    points, batch = scene(5000)
    points = points[(points[:, 0].abs() < 8) & (points[:, 1].abs() < 4) & (points[:, 2].abs() < 2)]
    batch = batch[: len(points)]
    coords, order, offsets = voxelize(points, batch, RANGE, SIZE, 3)
    low, size = torch.tensor(RANGE[:3]), torch.tensor(SIZE)
    cell = ((points[:, :3] - low) / size).floor().long().flip(1)
    unique, inverse, counts = torch.unique(
        torch.cat([batch[:, None], cell], 1), dim=0, return_inverse=True, return_counts=True
    )
    assert torch.equal(coords, unique)
    assert torch.equal(offsets.diff(), counts)
    assert torch.equal(inverse[order], torch.arange(len(counts)).repeat_interleave(counts))
    assert sorted(order.tolist()) == list(range(len(points)))


def test_just_below_the_upper_bound() -> None:
    # In float32 (51.2 - 2**-18 + 51.2) / 0.32 rounds to 320, one past the last cell.
    bounds, size = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), (0.32, 0.32, 8.0)
    x = torch.nextafter(torch.tensor(51.2), torch.tensor(0.0))
    coords, order, _ = voxelize(torch.stack([x, x, x * 0])[None], torch.zeros(1, dtype=torch.int64), bounds, size, 1)
    assert coords.tolist() == [[0, 0, 319, 319]]
    assert order.tolist() == [0]


def equal(ours, exact) -> None:
    for a, b in zip(ours, exact, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_million_points_on_any_number_of_threads(threads: int) -> None:
    points, batch = scene(1_000_000)
    points[::7, 1] = torch.nan
    points[1::7, 0] = torch.inf
    points[2::7, 2] = -1e30
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        ours = voxelize(points, batch, RANGE, SIZE, 3)
    finally:
        torch.set_num_threads(before)
    equal(ours, reference.voxelize(points, batch, RANGE, SIZE, 3))


def test_all_points_in_one_voxel() -> None:
    points = torch.full((100_000, 3), 0.1)
    coords, order, offsets = voxelize(points, torch.zeros(100_000, dtype=torch.int64), RANGE, SIZE, 1)
    assert coords.tolist() == [[0, 1, 8, 16]]
    assert offsets.tolist() == [0, 100_000]
    assert torch.equal(order, torch.arange(100_000))


def test_more_than_2_to_the_31_cells() -> None:
    # 8192 x 8192 x 64 = 2**32 cells; the last one has the number 2**32 - 1.
    bounds, size = (0.0, 0.0, 0.0, 64.0, 64.0, 64.0), (2.0**-7, 2.0**-7, 1.0)
    points = torch.rand(2000, 3, dtype=torch.float64) * 64
    points[0] = 64 - 1e-9
    ours = voxelize(points, torch.zeros(2000, dtype=torch.int64), bounds, size, 1)
    equal(ours, reference.voxelize(points, torch.zeros(2000, dtype=torch.int64), bounds, size, 1))
    assert ours.coords[-1].tolist() == [0, 63, 8191, 8191]
    with pytest.raises(ValueError, match="voxelize: 17 frames"):
        voxelize(points, torch.zeros(2000, dtype=torch.int64), bounds, size, 17)


def test_a_failed_call_leaves_nothing_behind() -> None:
    points, batch = scene(500)
    exact = reference.voxelize(points, batch, RANGE, SIZE, 3)
    for _ in range(2):
        with pytest.raises(ValueError, match="voxelize: point_batch"):
            voxelize(points, torch.where(batch == 2, 3, batch), RANGE, SIZE, 3)
        equal(voxelize(points, batch, RANGE, SIZE, 3), exact)


def test_not_contiguous() -> None:
    points, batch = scene(300)
    wide = torch.randn(300, 8)
    wide[:, 1:6] = points
    equal(voxelize(wide[:, 1:6], batch, RANGE, SIZE, 3), voxelize(points, batch, RANGE, SIZE, 3))
    apart = torch.stack((batch, batch + 7), 1)[:, 0]
    equal(voxelize(points, apart, RANGE, SIZE, 3), voxelize(points, batch, RANGE, SIZE, 3))


def test_empty_and_all_outside() -> None:
    for points in (torch.zeros(0, 4), torch.full((6, 4), 99.0)):
        coords, order, offsets = voxelize(points, torch.zeros(len(points), dtype=torch.int64), RANGE, SIZE, 2)
        assert coords.shape == (0, 4)
        assert order.shape == (0,)
        assert offsets.tolist() == [0]


def test_operator_rules(opcheck) -> None:
    points, batch = scene(50)
    opcheck(_voxelize, points, batch, list(RANGE), list(SIZE), 3)


def test_wrong_arguments() -> None:
    points, batch = scene(4)
    for bad in (
        (points.half(), batch, RANGE, SIZE, 3),
        (points, batch.int(), RANGE, SIZE, 3),
        (points, batch[:3], RANGE, SIZE, 3),
        (points[:, :2], batch, RANGE, SIZE, 3),
        (points, batch, RANGE[:5], SIZE, 3),
        (points, batch, RANGE, (0.3, 0.5, 2.0), 3),
        (points, batch, RANGE, (0.0, 0.5, 2.0), 3),
        (points, batch - 1 - batch.min(), RANGE, SIZE, 3),
        (points, batch + 3, RANGE, SIZE, 3),
    ):
        with pytest.raises(ValueError, match="voxelize"):
            voxelize(*bad)


@given(st.integers(0, 300), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_shuffled_points_give_the_same_voxels(count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = (torch.rand(count, 3, generator=generator) - 0.5) * 12
    batch = torch.randint(0, 2, (count,), generator=generator)
    shuffle = torch.randperm(count, generator=generator)
    coords, order, offsets = voxelize(points, batch, RANGE, SIZE, 2)
    coords2, order2, offsets2 = voxelize(points[shuffle], batch[shuffle], RANGE, SIZE, 2)
    assert torch.equal(coords, coords2)
    assert torch.equal(offsets, offsets2)
    counts = offsets.diff().tolist()
    for one, two in zip(order.split(counts), shuffle[order2].split(counts), strict=True):
        assert sorted(one.tolist()) == sorted(two.tolist())
        assert one.tolist() == sorted(one.tolist())
