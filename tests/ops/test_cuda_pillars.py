"""CUDA sources of what stands between points and windows, as plain C++: see test_cuda.py."""

from __future__ import annotations

import pytest
import torch

from ops import centre_targets, downscale, nvrtc, pillar_encoder, window_partition
from ops.centre_targets.bench import example
from tests.ops.test_cuda import emulated, same

__all__ = ["emulated"]  # a fixture


def test_pillar_encoder_is_right_as_plain_code(emulated, monkeypatch: pytest.MonkeyPatch, ragged) -> None:
    monkeypatch.setattr(nvrtc, "launch", emulated)
    offsets = ragged([3, 0, 40, 1])
    x, w = torch.randn(44, 5), torch.randn(5, 7)
    for bias in (torch.randn(7), torch.randn(4, 7)):
        found = pillar_encoder._pillar_max_cuda(x, offsets, w, bias, True)
        same(found, pillar_encoder.reference.pillar_max(x, offsets, w, bias), 1e-5)


def test_window_partition_is_right_as_plain_code(emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "launch", emulated)
    shapes = [1, 33, 25, 3, 12, 9]
    coords = [torch.nonzero(torch.rand(2, *shapes[i : i + 3]) < 0.3) for i in (0, 3)]
    found = window_partition._window_partition_cuda(coords, shapes, 10, [0, 5])
    same(found, window_partition.reference.window_partition(coords, shapes, 10, [0, 5]))
    empty = [coords[0][:0]]
    same(
        window_partition._window_partition_cuda(empty, shapes[:3], 10, [5]),
        window_partition.reference.window_partition(empty, shapes[:3], 10, [5]),
    )


def test_downscale_is_right_as_plain_code(emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "launch", emulated)
    for shape in ([1, 33, 25], [3, 12, 9]):
        coords = torch.nonzero(torch.rand(2, *shape) < 0.3)
        for ratio in (2, 4):
            same(downscale._downscale_cuda(coords, ratio, shape), downscale.reference.downscale(coords, ratio, shape))
    same(downscale._downscale_cuda(coords[:0], 2, shape), downscale.reference.downscale(coords[:0], 2, shape))


def test_centre_targets_are_right_as_plain_code(emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "launch", emulated)
    given = example(2)
    same(centre_targets._centre_targets_cuda(*given), centre_targets.reference.centre_targets(*given), 1e-6)
    inside = *given[:4], 3, *given[5:9]
    wanted = centre_targets.reference.foreground_targets(*inside)
    same([centre_targets._foreground_targets_cuda(*inside)], [wanted])
    dense = *given[1:4], 3, *given[5:9], 0.1, 2
    same([centre_targets._gaussian_heat_cuda(*dense)], [centre_targets.reference.gaussian_heat(*dense)], 1e-7)
    nothing = given[0][:0], *given[1:]
    same(centre_targets._centre_targets_cuda(*nothing), centre_targets.reference.centre_targets(*nothing))
