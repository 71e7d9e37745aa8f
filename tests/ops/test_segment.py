"""Segment reductions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.segment import (
    _segment_reduce,
    _segment_spread,
    reference,
    segment_expand,
    segment_ids,
    segment_max,
    segment_mean,
    segment_reduce,
    segment_sum,
)

COUNTS = [3, 0, 1, 400, 0, 37]


def test_numbers_by_hand(pure) -> None:
    values = torch.tensor([[1.0, 5.0], [3.0, 2.0], [2.0, 5.0], [-4.0, -1.0]])
    offsets = torch.tensor([0, 3, 3, 4])
    assert pure(segment_sum, values, offsets).tolist() == [[6.0, 12.0], [0.0, 0.0], [-4.0, -1.0]]
    assert pure(segment_mean, values, offsets).tolist() == [[2.0, 4.0], [0.0, 0.0], [-4.0, -1.0]]
    assert pure(segment_max, values, offsets).tolist() == [[3.0, 5.0], [0.0, 0.0], [-4.0, -1.0]]
    assert pure(segment_expand, torch.tensor([[1.0], [2.0], [3.0]]), offsets, 4).tolist() == [[1], [1], [1], [3]]
    assert segment_ids(offsets, 4).tolist() == [0, 0, 0, 2]


def test_the_first_of_equals_takes_the_gradient() -> None:
    values = torch.tensor([[1.0], [7.0], [7.0]], requires_grad=True)
    segment_max(values, torch.tensor([0, 3])).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[0.0], [1.0], [0.0]]


@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
@pytest.mark.parametrize("channels", [1, 7, 64])
def test_kernel_equals_reference(reduce: str, channels: int, ragged, pure) -> None:
    offsets = ragged(COUNTS)
    values = torch.randn(int(offsets[-1]), channels)
    out, argmax = _segment_reduce(values, offsets, reduce)
    exact, exact_argmax = reference.segment_reduce(values.double(), offsets, reduce)
    # 400 additions of size 1 in float32: 400 * 6e-8 of a partial sum below 60.
    torch.testing.assert_close(out.double(), exact, rtol=0, atol=0 if reduce == "max" else 1e-3)
    assert torch.equal(argmax, exact_argmax)
    grad = torch.randn_like(out)
    back = pure(_segment_spread, grad, offsets, argmax, values.shape[0], reduce)
    again = reference.segment_reduce_backward(grad, offsets, argmax, values.shape[0], reduce)
    torch.testing.assert_close(back, again, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_add_in_float32(dtype: torch.dtype) -> None:
    values = torch.full((4096, 1), 1.0, dtype=dtype)
    assert segment_sum(values, torch.tensor([0, 4096])).dtype == dtype
    assert float(segment_sum(values, torch.tensor([0, 4096]))) == 4096.0


@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
def test_gradient_and_operator_rules(reduce: str, ragged, opcheck) -> None:
    offsets = ragged([2, 0, 3])
    values = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: segment_reduce(v, offsets, reduce), values)
    opcheck(_segment_reduce, values.detach().float().requires_grad_(), offsets, reduce)
    _, argmax = _segment_reduce(values.detach(), offsets, reduce)
    opcheck(_segment_spread, torch.randn(3, 2), offsets, argmax, 5, reduce)


def test_expand_gradient_is_the_sum(ragged) -> None:
    offsets = ragged([2, 0, 3])
    values = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: segment_expand(v, offsets, 5), values)


@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
def test_empty_and_nan(reduce: str) -> None:
    assert segment_reduce(torch.zeros(0, 3), torch.tensor([0]), reduce).shape == (0, 3)
    assert segment_reduce(torch.zeros(0, 3), torch.tensor([0, 0]), reduce).tolist() == [[0.0] * 3]
    values = torch.tensor([[1.0], [torch.nan], [3.0], [4.0]])
    out = segment_reduce(values, torch.tensor([0, 3, 4]), reduce)
    assert bool(out[0].isnan())
    assert float(out[1]) == 4.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_offsets_that_do_not_split_the_rows(dtype: torch.dtype) -> None:
    for offsets in ([0, 5], [1, 4], [0, 3, 2, 4], [], [0, -1, 4]):
        with pytest.raises(ValueError, match="segment_reduce"):
            segment_sum(torch.zeros(4, 1, dtype=dtype), torch.tensor(offsets, dtype=torch.int64))
    with pytest.raises(ValueError, match="segment_reduce: values"):
        segment_sum(torch.zeros(4, 1, dtype=torch.int32), torch.tensor([0, 4]))
    with pytest.raises(ValueError, match="segment_reduce: offsets must be int64"):
        segment_sum(torch.zeros(4, 1), torch.tensor([0, 4], dtype=torch.int32))
    with pytest.raises(ValueError, match="reduce must be one of"):
        segment_reduce(torch.zeros(4, 1), torch.tensor([0, 4]), "min")


def test_not_contiguous() -> None:
    values = torch.randn(5, 6).t()[:, 1:4]
    expected = segment_sum(values.contiguous(), torch.tensor([0, 2, 6]))
    assert torch.equal(segment_sum(values, torch.tensor([0, 2, 6])), expected)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_order_inside_a_segment_does_not_move_the_maximum(counts: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *counts]).cumsum(0)
    values = torch.randn(int(offsets[-1]), 3, generator=generator)
    shuffled = torch.cat([part[torch.randperm(len(part), generator=generator)] for part in torch.split(values, counts)])
    assert torch.equal(segment_max(values, offsets), segment_max(shuffled, offsets))
    torch.testing.assert_close(segment_sum(values, offsets), segment_sum(shuffled, offsets), rtol=0, atol=1e-4)
