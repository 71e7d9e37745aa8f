"""The CUDA source of sparse convolution, run as plain C++."""

from __future__ import annotations

import pytest
import torch

from ops import nvrtc, sparse_conv
from ops.sparse_conv import TILE, reference, rulebook
from tests.ops import test_cuda as plain

emulated, same = plain.emulated, plain.same  # one emulation for all operators


def test_source_is_right_as_plain_code(emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "launch", emulated)
    shape = (4, 9, 30)
    coords = torch.nonzero(torch.rand(2, *shape) < 0.4)
    one = [1, 1, 1]
    for kernel, stride, padding in (
        ([3, 3, 3], one, one),
        ([3, 3, 3], [2, 2, 2], one),
        ([3, 1, 1], [2, 1, 1], [0] * 3),
    ):
        mutual = stride == one
        cells = coords if mutual else sparse_conv.strided_rules(coords, shape, 2, kernel, stride, padding).coords_out
        lists = rulebook._rules_cuda(coords, cells, [*shape], [], kernel, stride, padding, 2)
        same(lists, reference.rules(coords, cells, shape, kernel, stride, padding, TILE))
        K = kernel[0] * kernel[1] * kernel[2]
        x, weight, grad = torch.randn(len(coords), 5), torch.randn(K, 5, 7), torch.randn(len(cells), 7)
        found = sparse_conv._sparse_conv_cuda(x, weight, *lists, len(cells), mutual)
        same([found], [reference.convolve(x, weight, *lists, len(cells))], 1e-4)
        learned = sparse_conv._weight_gradient_cuda(x, grad, *lists, K)
        same([learned], [reference.weight_gradient(x, grad, *lists, K)], 1e-3)
