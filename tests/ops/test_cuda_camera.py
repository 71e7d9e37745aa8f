"""The CUDA source of the camera operators, run as plain C++."""

from __future__ import annotations

import pytest
import torch

from ops import camera_sample, deformable_sample, lift_pool, nvrtc
from ops.camera_sample.bench import example
from ops.deformable_sample.bench import example as deformable_example
from ops.lift_pool.bench import example as lift_example
from tests.ops import test_cuda as plain

emulated, same = plain.emulated, plain.same  # one emulation for all operators


def test_camera_sample(emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "launch", emulated)
    points, batch, cameras, features = example(0)
    for best in (False, True):
        given = points, batch, cameras.table, cameras.offsets, 0.1, best
        pairs = camera_sample._project_cuda(*given)
        same(pairs, camera_sample.reference.project(*given), 1e-6)
        maps = features.permute(0, 2, 3, 1)
        at = pairs[1], pairs[2], pairs[4], not best
        out = camera_sample._sample_cuda(maps, *at)
        same([out], [camera_sample.reference.sample(maps.double(), *at)], 1e-5)
        grad = torch.randn_like(out)
        back = camera_sample._sample_backward_cuda(grad, *at, list(maps.shape))
        same([back], [camera_sample.reference.sample_backward(grad.double(), *at, list(maps.shape))], 1e-4)


def test_deformable_sample(emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "launch", emulated)
    value, shapes, at, weights = deformable_example(0)
    given = value, [size for shape in shapes for size in shape], at, weights
    exact = [t if isinstance(t, list) else t.double() for t in given]
    out = deformable_sample._forward_cuda(*given)
    same([out], [deformable_sample.reference.deformable_sample(*exact)], 1e-5)
    grad = torch.randn_like(out)
    back = deformable_sample._backward_cuda(grad, *given)
    same(back, deformable_sample.reference.deformable_sample_backward(grad.double(), *exact), 1e-4)


def test_lift_pool(emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "launch", emulated)
    depth, context, plan = lift_example(0)
    maps = context.permute(0, 2, 3, 1)
    order = plan.occupied, plan.offsets, plan.place, plan.pixel
    out = lift_pool._forward_cuda(depth, maps, plan.cells, *order, 1600)
    same([out], [lift_pool.reference.lift_pool(depth.double(), maps.double(), plan.cells, 1600)], 1e-5)
    grad = torch.randn_like(out)
    back = lift_pool._backward_cuda(grad, depth, maps, plan.cells)
    exact = grad.double(), depth.double(), maps.double(), plan.cells
    same(back, lift_pool.reference.lift_pool_backward(*exact), 1e-5)
