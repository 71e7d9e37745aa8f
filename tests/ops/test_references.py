"""Running on references: the same numbers by another way, and back."""

from __future__ import annotations

import pytest
import torch

from ops.references import reference_kernels
from ops.window_attention import reference, window_attention


def test_references_are_taken_inside_only(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    own = reference.window_attention

    def counted(*given):  # type: ignore[no-untyped-def]
        calls.append(1)
        return own(*given)

    monkeypatch.setattr(reference, "window_attention", counted)
    q, k, v = torch.randn(3, 7, 2, 16)
    offsets = torch.tensor([0, 3, 7])
    fast = window_attention(q, k, v, offsets)
    assert not calls
    with reference_kernels() as count:
        slow = window_attention(q, k, v, offsets)
    assert calls
    assert count >= 10
    torch.testing.assert_close(fast, slow)
    window_attention(q, k, v, offsets)
    assert len(calls) == 1
