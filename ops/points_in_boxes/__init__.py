"""Which box holds which point.

Faces belong to the box; the test runs in float64 whatever the dtype, so that float32 adds no error of its own. A NaN
point is in no box, and a box with a NaN or an infinity holds no point.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ops import checks, kernels
from ops.arrays import arrays, tensors
from ops.operator import operator
from ops.points_in_boxes import cpu, cuda, reference


class PointBoxes(NamedTuple):
    """The answer in both directions."""

    box: Tensor
    """int64 [P]: the first (lowest) box that holds the point, -1 where none does."""
    counts: Tensor
    """int64 [N]: points inside each box; a point inside two boxes counts for both."""


def points_in_boxes(
    points: Tensor, boxes: Tensor, point_batch: Tensor | None = None, box_batch: Tensor | None = None
) -> PointBoxes:
    """Look up `points` [P, >=3] in `boxes` [N, >=7] (box columns), same frame and float dtype.

    With `point_batch` int64 [P] and `box_batch` int64 [N], a point is looked up in the boxes of its own frame only.
    ValueError: shapes, dtypes, one batch column without the other.
    """
    checks.check_float("points_in_boxes", "points", points, 2, full_only=True)
    checks.check_boxes("points_in_boxes", "boxes", boxes)
    if points.shape[1] < 3 or points.dtype != boxes.dtype:
        raise ValueError(
            f"points_in_boxes: points {points.dtype} {tuple(points.shape)} need 3 columns and the boxes' {boxes.dtype}"
        )
    if (point_batch is None) != (box_batch is None):
        raise ValueError("points_in_boxes: give both point_batch and box_batch, or none")
    if point_batch is not None and box_batch is not None:
        checks.check_index("points_in_boxes", "point_batch", point_batch)
        checks.check_index("points_in_boxes", "box_batch", box_batch)
        checks.check_same_device("points_in_boxes", points, point_batch, box_batch)
        checks.check_rows("points_in_boxes", "point_batch", point_batch, points.shape[0])
        checks.check_rows("points_in_boxes", "box_batch", box_batch, boxes.shape[0])
    checks.check_same_device("points_in_boxes", points, boxes)
    return PointBoxes(*_points_in_boxes(points.detach(), point_batch, boxes.detach(), box_batch))


def _frames(points: Tensor, point_batch: Tensor | None, boxes: Tensor, box_batch: Tensor | None) -> list[Tensor]:
    """Both batch columns; zeros where none are given. ValueError for a negative frame of a box."""
    if point_batch is None or box_batch is None:
        return [torch.zeros(t.shape[0], dtype=torch.int64, device=t.device) for t in (points, boxes)]
    if box_batch.numel() and int(box_batch.min()) < 0:
        raise ValueError("points_in_boxes: box_batch must not be negative")
    return [point_batch, box_batch]


@operator("drive_ops::points_in_boxes")
def _points_in_boxes(
    points: Tensor, point_batch: Tensor | None, boxes: Tensor, box_batch: Tensor | None
) -> tuple[Tensor, Tensor]:
    of_points, of_boxes = _frames(points, point_batch, boxes, box_batch)
    return reference.points_in_boxes(points, of_points, boxes, of_boxes)


@_points_in_boxes.register_kernel("cpu")
def _(points: Tensor, point_batch: Tensor | None, boxes: Tensor, box_batch: Tensor | None) -> tuple[Tensor, Tensor]:
    frames = []
    if point_batch is not None and box_batch is not None:
        frames = list(arrays(*_frames(points, point_batch, boxes, box_batch)))
    return tensors(cpu.points_in_boxes(*arrays(points, boxes), *frames, threads=torch.get_num_threads()))


@_points_in_boxes.register_fake
def _(points: Tensor, point_batch: Tensor | None, boxes: Tensor, box_batch: Tensor | None) -> tuple[Tensor, Tensor]:
    return points.new_empty(points.shape[0], dtype=torch.int64), boxes.new_empty(boxes.shape[0], dtype=torch.int64)


def _points_in_boxes_cuda(
    points: Tensor, point_batch: Tensor | None, boxes: Tensor, box_batch: Tensor | None
) -> tuple[Tensor, Tensor]:
    of_points, of_boxes = _frames(points, point_batch, boxes, box_batch)
    return cuda.points_in_boxes(points.contiguous(), of_points.contiguous(), boxes, of_boxes.contiguous())


def _register_cuda() -> None:
    _points_in_boxes.register_kernel("cuda")(_points_in_boxes_cuda)


kernels.declare("points_in_boxes", "cpu", "numba", "grid of box lists")
kernels.declare_unproven_cuda("points_in_boxes", _register_cuda)
