"""The kernels of this operator against its reference (`python -m ops check`)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ops.compare import Comparison, both, gap
from ops.examples import make
from ops.rotated_iou import (
    convex_giou_3d_paired,
    reference,
    rotated_iou_3d,
    rotated_iou_3d_paired,
    rotated_iou_bev,
)


def compare(device: str) -> Iterator[Comparison]:
    """(what, largest error, allowed error) on "cpu" or "cuda"."""
    e = make(12_000, 3, 200, 2_000, 4, device)
    a, b = e.boxes[:100], e.boxes[100:]
    for three_d in (False, True):
        iou = (rotated_iou_3d if three_d else rotated_iou_bev)(a, e.boxes)
        wanted = reference.iou_matrix(a.double().cpu(), e.boxes.double().cpu(), three_d)
        yield "all pairs, 3D" if three_d else "all pairs, bev", gap(iou, wanted), 1e-4
    near = torch.cat([a[:, :7] + 0.3, a[:, 7:]], 1)
    hull = convex_giou_3d_paired(near, b), reference.convex_giou(near.double().cpu(), b.double().cpu())
    yield "convex GIoU", gap(*hull), 1e-6
    yield from both("paired, 3D", rotated_iou_3d_paired, (near, b), (), 1e-3)
