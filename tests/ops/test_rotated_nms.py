"""Suppression of rotated boxes, against a greedy loop with shapely in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
import torch
from torch import Tensor

from ops.rotated_nms import _rotated_nms, reference, rotated_nms
from ops.rotated_nms.bench import example


def random_boxes(count: int, extent: float) -> Tensor:
    boxes = torch.rand(count, 9)
    boxes[:, :2] = 60 + extent * boxes[:, :2]
    boxes[:, 3:6] = 1 + 4 * boxes[:, 3:6]
    boxes[:, 6] = (boxes[:, 6] - 0.5) * 6.28
    return boxes


def greedy_with_shapely(boxes: Tensor, scores: Tensor, groups: Tensor, thresholds: list[float]) -> list[int]:
    b = boxes.double().numpy()
    corner = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2
    local = corner[None] * b[:, None, 3:5]
    cos, sin = np.cos(b[:, 6])[:, None], np.sin(b[:, 6])[:, None]
    x, y = cos * local[..., 0] - sin * local[..., 1], sin * local[..., 0] + cos * local[..., 1]
    polygon = shapely.polygons(np.stack([x + b[:, None, 0], y + b[:, None, 1]], -1))
    area, kept = shapely.area(polygon), []
    for i in torch.argsort(scores, descending=True, stable=True).tolist():
        rivals = [j for j in kept if groups[j] == groups[i]]
        part = shapely.area(shapely.intersection(polygon[rivals], polygon[i])) if rivals else np.zeros(0)
        if not (part / (area[rivals] + area[i] - part) > thresholds[int(groups[i])]).any():
            kept.append(i)
    return kept


def test_numbers_by_hand(pure) -> None:
    boxes = torch.tensor([[x, 0.0, 0.0, 4.0, 2.0, 1.0, 0.0] for x in (0.0, 1.0, 2.0, 9.0, 0.0)])
    boxes[4, 6] = math.pi  # the same rectangle turned half round
    scores = torch.tensor([0.5, 0.9, 0.4, 0.1, 0.5])
    same = torch.zeros(5, dtype=torch.int64)
    # IoU: 0-1 and 1-2 0.6, 0-2 1/3, 0-4 1
    assert pure(rotated_nms, boxes, scores, same, 0.5).tolist() == [1, 3]
    assert pure(rotated_nms, boxes, scores, same, 0.7).tolist() == [1, 0, 2, 3]
    assert pure(rotated_nms, boxes, scores, torch.tensor([7, -3, 5, 5, 7]), 0.5).tolist() == [1, 0, 2, 3]
    assert pure(rotated_nms, boxes, scores, torch.tensor([0, 0, 0, 1, 1]), [0.5, 1.0]).tolist() == [1, 4, 3]


def test_keeps_the_same_set_as_shapely(pure) -> None:
    boxes, scores, groups = random_boxes(400, 25.0), torch.rand(400), torch.randint(0, 3, (400,))
    thresholds = [0.1, 0.3, 0.7]
    kept = pure(rotated_nms, boxes, scores, groups, thresholds)
    assert kept.tolist() == greedy_with_shapely(boxes, scores, groups, thresholds)
    assert 50 < len(kept) < 350


def test_kernel_equals_reference() -> None:
    boxes, scores, groups = random_boxes(1000, 60.0), torch.rand(1000), torch.randint(0, 4, (1000,))
    limits = torch.tensor([0.2, 0.2, 0.5, 0.01], dtype=torch.float64)
    expected = reference.rotated_nms(boxes, scores, groups, limits)
    assert torch.equal(rotated_nms(boxes, scores, groups, limits.tolist()), expected)


def test_order_of_the_boxes_does_not_matter() -> None:
    boxes, scores, groups = random_boxes(200, 20.0), torch.rand(200), torch.randint(0, 2, (200,))
    shuffle = torch.randperm(200)
    kept = rotated_nms(boxes[shuffle], scores[shuffle], groups[shuffle], 0.3)
    assert torch.equal(shuffle[kept], rotated_nms(boxes, scores, groups, 0.3))


def test_empty_and_operator_rules(opcheck) -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert rotated_nms(torch.zeros(0, 9), torch.zeros(0), none, 0.5).tolist() == []
    assert rotated_nms(torch.zeros(0, 9), torch.zeros(0), none, [0.5, 0.5]).tolist() == []
    groups = torch.tensor([0, 1, 0, 1])
    opcheck(_rotated_nms, random_boxes(4, 3.0), torch.rand(4), groups, [0.3, 0.5], False)


def test_wrong_arguments() -> None:
    boxes, scores, groups = random_boxes(4, 3.0), torch.rand(4), torch.tensor([0, 1, 2, 0])
    for bad in (
        (boxes[:, :5], scores, groups, 0.5),
        (boxes, scores[:3], groups, 0.5),
        (boxes, scores, groups.int(), 0.5),
        (boxes, scores, groups, [0.5, 0.5]),
        (boxes, scores, groups - 1, [0.5, 0.5, 0.5]),
    ):
        with pytest.raises(ValueError, match="rotated_nms"):
            rotated_nms(*bad)


def test_many_boxes_keep_the_float64_set() -> None:
    boxes, scores = example(1500)
    kept = rotated_nms(boxes, scores, torch.zeros(1500, dtype=torch.int64), 0.2)
    groups = torch.zeros(1500, dtype=torch.int64)
    assert kept.tolist() == greedy_with_shapely(boxes, scores, groups, [0.2])


def test_equal_scores_keep_the_lower_index() -> None:
    boxes = random_boxes(1, 1.0).repeat(300, 1)
    boxes[:, 0] += torch.arange(300) // 100 * 50.0
    scores = torch.full((300,), 0.5)
    assert rotated_nms(boxes, scores, torch.zeros(300, dtype=torch.int64), 0.5).tolist() == [0, 100, 200]
    scores[150:] = torch.inf
    assert rotated_nms(boxes, scores, torch.zeros(300, dtype=torch.int64), 0.5).tolist() == [150, 200, 0]


def test_bad_numbers() -> None:
    boxes, scores, groups = random_boxes(5, 1.0), torch.rand(5), torch.zeros(5, dtype=torch.int64)
    boxes[0, 0], boxes[1, 3], boxes[2, 6] = torch.nan, 0.0, torch.inf
    kept = rotated_nms(boxes, scores, groups, 0.0)
    assert {0, 1, 2} <= set(kept.tolist())
    limits = torch.zeros(1, dtype=torch.float64)
    assert torch.equal(kept, reference.rotated_nms(boxes, scores, groups, limits))
    scores[3] = torch.nan
    with pytest.raises(ValueError, match="rotated_nms: a score is NaN"):
        rotated_nms(boxes, scores, groups, 0.5)


def test_threads_and_strides_change_nothing(pure) -> None:
    boxes, scores = example(6000)
    groups = torch.arange(6000) % 5
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        two = pure(rotated_nms, boxes, scores, groups, 0.2)
        torch.set_num_threads(1)
        assert torch.equal(two, rotated_nms(boxes, scores, groups, 0.2))
        spread = torch.stack([boxes, boxes], 2)[..., 0]
        assert torch.equal(two, rotated_nms(spread, scores, groups, 0.2))
    finally:
        torch.set_num_threads(before)
