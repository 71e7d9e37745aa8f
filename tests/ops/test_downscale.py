"""Nearest-to-centre downscaling and the way back up."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ops.downscale import _downscale, _upsample, _upsample_backward, downscale, reference, upsample


def cells(shape: tuple[int, int, int], frames: int, share: float) -> Tensor:
    return torch.nonzero(torch.rand(frames, *shape) < share)


def equal(found, wanted) -> None:
    for a, b in zip(found, wanted, strict=True):
        assert torch.equal(a, b)


def test_numbers_by_hand(pure) -> None:
    # In a cell of 4 x 4, (2, 2) is nearest the centre (1.5, 1.5); in the second frame (1, 2) and (2, 1) tie.
    coords = torch.tensor([[0, 0, 0, 1], [0, 0, 2, 2], [0, 0, 3, 3], [0, 0, 5, 5], [1, 0, 1, 2], [1, 0, 2, 1]])
    coarse, chosen, parent = pure(downscale, coords, 4, (1, 6, 6))
    assert coarse.tolist() == [[0, 0, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]]
    assert chosen.tolist() == [1, 3, 4]
    assert parent.tolist() == [0, 0, 0, 1, 2, 2]
    values = torch.tensor([[1.0], [2.0], [3.0]])
    assert pure(upsample, values, parent).tolist() == [[1], [1], [1], [2], [3], [3]]
    assert pure(_upsample_backward, torch.ones(6, 1), parent, 4).tolist() == [[3], [1], [2], [0]]


@pytest.mark.parametrize("shape", [(1, 60, 47), (3, 21, 30), (1, 1, 1)])
@pytest.mark.parametrize("ratio", [1, 2, 3, 4, 64])
def test_kernel_equals_reference(shape: tuple[int, int, int], ratio: int) -> None:
    for share in (0.05, 0.7):
        coords = cells(shape, 3, share)
        equal(downscale(coords, ratio, shape), reference.downscale(coords, ratio, shape))
        shuffled = coords[torch.randperm(len(coords))]
        equal(downscale(shuffled, ratio, shape), reference.downscale(shuffled, ratio, shape))


def test_empty_and_not_contiguous() -> None:
    coarse, chosen, parent = downscale(torch.zeros(0, 4, dtype=torch.int64), 2, (1, 8, 8))
    assert (coarse.shape, chosen.shape, parent.shape) == ((0, 4), (0,), (0,))
    assert upsample(torch.zeros(0, 3), parent).shape == (0, 3)
    coords = cells((1, 9, 9), 2, 0.5)
    equal(downscale(torch.cat((coords, coords), 1)[:, :4], 2, (1, 9, 9)), downscale(coords, 2, (1, 9, 9)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_is_the_sum_of_the_children(dtype: torch.dtype) -> None:
    coords = cells((1, 60, 60), 2, 0.6)
    coarse, _, parent = downscale(coords, 4, (1, 60, 60))
    values = torch.randn(len(coarse), 70).to(dtype).requires_grad_()
    out = upsample(values, parent)
    assert torch.equal(out, values[parent])
    grad = torch.randn(out.shape).to(dtype)
    out.backward(grad)
    wanted = torch.zeros(len(coarse), 70, dtype=torch.float64).index_add(0, parent, grad.double())
    # At most 16 children of size below 5, rounded once to the dtype.
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(values.grad.double(), wanted, rtol=0, atol=tolerance)


def test_threads_change_no_bit() -> None:
    parent, grad = torch.randint(0, 50, (1000,)), torch.randn(1000, 128)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(_upsample_backward(grad, parent, 50))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_operator_rules(opcheck) -> None:
    coords = cells((1, 9, 9), 1, 0.5)
    opcheck(_downscale, coords, 2, [1, 9, 9])
    parent = torch.tensor([0, 1, 1, 0])
    values = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    opcheck(_upsample, values, parent)
    assert torch.autograd.gradcheck(upsample, (values, parent))
    assert torch.autograd.gradgradcheck(upsample, (values, parent))
    nan = upsample(torch.tensor([[torch.nan], [1.0]]), parent)
    assert nan.isnan()[:, 0].tolist() == [True, False, False, True]


def test_wrong_arguments() -> None:
    coords = cells((1, 9, 9), 1, 0.5)
    for bad in (
        (coords.int(), 2, (1, 9, 9)),
        (coords[:, :3], 2, (1, 9, 9)),
        (coords, 0, (1, 9, 9)),
        (coords, 2, (1, 9, 5)),
        (coords - 1, 2, (1, 9, 9)),
        (coords + torch.tensor([2**40, 0, 0, 0]), 2, (1, 9, 9)),
        (coords + torch.tensor([2**30, 0, 0, 0]), 1, (1, 99, 99)),
    ):
        with pytest.raises(ValueError, match="downscale"):
            downscale(*bad)
    values, parent = torch.randn(3, 2), torch.tensor([0, 2])
    for bad in ((values.int(), parent), (values, parent.int()), (values, parent + 1), (values, parent - 1)):
        with pytest.raises(ValueError, match="upsample"):
            upsample(*bad)
