"""Ragged softmax pooling."""

from __future__ import annotations

import math

import pytest
import torch

from ops.point_attention import _point_attention, _point_attention_backward, point_attention, reference

COUNTS = [3, 0, 1, 1000, 17]


def test_numbers_by_hand(pure) -> None:
    scores = torch.tensor([[0.0, 100.0], [math.log(3.0), 0.0], [5.0, -5.0]])
    values = torch.tensor([[4.0, 8.0], [0.0, 4.0], [7.0, 9.0]])
    out = pure(point_attention, scores, values, torch.tensor([0, 2, 2, 3]))
    expected = [[[1.0, 5.0], [4.0, 8.0]], [[0.0, 0.0], [0.0, 0.0]], [[7.0, 9.0], [7.0, 9.0]]]
    torch.testing.assert_close(out, torch.tensor(expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("heads", "channels"), [(1, 1), (4, 16), (8, 33), (5, 128), (20, 8)])
def test_kernel_equals_reference(heads: int, channels: int, ragged, pure) -> None:
    offsets = ragged(COUNTS)
    P, V = int(offsets[-1]), len(COUNTS)
    scores, values, grad = 4 * torch.randn(P, heads), torch.randn(P, channels), torch.randn(V, heads, channels)
    pooled, logsumexp = pure(_point_attention, scores, values, offsets)
    exact = reference.point_attention(scores.double(), values.double(), offsets)
    # Weights sum to 1, values are below 5: 1000 additions in float32 err below 1000 * 6e-8 * 5 at the very worst.
    torch.testing.assert_close(pooled.double(), exact[0], rtol=0, atol=3e-5)
    torch.testing.assert_close(logsumexp.double(), exact[1], rtol=1e-6, atol=1e-5)
    back = pure(_point_attention_backward, grad, scores, values, offsets, pooled, logsumexp)
    exact_back = reference.point_attention_backward(
        grad.double(), scores.double(), values.double(), offsets, *(t.double() for t in exact)
    )
    for ours, theirs in zip(back, exact_back, strict=True):
        # A dot product of 128 channels of size 1 errs by up to 128 * 6e-8 * 4.
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=3e-5)


def test_gradient_and_operator_rules(ragged, opcheck) -> None:
    offsets = ragged([2, 0, 3])
    scores = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    values = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s, x: point_attention(s, x, offsets), (scores, values))
    opcheck(_point_attention, torch.randn(5, 2).requires_grad_(), torch.randn(5, 3), offsets)
    pooled, logsumexp = _point_attention(scores.detach().float(), values.detach().float(), offsets)
    arguments = (torch.randn(3, 2, 3), torch.randn(5, 2), torch.randn(5, 3), offsets, pooled, logsumexp)
    opcheck(_point_attention_backward, *arguments)


def test_adding_to_all_scores_changes_nothing_and_order_does_not_matter(ragged) -> None:
    offsets = ragged([40, 25])
    scores, values = torch.randn(65, 4), torch.randn(65, 8)
    out = point_attention(scores, values, offsets)
    torch.testing.assert_close(point_attention(scores + 30.0, values, offsets), out, rtol=0, atol=1e-5)
    shuffle = torch.cat([torch.randperm(40), 40 + torch.randperm(25)])
    torch.testing.assert_close(point_attention(scores[shuffle], values[shuffle], offsets), out, rtol=0, atol=1e-6)


def test_empty_half_and_nan() -> None:
    assert point_attention(torch.zeros(0, 2), torch.zeros(0, 3), torch.tensor([0])).shape == (0, 2, 3)
    out = point_attention(torch.zeros(4, 1).bfloat16(), torch.ones(4, 2).bfloat16(), torch.tensor([0, 4]))
    assert out.dtype == torch.bfloat16
    assert out.tolist() == [[[1.0, 1.0]]]
    scores = torch.tensor([[0.0], [torch.nan], [0.0]])
    out = point_attention(scores, torch.ones(3, 1), torch.tensor([0, 2, 3]))
    assert bool(out[0].isnan())
    assert float(out[1]) == 1.0


def test_wrong_arguments() -> None:
    scores, values, offsets = torch.zeros(4, 2), torch.zeros(4, 3), torch.tensor([0, 4])
    for bad in (
        (scores[0], values, offsets),
        (scores, values[:3], offsets),
        (scores, values.double(), offsets),
        (scores, values, offsets + 1),
        (scores, values, offsets.int()),
    ):
        with pytest.raises(ValueError, match="point_attention"):
            point_attention(*bad)
