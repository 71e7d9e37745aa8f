"""Which box holds which point."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ops.points_in_boxes import _points_in_boxes, points_in_boxes, reference
from ops.points_in_boxes.bench import example


def scene(points: int, boxes: int, frames: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    b = torch.rand(boxes, 9)
    b[:, :2] = 100 * b[:, :2] - 50
    b[:, 3:6] = 0.5 + 12 * b[:, 3:6]
    b[:, 6] = (b[:, 6] - 0.5) * 6.28
    p = torch.rand(points, 4) * torch.tensor([120.0, 120.0, 6.0, 1.0]) - torch.tensor([60.0, 60.0, 3.0, 0.0])
    return p, torch.randint(0, frames, (points,)), b, torch.randint(0, frames, (boxes,))


def test_numbers_by_hand(pure) -> None:
    boxes = torch.tensor(
        [[0.0, 0.0, 0.0, 4.0, 2.0, 2.0, 0.0], [1.0, 0.0, 0.0, 4.0, 2.0, 2.0, 0.0], [9.0, 9.0, 9.0, 2.0, 2.0, 2.0, 1.0]]
    )
    boxes[0, 6] = math.pi / 2  # 2 m along x, 4 m along y
    points = torch.tensor(
        [[0.0, 1.9, 0.0], [0.5, 0.5, 0.9], [2.9, -0.9, 0.0], [2.9, -1.1, 0.0], [0.0, 0.0, 1.1], [torch.nan, 0.0, 0.0]]
    )
    found = pure(points_in_boxes, points, boxes)
    assert found.box.tolist() == [0, 0, 1, -1, -1, -1]
    assert found.counts.tolist() == [2, 2, 0]


@pytest.mark.parametrize(("points", "boxes", "frames"), [(1, 1, 1), (5000, 40, 1), (40_000, 90, 3)])
def test_kernel_equals_reference(points: int, boxes: int, frames: int, pure) -> None:
    given_ = scene(points, boxes, frames)
    ours = pure(_points_in_boxes, *given_)
    exact = reference.points_in_boxes(given_[0].double(), given_[1], given_[2].double(), given_[3])
    # float32 may put a point within 1e-5 m of a face on its other side.
    assert (ours[0] != exact[0]).sum() <= points * 1e-4
    assert (ours[1] - exact[1]).abs().sum() <= points * 1e-4
    assert int(ours[1].sum()) >= int((ours[0] >= 0).sum())


def test_faces_belong_to_the_box() -> None:
    box = torch.tensor([[1.0, 2.0, 3.0, 4.0, 2.0, 1.0, 0.0]])
    corners = torch.tensor([[3.0, 3.0, 3.5], [-1.0, 1.0, 2.5]])
    assert points_in_boxes(corners, box).box.tolist() == [0, 0]
    assert points_in_boxes(corners * 1.001, box).box.tolist() == [-1, -1]


def test_boxes_without_a_place_hold_nothing(pure) -> None:
    points, _, boxes, _ = scene(500, 4)
    boxes[:, 3:5] = 40.0
    boxes[1, 0], boxes[2, 3] = torch.nan, torch.inf
    for dtype in (torch.float32, torch.float64):
        zeros = torch.zeros(500, dtype=torch.int64), torch.zeros(4, dtype=torch.int64)
        arguments = points.to(dtype), zeros[0], boxes.to(dtype), zeros[1]
        for found in (pure(_points_in_boxes, *arguments), reference.points_in_boxes(*arguments)):
            assert found[1][1:3].tolist() == [0, 0]
            assert int(found[1].sum()) > 0


def test_frames_do_not_mix_and_empty_inputs() -> None:
    points, boxes = torch.zeros(2, 3), torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0]])
    found = points_in_boxes(points, boxes, torch.tensor([0, 5]), torch.tensor([5]))
    assert found.box.tolist() == [-1, 0]
    assert found.counts.tolist() == [1]
    assert points_in_boxes(points, torch.zeros(0, 7)).box.tolist() == [-1, -1]
    assert points_in_boxes(torch.zeros(0, 3), boxes).counts.tolist() == [0]
    assert points_in_boxes(torch.zeros(0, 3), torch.zeros(0, 7)).box.tolist() == []


def test_operator_rules_and_wrong_arguments(opcheck) -> None:
    points, point_batch, boxes, box_batch = scene(20, 3, 2)
    opcheck(_points_in_boxes, points, point_batch, boxes, box_batch)
    for bad in (
        (points, boxes.double()),
        (points[:, :2], boxes),
        (points, boxes[:, :6]),
        (points, boxes, point_batch),
        (points, boxes, point_batch[:3], box_batch),
        (points, boxes, point_batch, box_batch.int()),
        (points, boxes, point_batch, box_batch - 5),
    ):
        with pytest.raises(ValueError, match="points_in_boxes"):
            points_in_boxes(*bad)


@given(st.integers(0, 2**31), st.floats(-3.2, 3.2))
@settings(max_examples=20, deadline=None)
def test_turning_the_world_changes_nothing(seed: int, turn: float) -> None:
    torch.manual_seed(seed)
    points, _, boxes, _ = (t.double() for t in scene(200, 10))
    found = points_in_boxes(points, boxes)
    cos, sin = math.cos(turn), math.sin(turn)
    for t in (points, boxes):
        t[:, 0], t[:, 1] = cos * t[:, 0] - sin * t[:, 1], sin * t[:, 0] + cos * t[:, 1]
    boxes[:, 6] += turn
    assert torch.equal(points_in_boxes(points, boxes).box, found.box)


def test_huge_boxes_far_frames_and_outliers(pure) -> None:
    points, point_batch, boxes, box_batch = scene(4000, 60, 3)
    boxes[:20, 3:5] = 300.0
    boxes[20, :2] = 1e7
    far = torch.tensor([0, 7, 2**50])
    exact = reference.points_in_boxes(points, point_batch, boxes, box_batch)
    for frames in (torch.arange(3), far):
        found = pure(_points_in_boxes, points, frames[point_batch], boxes, frames[box_batch])
        assert torch.equal(found[0], exact[0])
        assert torch.equal(found[1], exact[1])
    alone = _points_in_boxes(points, point_batch + 1, boxes, box_batch * 0)
    assert not alone[1].any()


def test_threads_strides_and_bad_points() -> None:
    points, boxes = example(50_000, 60)
    points[7, 0], points[8, 1], points[9, 2] = torch.nan, torch.inf, -torch.inf
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = points_in_boxes(points, boxes)
        torch.set_num_threads(2)
        two = points_in_boxes(points.T.contiguous().T, boxes.repeat(1, 2)[:, :9])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one.box, two.box)
    assert torch.equal(one.counts, two.counts)
    assert one.box[7:10].tolist() == [-1, -1, -1]
    exact = reference.points_in_boxes(points, torch.zeros(50_000).long(), boxes, torch.zeros(60).long())
    assert torch.equal(one.box, exact[0])
