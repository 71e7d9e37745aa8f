"""The CUDA sources of the box operators as plain C++, against their references."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from ops import nvrtc, rotated_iou, rotated_nms
from ops.rotated_iou.bench import example
from ops.rotated_nms.bench import example as crowded

_spec = importlib.util.spec_from_file_location("_cuda_shared", Path(__file__).with_name("test_cuda.py"))
assert _spec is not None
assert _spec.loader is not None
_shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_shared)
emulated, same = _shared.emulated, _shared.same


@pytest.fixture(autouse=True)
def _launch(emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "launch", emulated)


def test_rotated_iou() -> None:
    a, b = example(40, 0), example(50, 1)
    a[3, 0], a[4, 3], b[5, 6] = torch.nan, 0.0, torch.inf
    b[10:20] = a[10:20]
    for three_d in (False, True):
        wanted = rotated_iou.reference.iou_matrix(a, b, three_d)
        same([rotated_iou._iou_matrix_cuda(a, b, three_d)], [wanted], 1e-12)
    same([rotated_iou._convex_giou_cuda(a, b[:40])], [rotated_iou.reference.convex_giou(a, b[:40])], 1e-9)


def test_rotated_nms() -> None:
    boxes, scores = crowded(200)
    groups = torch.arange(200) % 2
    limits = [0.2, 0.6]
    kept = rotated_nms._rotated_nms_cuda(boxes, scores, groups, limits, False)
    wanted = rotated_nms.reference.rotated_nms(boxes, scores, groups, torch.tensor(limits, dtype=torch.float64))
    assert torch.equal(kept, wanted)
    assert 50 < len(kept) < 190
