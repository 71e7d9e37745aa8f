"""Which box holds which point, in plain torch: the specification."""

import torch
from torch import Tensor

CHUNK = 16


def points_in_boxes(points: Tensor, point_batch: Tensor, boxes: Tensor, box_batch: Tensor) -> tuple[Tensor, Tensor]:
    """(first box of every point or -1, points of every box); see ops.points_in_boxes."""
    P, N = points.shape[0], boxes.shape[0]
    points, boxes = points.double(), boxes.double()
    first = torch.full((P,), N, device=points.device)
    counts = torch.zeros(N, dtype=torch.int64, device=points.device)
    for start in range(0, N, CHUNK):
        some = boxes[start : start + CHUNK]
        offset = points[:, None, :3] - some[None, :, :3]
        cos, sin = some[:, 6].cos(), some[:, 6].sin()
        inside = (cos * offset[..., 0] + sin * offset[..., 1]).abs() <= some[:, 3] / 2
        inside &= (cos * offset[..., 1] - sin * offset[..., 0]).abs() <= some[:, 4] / 2
        inside &= offset[..., 2].abs() <= some[:, 5] / 2
        inside &= (point_batch[:, None] == box_batch[start : start + CHUNK]) & some[:, :7].isfinite().all(1)
        counts[start : start + CHUNK] = inside.sum(0)
        number = torch.arange(start, start + some.shape[0], device=points.device)
        first = torch.minimum(first, torch.where(inside, number, N).amin(1))
    return torch.where(first == N, -1, first), counts
