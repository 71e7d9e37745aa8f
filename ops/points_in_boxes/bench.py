"""This operator beside its peers (`python -m ops bench`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import torch
from torch import Tensor

from ops.examples import make
from ops.pair import Pair
from ops.points_in_boxes import points_in_boxes, reference


def example(points: int, boxes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A scan's points [points, 5] in one frame and boxes [boxes, 9], float32."""
    e = make(points, 1, boxes, 10, 1, seed=seed)
    return e.points, e.boxes


def _with_shapely(points: Tensor, boxes: Tensor) -> list[Tensor]:
    """(first box, counts) of boxes without height: points looked up in an STRtree of polygons."""
    import shapely

    from ops.rotated_iou.bench import polygons

    tree = shapely.STRtree(polygons(boxes))
    p, box = tree.query(shapely.points(points[:, :2].double().numpy()), predicate="intersects")
    first = torch.full((len(points),), len(boxes))
    first.scatter_reduce_(0, torch.from_numpy(p), torch.from_numpy(box), "amin")
    return [torch.where(first == len(boxes), -1, first), torch.bincount(torch.from_numpy(box), minlength=len(boxes))]


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed."""
    e = make(120_000, 4, 1_000, 8_000, 4)
    points, boxes = e.points.double(), e.boxes[:100].double()
    one_frame = torch.zeros_like(e.point_batch), torch.zeros(100, dtype=torch.int64)
    yield Pair(
        f"points in boxes, {len(e.points)} x 100",
        "our torch reference",
        lambda: list(points_in_boxes(points, boxes)),
        lambda: list(reference.points_in_boxes(points, one_frame[0], boxes, one_frame[1])),
    )
    cloud, some = example(170_000, 100)
    tall = some.clone()
    tall[:, 5] = 1e3
    yield Pair(
        "points in boxes, 170,000 x 100, from above",
        "shapely STRtree",
        lambda: list(points_in_boxes(cloud, tall)),
        (lambda: _with_shapely(cloud, tall)) if importlib.util.find_spec("shapely") else None,
    )
