"""Every registered kernel against its reference on this machine, forward and backward."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ops import dilate, point_attention, points_in_boxes, rotated_iou, rotated_nms, segment, voxelize, window_attention
from ops.examples import RANGE, VOXEL, make


def compare(device: str) -> Iterator[tuple[str, str, float, float]]:
    """(operator, what, largest error, allowed error) for every operator on "cpu" or "cuda".

    The reference runs on the CPU in float64; indices must be equal (error 0 or 1). The allowed errors are float32's:
    a sum of n terms of size s may be off by n * s * 6e-8.
    """
    e = make(12_000, 3, 200, 2_000, 4, device)

    def gap(ours: Any, exact: Any) -> float:
        ours, exact = ours.detach().double().cpu(), exact.detach().double().cpu()
        if ours.shape != exact.shape:
            return float("inf")
        return float((ours - exact).abs().max()) if ours.numel() else 0.0

    groups = voxelize.voxelize(e.points, e.point_batch, RANGE, VOXEL, e.frames)
    exact = voxelize.reference.voxelize(e.points.cpu(), e.point_batch.cpu(), RANGE, VOXEL, e.frames)
    yield "voxelize", "voxels and order", max(gap(a, b) for a, b in zip(groups, exact, strict=True)), 0.0

    g = torch.Generator().manual_seed(1)
    values = torch.randn(len(groups.order), 32, generator=g).to(device)
    for how in segment.REDUCTIONS:
        call, wide = (lambda v, o, how=how: segment.segment_reduce(v, o, how)), (groups.offsets,)
        yield from _both("segment", how, call, (values,), wide, 2e-5, gap)
    scores = torch.randn(len(groups.order), 4, generator=g).to(device)
    pooling = point_attention.point_attention
    yield from _both("point_attention", "pooling", pooling, (scores, values), (groups.offsets,), 5e-5, gap)
    yield from _both("window_attention", "attention", window_attention.window_attention, e.qkv, (e.windows,), 5e-5, gap)

    a, b = e.boxes[:100], e.boxes[100:]
    for three_d in (False, True):
        iou = (rotated_iou.rotated_iou_3d if three_d else rotated_iou.rotated_iou_bev)(a, e.boxes)
        wanted = rotated_iou.reference.iou_matrix(a.double().cpu(), e.boxes.double().cpu(), three_d)
        yield "rotated_iou", "all pairs, 3D" if three_d else "all pairs, bev", gap(iou, wanted), 1e-4
    near = torch.cat([a[:, :7] + 0.3, a[:, 7:]], 1)
    yield from _both("rotated_iou", "paired, 3D", rotated_iou.rotated_iou_3d_paired, (near, b), (), 1e-3, gap)
    limits = [0.1, 0.3, 0.5]
    kept = rotated_nms.rotated_nms(e.boxes, e.scores, e.labels, limits)
    thresholds = torch.tensor(limits, dtype=torch.float64)
    wanted = rotated_nms.reference.rotated_nms(e.boxes.cpu(), e.scores.cpu(), e.labels.cpu(), thresholds)
    yield "rotated_nms", "kept boxes", gap(kept, wanted), 0.0

    points, boxes = e.points.double(), e.boxes.double()
    frames = e.point_batch, e.labels
    found = points_in_boxes.points_in_boxes(points, boxes, *frames)
    cpu = [t.cpu() for t in (points, frames[0], boxes, frames[1])]
    wanted_boxes, wanted_counts = points_in_boxes.reference.points_in_boxes(*cpu)
    yield "points_in_boxes", "first box", gap(found.box, wanted_boxes), 0.0
    yield "points_in_boxes", "counts", gap(found.counts, wanted_counts), 0.0

    keep = torch.rand(len(groups.coords), generator=g).to(device) < 0.2
    _, ny, nx = voxelize.grid_shape(RANGE, VOXEL)
    grown = dilate.dilate(groups.coords, keep, 5, (ny, nx), e.frames)
    cells = dilate.reference.dilate(groups.coords.cpu(), keep.cpu(), 5, ny, nx, e.frames)
    yield "dilate", "cells and neighbours", max(gap(x, y) for x, y in zip(grown, cells, strict=True)), 0.0
    features = torch.randn(len(groups.coords), 32, generator=g).to(device)
    reached = grown.neighbours, grown.offsets
    yield from _both("dilate", "gather max", dilate.gather_max, (features,), reached, 2e-5, gap)


def _both(
    op: str,
    what: str,
    call: Callable[..., Tensor],
    values: tuple[Tensor, ...],
    rest: tuple[Tensor, ...],
    allowed: float,
    gap: Callable[[Any, Any], float],
) -> Iterator[tuple[str, str, float, float]]:
    """Output and gradients of `call`: float32 on its device, against float64 on the CPU (which takes the reference)."""
    ours = [v.detach().clone().requires_grad_() for v in values]
    exact = [v.detach().double().cpu().requires_grad_() for v in values]
    out, wanted = call(*ours, *rest), call(*exact, *(r.cpu() for r in rest))
    yield op, what, gap(out, wanted), allowed
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    out.backward(weight.to(out.device))
    wanted.backward(weight.double())
    yield op, f"{what}, gradient", max(gap(a.grad, b.grad) for a, b in zip(ours, exact, strict=True)), allowed


def failures(device: str) -> int:
    """Print the comparison as a table; returns the number of kernels that are off."""
    wrong = 0
    for op, what, error, allowed in compare(device):
        wrong += not error <= allowed
        verdict = "ok" if error <= allowed else "WRONG"
        print(f"{op:18s}{what:26s}{device:6s}error {error:9.2e}  allowed {allowed:7.0e}  {verdict}")
    return wrong
