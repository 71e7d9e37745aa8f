"""This operator beside its peers (`python -m ops bench`): OpenCV's suppression, and our torch reference."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ops.pair import Pair
from ops.rotated_iou.bench import example as cars
from ops.rotated_nms import reference, rotated_nms

THRESHOLD = 0.2


def example(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Boxes [count, 7] at constant density, every second one close to its predecessor, and scores [count]."""
    g = torch.Generator().manual_seed(seed)
    boxes, scores = cars(count, seed, 3.5), torch.rand(count, generator=g, dtype=torch.float64)
    boxes[1::2] = boxes[0 : count - count % 2 : 2]
    boxes[1::2, :2] += 0.4 * torch.randn(count // 2, 2, generator=g, dtype=torch.float64)
    boxes[1::2, 6] += 0.05
    return boxes, scores


def with_cv2(boxes: Tensor, scores: Tensor) -> Callable[[], list[Tensor]] | None:
    """OpenCV's call, its own box format made beforehand; float32 inside."""
    if importlib.util.find_spec("cv2") is None:
        return None
    import cv2

    rectangles = [((x, y), (length, w), math.degrees(a)) for x, y, _, length, w, _, a in boxes.tolist()]
    values = scores.tolist()
    return lambda: [torch.tensor(cv2.dnn.NMSBoxesRotated(rectangles, values, 0.0, THRESHOLD), dtype=torch.int64)]


def nearly_same(ours: list[Tensor], theirs: list[Tensor]) -> None:
    """OpenCV's float32 overlaps may decide a few boxes otherwise: at most 5 % of the kept ones differ."""
    mine, other = set(ours[0].tolist()), set(theirs[0].flatten().tolist())
    assert len(mine ^ other) <= 0.05 * len(mine), f"{len(mine ^ other)} of {len(mine)} kept boxes differ"


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed. mmcv's operator is not in the lock: left out."""
    for count in (1000, 4096):
        boxes, scores = example(count)
        group = torch.zeros(count, dtype=torch.int64)
        ours = lambda b=boxes, s=scores, g=group: [rotated_nms(b, s, g, THRESHOLD)]  # noqa: E731
        peer = with_cv2(boxes, scores)
        name = f"rotated NMS, {count} boxes"
        yield Pair(name, "cv2.dnn.NMSBoxesRotated", ours, peer, math.inf, nearly_same, 30.0 if count > 1000 else 0.0)
    boxes, scores = example(1000)
    group, limits = torch.arange(1000) % 3, torch.full((3,), THRESHOLD, dtype=torch.float64)
    yield Pair(
        "rotated NMS, 1000 boxes, 3 classes",
        "our torch reference",
        lambda: [rotated_nms(boxes, scores, group, [THRESHOLD] * 3)],
        lambda: [reference.rotated_nms(boxes, scores, group, limits)],
    )
