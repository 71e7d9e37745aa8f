"""Attention inside ragged windows."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ops import native
from ops.window_attention import _window_attention, _window_attention_backward, cpu, reference, window_attention

COUNTS = [1, 2, 99, 100, 0, 37, 16, 300]

pytestmark = pytest.mark.usefixtures("either_kernel")


def tokens(count: int, heads: int, channels: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.randn(count, heads, channels, dtype=dtype) for _ in range(3)]


def test_numbers_by_hand(pure) -> None:
    q = torch.tensor([[[1.0]], [[0.0]], [[2.0]]])
    k = torch.tensor([[[0.0]], [[torch.log(torch.tensor(3.0))]], [[9.0]]])
    v = torch.tensor([[[8.0]], [[4.0]], [[5.0]]])
    out = pure(window_attention, q, k, v, torch.tensor([0, 2, 3]), 1.0)
    torch.testing.assert_close(out.flatten(), torch.tensor([5.0, 6.0, 5.0]), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("heads", "channels"), [(1, 4), (4, 16), (3, 10), (2, 32)])
def test_kernel_equals_torch_attention_of_each_window(heads: int, channels: int, ragged) -> None:
    offsets = ragged(COUNTS)
    q, k, v = tokens(int(offsets[-1]), heads, channels)
    out = window_attention(q, k, v, offsets)
    for first, last in pairwise(offsets):
        if first < last:
            qw, kw, vw = (t[first:last].transpose(0, 1).double()[None] for t in (q, k, v))
            exact = scaled_dot_product_attention(qw, kw, vw)[0].transpose(0, 1)
            # Weights sum to 1 and err by 2e-7 each (exp) plus a score's rounding, 1e-6 at |score| < 8.
            torch.testing.assert_close(out[first:last].double(), exact, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("heads", "channels"), [(1, 4), (4, 16), (3, 10), (1, 100)])
def test_kernel_equals_reference_both_ways(heads: int, channels: int, ragged, pure) -> None:
    offsets = ragged(COUNTS)
    given = tokens(int(offsets[-1]), heads, channels)
    out, logsumexp = pure(_window_attention, *given, offsets, 0.3)
    exact = reference.window_attention(*(t.double() for t in given), offsets, 0.3)
    torch.testing.assert_close(out.double(), exact[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(logsumexp.double(), exact[1], rtol=1e-6, atol=1e-5)
    grad = torch.randn_like(out)
    back = pure(_window_attention_backward, grad, *given, offsets, out, logsumexp, 0.3)
    doubles = [t.double() for t in (grad, *given)]
    exact_back = reference.window_attention_backward(*doubles, offsets, *exact, 0.3)
    for ours, theirs in zip(back, exact_back, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=2e-5)


def test_gradient_and_operator_rules(ragged, opcheck) -> None:
    offsets = ragged([1, 0, 3, 2])
    doubles = [t.requires_grad_() for t in tokens(6, 2, 3, torch.float64)]
    assert torch.autograd.gradcheck(lambda q, k, v: window_attention(q, k, v, offsets), doubles)
    floats = [t.requires_grad_() for t in tokens(6, 2, 4)]
    opcheck(_window_attention, *floats, offsets, 0.5)
    plain = [t.detach() for t in floats]
    out, logsumexp = _window_attention(*plain, offsets, 0.5)
    opcheck(_window_attention_backward, out, *plain, offsets, out, logsumexp, 0.5)


def test_kernel_gradient_by_finite_difference(ragged) -> None:
    offsets = ragged([5, 8])
    given = [t.requires_grad_() for t in tokens(13, 2, 8)]
    weight, step = torch.randn(13, 2, 8), 1e-2
    (window_attention(*given, offsets) * weight).sum().backward()
    for t in given:
        direction = torch.randn_like(t)
        moved = [[u.detach() + s * step * direction if u is t else u.detach() for u in given] for s in (1, -1)]
        plus, minus = ((window_attention(*m, offsets) * weight).sum() for m in moved)
        # Central differences: 1e-4 of the third derivative, and 1e-6 / 1e-2 of rounding.
        torch.testing.assert_close((plus - minus) / (2 * step), (t.grad * direction).sum(), rtol=5e-3, atol=5e-3)


def test_order_inside_a_window_and_neighbours_do_not_matter(ragged) -> None:
    offsets = ragged([30, 50])
    q, k, v = tokens(80, 4, 16)
    out = window_attention(q, k, v, offsets)
    shuffle = torch.cat([torch.randperm(30), 30 + torch.randperm(50)])
    shuffled = window_attention(q[shuffle], k[shuffle], v[shuffle], offsets)
    torch.testing.assert_close(shuffled, out[shuffle], rtol=0, atol=2e-6)
    k2 = k.clone()
    k2[30:] = 1e3
    assert torch.equal(window_attention(q, k2, v, offsets)[:30], out[:30])


def test_huge_scores_empty_half_and_nan(ragged) -> None:
    q, k, v = tokens(10, 1, 8)
    assert window_attention(q * 1e3, k * 1e3, v, ragged([10])).isfinite().all()
    empty = torch.zeros(0, 2, 8)
    assert window_attention(empty, empty, empty, torch.tensor([0])).shape == (0, 2, 8)
    assert window_attention(empty, empty, empty, torch.tensor([0, 0, 0])).shape == (0, 2, 8)
    half = window_attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), ragged([10]))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), window_attention(q, k, v, ragged([10])), rtol=0, atol=5e-2)
    q[3, 0, 0] = torch.nan
    assert window_attention(q, k, v, ragged([5, 5])).isnan().any(2)[:, 0].nonzero().tolist() == [[3]]


def test_the_kernel_in_use_is_the_one_asked_for(either_kernel) -> None:
    assert cpu.in_use()[0] == (native.IN_USE if either_kernel == "C" else "numba (C turned off)")
    assert (cpu.compiled("attention_forward", 10) is not None) == (either_kernel == "C")


@pytest.mark.parametrize("layout", ["side by side", "heads outside"])
def test_not_contiguous(layout: str, ragged) -> None:
    packed = torch.randn(12, 3, 2, 8) if layout == "side by side" else torch.randn(2, 3, 12, 8).transpose(0, 2)
    q, k, v = packed.unbind(1)
    expected = window_attention(q.contiguous(), k.contiguous(), v.contiguous(), ragged([5, 7]))
    assert torch.equal(window_attention(q, k, v, ragged([5, 7])), expected)


def test_compiles_whole(ragged) -> None:
    offsets, given = ragged([4, 9]), [t.requires_grad_() for t in tokens(13, 2, 8)]
    eager = window_attention(*given, offsets)
    compiled = torch.compile(window_attention, backend="aot_eager", fullgraph=True)(*given, offsets)
    assert torch.equal(eager, compiled)
    compiled.sum().backward()
    assert given[0].grad is not None


def test_wrong_arguments(ragged) -> None:
    q, k, v = tokens(6, 2, 4)
    for bad in (
        (q, k[:5], v, ragged([6])),
        (q, k.double(), v, ragged([6])),
        (q[0], k[0], v[0], ragged([6])),
        (q, k, v, ragged([5])),
        (q, k, v, ragged([6]).int()),
        (q.long(), k.long(), v.long(), ragged([6])),
    ):
        with pytest.raises(ValueError, match="window_attention"):
            window_attention(*bad)
