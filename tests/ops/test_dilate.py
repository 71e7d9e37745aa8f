"""Voxel diffusion."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from ops.dilate import _dilate, _gather_max, _gather_max_backward, dilate, gather_max, reference


def cells(batch: int, ny: int, nx: int, share: float) -> Tensor:
    b, y, x = (torch.rand(batch, ny, nx) < share).nonzero(as_tuple=True)
    return torch.stack([b, torch.zeros_like(b), y, x], 1)


def test_numbers_by_hand(pure) -> None:
    coords = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 2], [1, 0, 1, 1]])
    keep = torch.tensor([True, True, False])
    found = pure(dilate, coords, keep, 3, (2, 3), 2)
    assert found.coords[:, 2:].tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert found.coords[:, :2].unique().tolist() == [0]
    assert found.source.tolist() == [0, -1, 1, -1, -1, -1]
    assert found.neighbours.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    assert found.offsets.tolist() == [0, 1, 3, 4, 5, 7, 8]
    values = torch.tensor([[1.0, 9.0], [2.0, 3.0], [0.0, 0.0]])
    pooled = pure(gather_max, values, found.neighbours, found.offsets)
    assert pooled.tolist() == [[1, 9], [2, 9], [2, 3], [1, 9], [2, 9], [2, 3]]


@pytest.mark.parametrize("kernel", [1, 3, 9])
def test_kernel_equals_reference_and_dense_pooling(kernel: int, pure) -> None:
    coords = cells(3, 20, 31, 0.1)
    coords = coords[torch.randperm(len(coords))]
    keep = torch.rand(len(coords)) < 0.4
    found = pure(dilate, coords, keep, kernel, (20, 31), 3)
    for ours, theirs in zip(found, reference.dilate(coords, keep, kernel, 20, 31, 3), strict=True):
        assert torch.equal(ours, theirs)
    dense = torch.full((3, 20, 31), -torch.inf)
    values = torch.rand(len(coords), 1)
    b, _, y, x = coords[keep].unbind(1)
    dense[b, y, x] = values[keep, 0]
    pooled = max_pool2d(dense[:, None], kernel, 1, kernel // 2)[:, 0]
    assert torch.equal(pooled.isfinite().nonzero(), found.coords[:, [0, 2, 3]])
    ours_pooled = gather_max(values, found.neighbours, found.offsets)[:, 0]
    assert torch.equal(ours_pooled, pooled[pooled.isfinite()])


def test_gather_kernel_equals_reference(pure) -> None:
    index, offsets = torch.randint(0, 50, (300,)), torch.tensor([0, 10, 10, 11, 300])
    values, grad = torch.randn(50, 33), torch.randn(4, 33)
    best, rows = pure(_gather_max, values, index, offsets)
    exact = reference.gather_max(values, index, offsets)
    assert torch.equal(best, exact[0])
    assert torch.equal(rows, exact[1])
    back = pure(_gather_max_backward, grad, rows, 50)
    torch.testing.assert_close(back, reference.gather_max_backward(grad, rows, 50), rtol=1e-6, atol=1e-6)


def test_gradient_and_operator_rules(opcheck) -> None:
    index, offsets = torch.tensor([0, 2, 1, 2, 0]), torch.tensor([0, 2, 2, 5])
    values = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: gather_max(v, index, offsets), values)
    opcheck(_gather_max, torch.randn(3, 2).requires_grad_(), index, offsets)
    opcheck(_gather_max_backward, torch.randn(3, 2), _gather_max(torch.randn(3, 2), index, offsets)[1], 3)
    coords = cells(2, 6, 6, 0.3)
    opcheck(_dilate, coords, torch.rand(len(coords)) < 0.5, 3, 6, 6, 2)


def test_moving_all_cells_moves_the_answer() -> None:
    coords = cells(1, 10, 10, 0.2)
    keep = torch.rand(len(coords)) < 0.5
    shift = torch.tensor([0, 0, 7, 9])
    one = dilate(coords + torch.tensor([0, 0, 5, 5]), keep, 5, (40, 40), 1)
    two = dilate(coords + torch.tensor([0, 0, 5, 5]) + shift, keep, 5, (40, 40), 1)
    assert torch.equal(one.coords + shift, two.coords)
    assert torch.equal(one.neighbours, two.neighbours)


def test_nothing_chosen_and_empty() -> None:
    for coords in (torch.zeros(0, 4, dtype=torch.int64), torch.tensor([[0, 0, 1, 1]])):
        found = dilate(coords, torch.zeros(len(coords), dtype=torch.bool), 3, (4, 4), 1)
        assert [len(t) for t in found] == [0, 0, 0, 1]
        assert gather_max(torch.zeros(len(coords), 5), found.neighbours, found.offsets).shape == (0, 5)
    none = torch.zeros(0, dtype=torch.int64)
    assert gather_max(torch.zeros(0, 5), none, torch.tensor([0, 0])).tolist() == [[0.0] * 5]


def test_wrong_arguments() -> None:
    coords, keep = torch.tensor([[0, 0, 1, 1], [1, 0, 3, 3]]), torch.tensor([True, False])
    for bad in (
        (coords, keep, 2, (4, 4), 2),
        (coords, keep, 3, (4, 4), 1),
        (coords, keep, 3, (3, 4), 2),
        (coords, keep[:1], 3, (4, 4), 2),
        (coords, keep.long(), 3, (4, 4), 2),
        (coords.int(), keep, 3, (4, 4), 2),
        (coords - 1, keep, 3, (4, 4), 2),
        (coords + torch.tensor([0, 1, 0, 0]), keep, 3, (4, 4), 2),
    ):
        with pytest.raises(ValueError, match="dilate"):
            dilate(*bad)
    with pytest.raises(ValueError, match="gather_max: index"):
        gather_max(torch.zeros(2, 1), torch.tensor([0, 2]), torch.tensor([0, 2]))
