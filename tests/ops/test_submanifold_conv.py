"""Submanifold convolution: against a dense convolution, its gradient, the operator's rules."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from drive.voxels.grid import GridSpec
from drive.voxels.neighbours import neighbour_table
from ops.submanifold_conv import _submanifold_conv, _submanifold_conv_backward, submanifold_conv

GRID = GridSpec((0.0, 0.0, 0.0, 9.0, 7.0, 1.0), (1.0, 1.0, 1.0))


def random_voxels(frames: int, share: float) -> torch.Tensor:
    _, ny, nx = GRID.shape
    key = torch.nonzero(torch.rand(frames * ny * nx) < share)[:, 0]
    return GRID.coords(key)


def test_table_by_hand() -> None:
    coords = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 8], [0, 0, 2, 0], [1, 0, 0, 0]])
    table = neighbour_table(coords, GRID)
    none = 5
    assert table[0].tolist() == [none, none, none, none, 0, 1, none, none, none]
    # The last cell of a row and the first of the next are no neighbours, nor are two frames.
    assert table[2].tolist() == [none] * 4 + [2] + [none] * 4
    assert table[4].tolist() == [none] * 4 + [4] + [none] * 4


def test_equals_a_dense_convolution_at_the_occupied_cells(pure) -> None:
    coords = random_voxels(2, 0.4)
    x, weight = torch.randn(len(coords), 5), torch.randn(9, 5, 4)
    out = pure(submanifold_conv, x, weight, neighbour_table(coords, GRID))
    _, ny, nx = GRID.shape
    dense = torch.zeros(2, 5, ny, nx)
    dense[coords[:, 0], :, coords[:, 2], coords[:, 3]] = x
    kernel = weight.view(3, 3, 5, 4).permute(3, 2, 0, 1)
    exact = F.conv2d(dense, kernel, padding=1)[coords[:, 0], :, coords[:, 2], coords[:, 3]]
    torch.testing.assert_close(out, exact, rtol=0, atol=45 * 10 * 6e-8)  # 45 products of size up to about 10


def test_gradient_and_operator_rules(opcheck) -> None:
    coords = random_voxels(1, 0.3)
    table = neighbour_table(coords, GRID)
    x = torch.randn(len(coords), 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(9, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: submanifold_conv(a, b, table), (x, weight))
    small = torch.randn(len(coords), 3).requires_grad_(), torch.randn(9, 3, 2).requires_grad_(), table
    opcheck(_submanifold_conv, *small)
    opcheck(_submanifold_conv_backward, torch.randn(len(coords), 2), *(t.detach() for t in small))


def test_autocast_computes_and_learns_in_half_precision() -> None:
    coords = random_voxels(1, 0.3)
    table = neighbour_table(coords, GRID)
    x, weight = torch.randn(len(coords), 3, requires_grad=True), torch.randn(9, 3, 2, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = submanifold_conv(x, weight, table)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert x.grad is not None
    assert weight.grad is not None
    exact = submanifold_conv(x.detach(), weight.detach(), table)
    # bfloat16 keeps 8 bits: 2^-8 of each of up to 27 products of size about 1.
    torch.testing.assert_close(out.float(), exact, rtol=0.02, atol=27 * 2**-8)


def test_no_voxels_and_wrong_arguments() -> None:
    coords = torch.zeros(0, 4, dtype=torch.int64)
    table = neighbour_table(coords, GRID)
    assert table.shape == (0, 9)
    assert submanifold_conv(torch.zeros(0, 3), torch.zeros(9, 3, 2), table).shape == (0, 2)
    with pytest.raises(ValueError, match="submanifold_conv: weight"):
        submanifold_conv(torch.zeros(0, 3), torch.zeros(9, 4, 2), table)
    with pytest.raises(ValueError, match="submanifold_conv: neighbours"):
        submanifold_conv(torch.zeros(2, 3), torch.zeros(9, 3, 2), table)
