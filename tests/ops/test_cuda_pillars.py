"""CUDA source of the pillar encoder as plain C++: see test_cuda.py."""

from __future__ import annotations

import pytest
import torch

from ops import nvrtc, pillar_encoder
from tests.ops.test_cuda import emulated, same

__all__ = ["emulated"]  # a fixture


def test_pillar_encoder_is_right_as_plain_code(emulated, monkeypatch: pytest.MonkeyPatch, ragged) -> None:  # noqa: F811
    monkeypatch.setattr(nvrtc, "launch", emulated)
    offsets = ragged([3, 0, 40, 1])
    x, w = torch.randn(44, 5), torch.randn(5, 7)
    for bias in (torch.randn(7), torch.randn(4, 7)):
        found = pillar_encoder._pillar_max_cuda(x, offsets, w, bias, True)
        same(found, pillar_encoder.reference.pillar_max(x, offsets, w, bias), 1e-5)
