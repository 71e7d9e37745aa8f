"""Sparse convolution: rulebooks by hand and against the reference, outputs against dense convolutions, gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ops.sparse_conv import (
    TILE,
    Rulebook,
    _sparse_conv,
    _weight_gradient,
    reference,
    sparse_conv,
    strided_rules,
    submanifold_rules,
)
from ops.sparse_conv.rulebook import _outputs, _reverse, _rules

SHAPE = (5, 12, 40)
STRIDED = [
    ((3, 3, 3), (2, 2, 2), (1, 1, 1)),
    ((3, 3, 3), (2, 2, 2), (0, 1, 1)),
    ((3, 1, 1), (2, 1, 1), (0, 0, 0)),
    ((2, 2, 2), (2, 2, 2), (0, 0, 0)),
    ((3, 3, 5), (2, 1, 3), (1, 0, 2)),
]


def random_voxels(frames: int, share: float, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    filled = torch.rand(frames, *shape) < share
    return torch.nonzero(filled)


def dense(x: Tensor, coords: Tensor, frames: int, shape: tuple[int, int, int]) -> Tensor:
    out = x.new_zeros(frames, x.shape[1], *shape)
    out[coords[:, 0], :, coords[:, 1], coords[:, 2], coords[:, 3]] = x
    return out


def at(values: Tensor, coords: Tensor) -> Tensor:
    return values[coords[:, 0], :, coords[:, 1], coords[:, 2], coords[:, 3]]


def conv3d_weight(weight: Tensor, kernel: tuple[int, int, int]) -> Tensor:
    return weight.unflatten(0, kernel).permute(4, 3, 0, 1, 2)


def pairs_of(rules: Rulebook) -> set[tuple[int, int, int]]:
    offset = reference.offset_of_pair(rules.starts, rules.kernel)
    return set(zip(rules.inputs.tolist(), rules.outputs.tolist(), offset.tolist(), strict=True))


def test_rules_by_hand() -> None:
    coords = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 8], [0, 0, 2, 0], [1, 0, 0, 0]])
    rules = submanifold_rules(coords, (1, 7, 9), 2, (1, 3, 3))
    # The last cell of a row and the first of the next are no neighbours, nor are two frames.
    assert pairs_of(rules) == {(i, i, 4) for i in range(5)} | {(1, 0, 5), (0, 1, 3)}
    assert rules.starts.tolist()[-1] == 7
    # Kernel 3, stride 2, padding 1: an even cell is the middle of one output, an odd one the border of two.
    down = strided_rules(torch.tensor([[0, 0, 0, 2], [0, 0, 0, 5]]), (1, 1, 9), 1, (1, 1, 3), (1, 1, 2), (0, 0, 1))
    assert down.coords_out.tolist() == [[0, 0, 0, 1], [0, 0, 0, 2], [0, 0, 0, 3]]
    assert pairs_of(down) == {(0, 0, 1), (1, 1, 2), (1, 2, 0)}
    assert pairs_of(down.reversed()) == {(0, 0, 1), (1, 1, 2), (2, 1, 0)}


def test_kernels_make_the_reference_s_lists(pure) -> None:
    shape = (6, 20, 70)
    coords = random_voxels(3, 0.25, shape)
    assert len(coords) > 8 * TILE
    for kernel in ((3, 3, 3), (1, 3, 3), (5, 1, 3), (1, 1, 1), (3, 5, 1), (1, 1, 5)):
        padding = [k // 2 for k in kernel]
        found = pure(_rules, coords, coords, [*shape], [*shape], [*kernel], [1, 1, 1], padding, 3)
        exact = reference.rules(coords, coords, shape, kernel, (1, 1, 1), padding, TILE)
        assert all(torch.equal(a, b) for a, b in zip(found, exact, strict=True))
    for kernel, stride, padding in STRIDED:
        rules = strided_rules(coords, shape, 3, kernel, stride, padding)
        assert torch.equal(rules.coords_out, reference.outputs(coords, rules.shape_out, kernel, stride, padding))
        lists = rules.inputs, rules.outputs, rules.starts
        exact = reference.rules(coords, rules.coords_out, shape, kernel, stride, padding, TILE)
        assert all(torch.equal(a, b) for a, b in zip(lists, exact, strict=True))
        back = rules.reversed()
        exact = reference.reverse(*lists, rules.kernel, len(coords), TILE)
        assert all(torch.equal(a, b) for a, b in zip((back.inputs, back.outputs, back.starts), exact, strict=True))


@pytest.mark.parametrize("channels", [(5, 16), (3, 7), (32, 48), (20, 128)])
def test_equals_a_dense_convolution_at_the_outputs(channels: tuple[int, int], pure) -> None:
    coords = random_voxels(2, 0.3)
    x, (kernel, stride, padding) = torch.randn(len(coords), channels[0]), STRIDED[0]
    weight = torch.randn(27, *channels)
    image, taps = dense(x, coords, 2, SHAPE), conv3d_weight(weight, kernel)
    # Up to 27 * 32 products of size up to about 10, each rounded to 6e-8 of it.
    close = {"rtol": 0.0, "atol": 27 * channels[0] * 10 * 6e-8}
    found = pure(lambda a, b: sparse_conv(a, b, submanifold_rules(coords, SHAPE, 2)), x, weight)
    torch.testing.assert_close(found, at(F.conv3d(image, taps, padding=1), coords), **close)
    down = strided_rules(coords, SHAPE, 2, kernel, stride, padding)
    found = pure(lambda a, b: sparse_conv(a, b, down), x, weight)
    whole = F.conv3d(image, taps, stride=stride, padding=padding)
    torch.testing.assert_close(found, at(whole, down.coords_out), **close)
    assert whole.abs().sum(1).count_nonzero() == len(down.coords_out)  # every cell that is reached, and no other
    inverse = torch.randn(27, channels[1], channels[0])
    wanted = F.conv_transpose3d(
        dense(found, down.coords_out, 2, down.shape_out),
        conv3d_weight(inverse, kernel).transpose(0, 1),
        stride=stride,
        padding=padding,
        output_padding=tuple(n - (2 * m - 1) for n, m in zip(SHAPE, down.shape_out, strict=True)),
    )
    close["atol"] *= float(found.abs().max())
    torch.testing.assert_close(sparse_conv(found, inverse, down.reversed()), at(wanted, coords), **close)


def test_gradients_and_operator_rules(opcheck) -> None:
    coords = random_voxels(1, 0.3, (3, 4, 5))
    same, down = submanifold_rules(coords, (3, 4, 5), 1), strided_rules(coords, (3, 4, 5), 1)
    x, weight = torch.randn(len(coords), 3), torch.randn(27, 3, 2)
    for rules in (same, down):
        leaves = [t.double().requires_grad_() for t in (x, weight)]
        assert torch.autograd.gradcheck(lambda a, b, rules=rules: sparse_conv(a, b, rules), leaves)
        lists = rules.inputs, rules.outputs, rules.starts
        opcheck(_sparse_conv, x.requires_grad_(), weight.requires_grad_(), *lists, len(rules.coords_out), rules.mutual)
        grad = torch.randn(len(rules.coords_out), 2)
        opcheck(_weight_gradient, x.detach(), grad, *lists, 27)
        opcheck(_reverse, *lists, 27, len(coords))
    numbers = [3, 4, 5], [2, 2, 3], [3, 3, 3], [2, 2, 2], [1, 1, 1], 1
    opcheck(_outputs, coords, *numbers)
    opcheck(_rules, coords, down.coords_out, *numbers)


@pytest.mark.parametrize("channels", [(5, 16), (33, 80), (64, 64)])
@pytest.mark.parametrize("kind", ["submanifold", "strided", "inverse"])
def test_gradients_of_the_kernels(kind: str, channels: tuple[int, int]) -> None:
    coords = random_voxels(2, 0.3)
    down = strided_rules(coords, SHAPE, 2)
    rules = {"submanifold": submanifold_rules(coords, SHAPE, 2), "strided": down, "inverse": down.reversed()}[kind]
    x, weight = torch.randn(len(rules.coords_in), channels[0]), torch.randn(27, *channels)
    grad = torch.randn(len(rules.coords_out), channels[1])
    found, exact = [
        torch.autograd.grad(sparse_conv(a, b, rules), (a, b), grad.to(a.dtype))
        for a, b in ([t.to(d).requires_grad_() for t in (x, weight)] for d in (torch.float32, torch.float64))
    ]
    for ours, wanted in zip(found, exact, strict=True):
        # Sums of at most 27 * 80, or of some 900, products of size about one.
        torch.testing.assert_close(ours.double(), wanted, rtol=1e-5, atol=2000 * 6e-8 * 4)


def test_bfloat16_is_rounded_once_and_learns(opcheck) -> None:
    coords = random_voxels(1, 0.3)
    rules = submanifold_rules(coords, SHAPE, 1)
    x, weight = torch.randn(len(coords), 7), torch.randn(27, 7, 20)
    halves = [t.bfloat16().requires_grad_() for t in (x, weight)]
    out = sparse_conv(*halves, rules)
    assert out.dtype == torch.bfloat16
    exact = sparse_conv(*(t.detach().double() for t in halves), rules)
    # Sums are float32's; bfloat16 keeps 8 bits, and rounding takes half of the last one.
    torch.testing.assert_close(out.double(), exact, rtol=2**-8, atol=1e-5)
    out.backward(torch.ones_like(out))
    assert halves[1].grad is not None
    wide = weight.double().requires_grad_()
    sparse_conv(halves[0].detach().double(), wide, rules).sum().backward()
    torch.testing.assert_close(halves[1].grad.double(), wide.grad, rtol=2**-8, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(sparse_conv(x, weight, rules), out)


def test_values_that_are_not_finite_stay_where_they_reach() -> None:
    coords = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 9]])
    rules = submanifold_rules(coords, (1, 1, 12), 1)
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.ones(3, 4, dtype=dtype)
        x[0, 1], x[1, 2] = torch.nan, torch.inf
        out = sparse_conv(x, torch.ones(27, 4, 16, dtype=dtype), rules)
        assert out[:2].isnan().all()
        assert out[2].tolist() == [4.0] * 16
        x[0, 1] = 1
        assert (sparse_conv(x, torch.ones(27, 4, 16, dtype=dtype), rules)[:2] == torch.inf).all()


def test_any_number_of_threads_gives_the_same_bits() -> None:
    coords = random_voxels(2, 0.5, (8, 40, 60))
    x, weight, grad = torch.randn(len(coords), 20), torch.randn(27, 20, 32), torch.randn(len(coords), 32)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            rules, down = submanifold_rules(coords, (8, 40, 60), 2), strided_rules(coords, (8, 40, 60), 2)
            lists = rules.inputs, rules.outputs, rules.starts
            out = sparse_conv(x, weight, rules), sparse_conv(x.bfloat16(), weight.bfloat16(), rules)
            learned = _weight_gradient(x, grad, *lists, 27)
            found.append((*lists, down.coords_out, down.inputs, down.outputs, down.starts, *out, learned))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_grids_beyond_2_31_cells() -> None:
    shape = (400, 3000, 100_000)  # of which one frame holds 1.2e11 cells
    coords = torch.tensor([[0, 0, 0, 0], [1, 399, 2999, 99_998], [1, 399, 2999, 99_999]])
    rules = submanifold_rules(coords, shape, 2)
    assert pairs_of(rules) == {(0, 0, 13), (1, 1, 13), (2, 2, 13), (2, 1, 14), (1, 2, 12)}
    down = strided_rules(coords, shape, 2)
    assert down.shape_out == (200, 1500, 50_000)
    assert down.coords_out.tolist() == [[0, 0, 0, 0], [1, 199, 1499, 49_999]]
    assert pairs_of(down) == {(0, 0, 13), (1, 1, 13 + 9 + 3), (2, 1, 13 + 9 + 3 + 1)}
    with pytest.raises(ValueError, match="sparse_conv: .* below 2\\^31"):
        submanifold_rules(coords, (70_000, 70_000, 3), 2)


def test_no_voxels_one_voxel_and_other_layouts() -> None:
    none = torch.zeros(0, 4, dtype=torch.int64)
    for frames in (0, 1):
        rules, down = submanifold_rules(none, SHAPE, frames), strided_rules(none, SHAPE, frames)
        assert sparse_conv(torch.zeros(0, 3), torch.zeros(27, 3, 2), rules).shape == (0, 2)
        x, weight = torch.zeros(0, 3, requires_grad=True), torch.ones(27, 3, 2, requires_grad=True)
        sparse_conv(x, weight, down).sum().backward()
        assert weight.grad is not None
        assert not weight.grad.any()
        assert sparse_conv(torch.zeros(0, 2), torch.zeros(27, 2, 3), down.reversed()).shape == (0, 3)
    one = torch.tensor([[0, 2, 3, 4]])
    weight = torch.randn(27, 3, 2)
    x = torch.randn(1, 3)
    torch.testing.assert_close(sparse_conv(x, weight, submanifold_rules(one, SHAPE, 1)), x @ weight[13])
    coords = random_voxels(1, 0.3)
    wide = torch.randn(4, len(coords) * 2).t()[::2]
    turned = torch.randn(2, 4, 27).permute(2, 1, 0)
    rules = submanifold_rules(torch.cat((coords, coords), 1)[:, 4:], SHAPE, 1)
    exact = sparse_conv(wide.contiguous(), turned.contiguous(), rules)
    assert torch.equal(sparse_conv(wide, turned, rules), exact)


def test_wrong_arguments() -> None:
    coords = random_voxels(1, 0.2)
    rules = submanifold_rules(coords, SHAPE, 1)
    x, weight = torch.zeros(len(coords), 3), torch.zeros(27, 3, 2)
    for wrong in (coords.flip(0), coords[[0, 0, 1]], coords + 100, coords - 3):
        with pytest.raises(ValueError, match="sparse_conv: .*voxel"):
            submanifold_rules(wrong, SHAPE, 1)
        with pytest.raises(ValueError, match="sparse_conv: coordinates"):
            reference.check_coords(wrong, SHAPE, 1)
    for call, message in (
        (lambda: submanifold_rules(coords.int(), SHAPE, 1), "coords must be int64"),
        (lambda: submanifold_rules(coords[:, 1:], SHAPE, 1), r"coords must be \[V, 4\]"),
        (lambda: submanifold_rules(coords, SHAPE, 1, (3, 2, 3)), "must be odd"),
        (lambda: submanifold_rules(coords, (5, 0, 3), 1), "shape must be three positive"),
        (lambda: strided_rules(coords, SHAPE, 1, padding=(-1, 0, 0)), "padding"),
        (lambda: strided_rules(coords, SHAPE, 1, (9, 3, 3), padding=(0, 0, 0)), "does not fit into"),
        (lambda: sparse_conv(x[1:], weight, rules), "x must have"),
        (lambda: sparse_conv(x.int(), weight, rules), "x must be one of"),
        (lambda: sparse_conv(x, weight[1:], rules), "weight .* does not fit"),
        (lambda: sparse_conv(x, weight.double(), rules), "weight .* does not fit"),
        (lambda: sparse_conv(x.to("meta"), weight, rules), "different devices"),
        (lambda: replace(rules, inputs=rules.inputs + len(coords)), "point outside"),
        (lambda: replace(rules, outputs=rules.outputs - 1), "point outside"),
        (lambda: replace(rules, starts=rules.starts[1:]), "starts"),
    ):
        with pytest.raises(ValueError, match=f"sparse_conv: .*{message}"):
            call()
