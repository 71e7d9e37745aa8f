"""The fused pillar encoder."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ops import native
from ops.pillar_encoder import _pillar_max, _pillar_max_backward, cpu, net, pillar_max, pillar_net, reference

pytestmark = pytest.mark.usefixtures("either_kernel")
COUNTS = [3, 0, 1, 130, 2, 64, 65, 0]


def inputs(ragged, sizes, dtype=torch.float32) -> tuple[Tensor, ...]:
    offsets = ragged(COUNTS)
    first, *rest = (torch.randn(s, dtype=dtype) for s in ((int(offsets[-1]), sizes[0]), *sizes[1:]))
    return first, offsets, *rest


def test_numbers_by_hand(pure) -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 0.0], [-1.0, -1.0]])
    offsets = torch.tensor([0, 2, 2, 3])
    weight, bias = torch.tensor([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]]), torch.tensor([0.5, 0.0, 1.0])
    assert pure(pillar_max, features, offsets, weight, bias).tolist() == [[3.5, 2.0, 0.0], [0.0] * 3, [0.0, 0.0, 2.0]]
    own = torch.tensor([[0.0] * 3, [9.0] * 3, [10.0] * 3])
    assert pure(pillar_max, features, offsets, weight, own).tolist() == [[3.0, 2.0, 0.0], [0.0] * 3, [9.0, 9.0, 11.0]]


def test_two_layers_by_hand() -> None:
    features, offsets = torch.tensor([[1.0], [2.0]]), torch.tensor([0, 2])
    # hidden rows (1, 0) and (2, 0); their maximum (2, 0); second layer: 10 h - 3 max + 1.
    w1, b1 = torch.tensor([[1.0, -1.0]]), torch.zeros(2)
    w2, wp, b2 = torch.tensor([[10.0], [0.0]]), torch.tensor([[-3.0], [0.0]]), torch.tensor([1.0])
    assert pillar_net(features, offsets, w1, b1, w2, wp, b2).tolist() == [[15.0]]


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(("K", "C"), [(1, 1), (10, 64), (17, 70)])
def test_one_layer_equals_reference(K: int, C: int, own: bool, ragged, pure) -> None:
    x, offsets, w, b = inputs(ragged, (K, (K, C), (len(COUNTS), C) if own else (C,)))
    out, where = pure(_pillar_max, x, offsets, w, b, True)
    exact, exact_where = reference.pillar_max(x.double(), offsets, w.double(), b.double())
    torch.testing.assert_close(out.double(), exact, rtol=1e-5, atol=1e-5)
    # Two rows within rounding of each other may swap: the values at the chosen rows must still be the maxima.
    assert torch.equal(where < 0, exact_where < 0)
    assert float((where == exact_where).double().mean()) > 0.999
    grad = torch.randn_like(out)
    found = pure(_pillar_max_backward, grad, where, x, offsets, w, own, True)
    wanted = reference.pillar_max_backward(grad.double(), where, x.double(), offsets, w.double(), own)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("K", "H", "C"), [(17, 64, 128), (3, 6, 5), (1, 1, 1)])
def test_two_layers_equal_reference(K: int, H: int, C: int, ragged, pure) -> None:
    x, offsets, *weights = inputs(ragged, (K, (K, H), (H,), (H, C), (H, C), (C,)))
    wanted = [t.double().requires_grad_() for t in (x, *weights)]
    leaves = [t.clone().requires_grad_() for t in (x, *weights)]
    out = pillar_net(leaves[0], offsets, *leaves[1:])
    exact = pillar_net(wanted[0], offsets, *wanted[1:])
    torch.testing.assert_close(out.double(), exact, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(pure(pillar_net, x, offsets, *weights), out.detach(), rtol=1e-6, atol=1e-6)
    assert out[1].tolist() == [0.0] * C
    weight = torch.randn_like(out)
    out.backward(weight)
    exact.backward(weight.double())
    for a, b in zip(leaves, wanted, strict=True):
        # Gradients of weights add up to 265 terms of size |grad| |hidden| < 50.
        torch.testing.assert_close(a.grad.double(), b.grad, rtol=1e-3, atol=1e-2)


def test_gradients_of_the_reference(ragged) -> None:
    offsets = ragged([2, 0, 3])
    tensors = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((5, 3), (3, 4), (4,), (4, 2), (4, 2))]
    bias = torch.randn(2, dtype=torch.float64, requires_grad=True)
    x, w1, b1, w2, wp = tensors
    assert torch.autograd.gradcheck(lambda x, w, b: pillar_max(x, offsets, w, b), (x, w1, b1))
    own = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w, b: pillar_max(x, offsets, w, b), (x, w1, own))
    assert torch.autograd.gradcheck(lambda x, *w: pillar_net(x, offsets, *w), (x, w1, b1, w2, wp, bias))


def test_operator_rules(ragged, opcheck) -> None:
    x, offsets, w, b, w2, wp, b2 = inputs(ragged, (3, (3, 4), (4,), (4, 2), (4, 2), (2,)))
    opcheck(_pillar_max, x.requires_grad_(), offsets, w.requires_grad_(), b, True)
    opcheck(net._pillar_net, x, offsets, w, b, w2, wp, b2, True)
    opcheck(_pillar_max, x.detach(), offsets, w.detach(), b, False)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, 1e30])
def test_numbers_that_are_not_finite_reach_the_right_channels(bad: float, ragged) -> None:
    x, offsets, w, b, w2, wp, b2 = inputs(ragged, (3, (3, 4), (4,), (4, 2), (4, 2), (2,)))
    x[1, 1], x[140, 0], w[1, 2] = bad, bad, 0.0
    for given in ((x, offsets, w, b), (x, offsets, w.index_fill(1, torch.tensor([3]), torch.nan), b)):
        exact = reference.pillar_max(*given)[0]
        torch.testing.assert_close(pillar_max(*given), exact, rtol=1e-4, atol=1e-4, equal_nan=True)
    exact = reference.pillar_net(x, offsets, w, b, w2, wp, b2)[0]
    out = pillar_net(x, offsets, w, b, w2, wp, b2)
    torch.testing.assert_close(out, exact, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_empty_and_not_contiguous(ragged) -> None:
    w, b, w2, wp, b2 = (torch.randn(s) for s in ((3, 4), (4,), (4, 2), (4, 2), (2,)))
    nothing = torch.zeros(0, 3), torch.tensor([0])
    assert pillar_max(*nothing, w, b).shape == (0, 4)
    assert pillar_net(*nothing, w, b, w2, wp, b2).shape == (0, 2)
    offsets = ragged([4, 2])
    x = torch.randn(3, 12).t()[::2]
    assert torch.equal(pillar_max(x, offsets, w, b), pillar_max(x.contiguous(), offsets, w, b))
    assert torch.equal(pillar_max(x, offsets, w.t().contiguous().t(), b), pillar_max(x, offsets, w, b))
    leaf = w.clone().requires_grad_()
    pillar_max(*nothing, leaf, b).sum().backward()
    assert float(leaf.grad.abs().sum()) == 0


def test_threads_change_no_bit(ragged) -> None:
    torch.manual_seed(1)
    offsets = ragged(torch.randint(0, 40, (500,)).tolist())
    x, *weights = (torch.randn(s) for s in ((int(offsets[-1]), 5), (5, 16), (16,), (16, 8), (16, 8), (8,)))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            leaves = [t.clone().requires_grad_() for t in (x, *weights)]
            out = pillar_max(leaves[0], offsets, *leaves[1:3])
            both = pillar_net(leaves[0], offsets, *leaves[1:])
            (out.sum() + both.sum()).backward()
            found.append([out, both, *(t.grad for t in leaves[:3])])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_the_kernel_in_use_is_the_one_asked_for(either_kernel: str) -> None:
    assert (cpu.in_use()[0] == native.IN_USE) == (either_kernel == "C")
    assert (cpu.compiled("net", 64, 128) is not None) == (either_kernel == "C")
    assert cpu.compiled("net", 64, 70) is None


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, 1e37])
def test_one_wide_pillar_with_bad_numbers(bad: float, own: bool, ragged) -> None:
    x, offsets, w, b = inputs(ragged, (3, (3, 64), (len(COUNTS), 64) if own else (64,)))
    x[1, 1], w[1, 2] = bad, 0.0
    exact, exact_where = reference.pillar_max(x, offsets, w, b)
    out, where = _pillar_max(x, offsets, w, b, True)
    torch.testing.assert_close(out, exact, rtol=1e-4, atol=1e-4, equal_nan=True)
    number = ~exact.isnan()
    assert torch.equal(where[number], exact_where[number])


def test_wrong_arguments(ragged) -> None:
    x, offsets, w, b, w2, wp, b2 = inputs(ragged, (3, (3, 4), (4,), (4, 2), (4, 2), (2,)))
    for bad in (
        (x.long(), offsets, w, b),
        (x.half(), offsets, w, b),
        (x, offsets.int(), w, b),
        (x, offsets[:-2], w, b),
        (x, offsets + 1, w, b),
        (x, offsets, w.double(), b),
        (x, offsets, w[:2], b),
        (x, offsets, w, b[:3]),
        (x, offsets, w.to("meta"), b),
    ):
        with pytest.raises(ValueError, match="pillar_max"):
            pillar_max(*bad)
    for wrong in ((w2[:3], wp, b2), (w2, wp[:, :1], b2), (w2, wp, b2[:1]), (w2.double(), wp, b2)):
        with pytest.raises(ValueError, match="pillar_net"):
            pillar_net(x, offsets, w, b, *wrong)
    with pytest.raises(RuntimeError, match="keep=False"):
        _pillar_max(x.requires_grad_(), offsets, w, b, False)[0].sum().backward()
