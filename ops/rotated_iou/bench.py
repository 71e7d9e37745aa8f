"""This operator beside its peers (`python -m ops bench`): shapely's tree, and our torch reference."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ops.pair import Pair
from ops.rotated_iou import reference, rotated_iou_3d, rotated_iou_bev


def example(count: int, seed: int, metres_a_box: float = 2.85, dtype: torch.dtype = torch.float64) -> Tensor:
    """Cars [count, 7] at constant density: 500 against 500 others have about 2,500 overlapping pairs."""
    g = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 7, generator=g, dtype=dtype)
    boxes[:, :2] = (boxes[:, :2] - 0.5) * metres_a_box * math.sqrt(count)
    boxes[:, 3:6] = torch.tensor([3.5, 1.6, 1.4], dtype=dtype) + boxes[:, 3:6] * torch.tensor(
        [2.0, 0.8, 0.6], dtype=dtype
    )
    boxes[:, 6] = (boxes[:, 6] - 0.5) * 6.28
    return boxes


def polygons(boxes: Tensor) -> np.ndarray:
    """shapely polygons of boxes [N, >=7]."""
    import shapely

    return shapely.polygons(reference._corners(boxes.double()).numpy())


def with_tree(a: Tensor, b: Tensor) -> Tensor:
    """IoU matrix by shapely: pairs that intersect from an STRtree, then vectorised intersections."""
    import shapely

    pa, pb = polygons(a), polygons(b)
    i, j = shapely.STRtree(pb).query(pa, predicate="intersects")
    part = shapely.area(shapely.intersection(pa[i], pb[j]))
    out = np.zeros((len(pa), len(pb)))
    out[i, j] = part / (shapely.area(pa)[i] + shapely.area(pb)[j] - part)
    return torch.from_numpy(out)


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed. mmcv's operator is not in the lock: left out."""
    a, b = example(500, 0), example(500, 1)
    shapely: Callable[[], list[Tensor]] | None = lambda: [with_tree(a, b)]  # noqa: E731
    if importlib.util.find_spec("shapely") is None:
        shapely = None
    name = "rotated IoU 500 x 500, float64"
    yield Pair(name, "shapely STRtree", lambda: [rotated_iou_bev(a, b)], shapely, 1e-9, goal=30.0)
    a32, b32 = a.float(), b.float()
    yield Pair(
        "rotated IoU 500 x 500, 3D, float32",
        "our torch reference",
        lambda: [rotated_iou_3d(a32, b32)],
        lambda: [reference.iou_matrix(a32, b32, True)],
        1e-6,
    )
