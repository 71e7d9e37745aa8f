"""Overlap of rotated boxes, against shapely in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ops.rotated_iou import (
    _convex_giou,
    _iou_matrix,
    _paired_overlap,
    convex_giou_3d_paired,
    iou3d_loss,
    reference,
    rotated_giou_3d_paired,
    rotated_iou_3d,
    rotated_iou_3d_paired,
    rotated_iou_bev,
    rotated_iou_bev_paired,
)


def random_boxes(count: int, around: float = 3.0, far: float = 75.0) -> Tensor:
    boxes = torch.rand(count, 9)
    boxes[:, :2] = far + around * (boxes[:, :2] - 0.5)
    boxes[:, 3:6] = 0.5 + 4.5 * boxes[:, 3:6]
    boxes[:, 6] = (boxes[:, 6] - 0.5) * 6.28
    return boxes


def polygons(boxes: Tensor) -> np.ndarray:
    b = boxes.double().numpy()
    corner = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2
    local = corner[None] * b[:, None, 3:5]
    cos, sin = np.cos(b[:, 6])[:, None], np.sin(b[:, 6])[:, None]
    x, y = cos * local[..., 0] - sin * local[..., 1], sin * local[..., 0] + cos * local[..., 1]
    return shapely.polygons(np.stack([x + b[:, None, 0], y + b[:, None, 1]], -1))


def shapely_iou(a: Tensor, b: Tensor) -> Tensor:
    pa, pb = polygons(a)[:, None], polygons(b)[None]
    part = shapely.area(shapely.intersection(pa, pb))
    return torch.from_numpy(part / (shapely.area(pa) + shapely.area(pb) - part))


def test_numbers_by_hand(pure) -> None:
    square = torch.tensor([[10.0, 5.0, 1.0, 2.0, 2.0, 2.0, 0.0]])
    others = torch.tensor(
        [
            [10.0, 5.0, 1.0, 2.0, 2.0, 2.0, 0.0],  # itself
            [10.0, 5.0, 1.0, 2.0, 2.0, 2.0, math.pi / 2],  # a quarter turn is the same square
            [11.0, 5.0, 2.0, 2.0, 2.0, 2.0, 0.0],  # half beside it and half above it
            [12.0, 5.0, 1.0, 2.0, 2.0, 2.0, 0.0],  # touching
            [10.0, 5.0, 1.0, 2.0, 2.0, 2.0, math.pi / 4],  # the octagon: 8 (sqrt 2 - 1)
            [10.0, 5.0, 9.0, 1.0, 1.0, 1.0, 0.3],  # inside from above, high over it
            [10.0, 5.0, 1.0, 0.0, 0.0, 0.0, 0.0],  # no size
        ]
    )
    octagon = 8 * (math.sqrt(2) - 1)
    octagon_iou = octagon / (8 - octagon)
    bev = torch.tensor([[1.0, 1.0, 1 / 3, 0.0, octagon_iou, 0.25, 0.0]])
    torch.testing.assert_close(pure(rotated_iou_bev, square, others), bev, rtol=1e-6, atol=1e-7)
    volume = torch.tensor([[1.0, 1.0, 2 / 14, 0.0, octagon_iou, 0.0, 0.0]])
    torch.testing.assert_close(pure(rotated_iou_3d, square, others), volume, rtol=1e-6, atol=1e-7)
    same = square.expand(7, 7)
    torch.testing.assert_close(pure(rotated_iou_bev_paired, same, others), bev[0], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(pure(rotated_iou_3d_paired, same, others), volume[0], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("three_d", [False, True])
def test_kernel_equals_reference(three_d: bool, pure) -> None:
    a, b = random_boxes(60, 10.0), random_boxes(40, 10.0)
    ours = pure(_iou_matrix, a, b, three_d)
    # Both clip in float64; float32 boxes and results leave one rounding.
    torch.testing.assert_close(ours, reference.iou_matrix(a, b, three_d), rtol=1e-6, atol=1e-7)


def test_float32_far_from_the_origin_equals_shapely() -> None:
    a, b = random_boxes(80), random_boxes(60)
    assert (rotated_iou_bev(a, b).double() - shapely_iou(a, b)).abs().max() < 1e-6
    paired = rotated_iou_bev_paired(a[:60], b).double()
    assert (paired - shapely_iou(a[:60], b).diagonal()).abs().max() < 1e-5


def test_nearly_equal_boxes() -> None:
    a = random_boxes(200)
    assert torch.equal(rotated_iou_bev(a, a).diagonal(), torch.ones(200))
    for shift in (1e-7, 1e-5, 1e-3):
        b = a.double()
        b[:, [0, 6]] += shift
        iou = rotated_iou_bev_paired(a.double(), b)
        assert (iou - shapely_iou(a.double(), b).diagonal()).abs().max() < 1e-9
    turned = a.double()
    turned[:, 6] += math.pi
    torch.testing.assert_close(rotated_iou_bev_paired(a.double(), turned), torch.ones(200).double())


@pytest.mark.parametrize("function", [rotated_iou_bev_paired, rotated_iou_3d_paired, rotated_giou_3d_paired])
def test_gradient_equals_finite_differences(function) -> None:
    a = random_boxes(40, 4.0, 0.0).double().requires_grad_()
    b = (a.detach() + 0.4 * torch.randn(40, 9)).requires_grad_()
    b.data[:, 3:6].clamp_(min=0.3)
    assert torch.autograd.gradcheck(function, (a, b))


def test_reference_and_kernel_have_the_same_gradient(pure) -> None:
    a, b = random_boxes(300)[:, [0, 1, 3, 4, 6]].double(), random_boxes(300)[:, [0, 1, 3, 4, 6]].double()
    for ours, theirs in zip(pure(_paired_overlap, a, b), reference.paired_overlap(a, b), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_generalised_iou_falls_with_distance_and_pulls_boxes_together() -> None:
    label = torch.tensor([[0.0, 0.0, 0.0, 4.0, 2.0, 2.0, 0.5]])
    values = []
    for x in (0.0, 3.0, 10.0, 40.0):
        moved = label.clone()
        moved[0, 0] = x
        values.append(float(rotated_giou_3d_paired(moved, label)))
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(1.0)
    assert -1 < values[-1] < -0.5
    box = torch.tensor([[2.5, -2.0, 1.5, 3.0, 2.5, 1.5, 0.1]], requires_grad=True)
    optimiser = torch.optim.Adam([box], 0.02)
    start = float(iou3d_loss(box.detach(), label, generalised=True))
    for _ in range(300):
        optimiser.zero_grad()
        iou3d_loss(box, label, generalised=True).sum().backward()
        optimiser.step()
    assert float(iou3d_loss(box.detach(), label)) < 0.1 < 0.9 < start


def test_empty_and_operator_rules(opcheck) -> None:
    none, some = torch.zeros(0, 9), random_boxes(3)
    assert rotated_iou_bev(none, some).shape == (0, 3)
    assert rotated_iou_3d(some, none).shape == (3, 0)
    assert rotated_iou_3d_paired(none, none).shape == (0,)
    assert iou3d_loss(none, none).shape == (0,)
    opcheck(_iou_matrix, some, random_boxes(4), True)
    opcheck(_paired_overlap, some[:, [0, 1, 3, 4, 6]].requires_grad_(), some[:, [1, 0, 3, 4, 6]].clone())


def test_wrong_arguments() -> None:
    boxes = random_boxes(3)
    for bad in ((boxes[:, :6], boxes), (boxes, boxes.double()), (boxes[0], boxes), (boxes.long(), boxes.long())):
        with pytest.raises(ValueError, match="rotated_iou_bev"):
            rotated_iou_bev(*bad)
    with pytest.raises(ValueError, match="rotated_iou_3d_paired: b must have 3 rows"):
        rotated_iou_3d_paired(boxes, boxes[:2])


@given(st.integers(0, 2**31), st.floats(-3.2, 3.2), st.floats(-90, 90))
@settings(max_examples=30, deadline=None)
def test_turning_and_moving_both_changes_nothing(seed: int, turn: float, shift: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(5, 7, generator=generator, dtype=torch.float64) * 3 + 0.5
    b = torch.rand(5, 7, generator=generator, dtype=torch.float64) * 3 + 0.5

    def move(boxes: Tensor) -> Tensor:
        x, y = boxes[:, 0], boxes[:, 1]
        moved = boxes.clone()
        moved[:, 0] = math.cos(turn) * x - math.sin(turn) * y + shift
        moved[:, 1] = math.sin(turn) * x + math.cos(turn) * y - shift
        moved[:, 6] += turn
        return moved

    iou = rotated_iou_bev(a, b)
    torch.testing.assert_close(iou, rotated_iou_bev(move(a), move(b)), rtol=0, atol=1e-10)
    torch.testing.assert_close(iou, rotated_iou_bev(b, a).T, rtol=0, atol=1e-10)
    assert bool(((iou >= 0) & (iou <= 1 + 1e-12)).all())


def test_float64_equals_shapely_to_1e_9() -> None:
    for around in (3.0, 30.0):
        a, b = random_boxes(150, around).double(), random_boxes(150, around).double()
        assert (rotated_iou_bev(a, b) - shapely_iou(a, b)).abs().max() < 1e-12
        thin = b.clone()
        thin[:, 4] = 1e-5
        assert (rotated_iou_bev(a, thin) - shapely_iou(a, thin)).abs().max() < 1e-12


def test_nearly_parallel_sides_and_shared_corners_equal_shapely() -> None:
    a = torch.tensor([[0.0, 0.0, 0.0, 4.0, 2.0, 1.0, 0.0]], dtype=torch.float64)
    others = []
    for yaw in (0.0, 1e-16, 1e-12, -1e-9, 1e-6, math.pi / 2, math.pi / 2 + 1e-13, math.pi, 3.0):
        for x, y in ((0.0, 0.0), (2.0, 1.0), (4.0, 0.0), (4.0 - 1e-12, 0.0), (0.0, 2.0), (1.0, 1.0), (4.0, 2.0)):
            others.append([x, y, 0.0, 4.0, 2.0, 1.0, yaw])
    b = torch.tensor(others, dtype=torch.float64)
    for turn in (0.0, 0.7):
        turned = b.clone()
        turned[:, 0] = math.cos(turn) * b[:, 0] - math.sin(turn) * b[:, 1]
        turned[:, 1] = math.sin(turn) * b[:, 0] + math.cos(turn) * b[:, 1]
        turned[:, 6] += turn
        base = a.clone()
        base[:, 6] = turn
        assert (rotated_iou_bev(base, turned) - shapely_iou(base, turned)).abs().max() < 1e-11


def test_boxes_apart_have_no_iou_at_all() -> None:
    """Not even a rounding: a threshold of 0 must keep neighbours."""
    a, b = random_boxes(400, 40.0).double(), random_boxes(400, 40.0).double()
    apart = shapely.distance(polygons(a)[:, None], polygons(b)[None]) > 1e-9
    assert (rotated_iou_bev(a, b).numpy()[apart] == 0).all()
    assert (rotated_iou_bev(a, b).numpy()[~apart] > 0).all()


def test_sizes_of_all_octaves_and_far_outliers() -> None:
    a, b = random_boxes(300, 60.0).double(), random_boxes(300, 60.0).double()
    for boxes in (a, b):
        boxes[:, 3:5] *= torch.exp(3 * torch.randn(300, 1)).double()
        boxes[::17, :2] *= 1e6
        boxes[5, 3:5] = 1e8
    expected = reference.iou_matrix(a, b, False)
    torch.testing.assert_close(rotated_iou_bev(a, b), expected, rtol=1e-9, atol=1e-9)
    assert int((expected > 0).sum()) > 1000


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("column", [0, 1, 2, 3, 4, 5, 6])
def test_boxes_that_are_none_overlap_nothing(value: float, column: int) -> None:
    boxes = random_boxes(6, 1.0).double()
    bad = boxes.clone()
    bad[3, column] = value
    seen_from_above = column not in (2, 5)
    for iou, against, concerned in (
        (rotated_iou_bev, reference.iou_matrix(bad, boxes, False), seen_from_above),
        (rotated_iou_3d, reference.iou_matrix(bad, boxes, True), True),
    ):
        found = iou(bad, boxes)
        torch.testing.assert_close(found, against, rtol=1e-12, atol=1e-12)
        assert bool((found[3] == 0).all()) == concerned
        assert int((found > 0).sum()) >= 25
    assert float(rotated_iou_3d_paired(bad, boxes)[3]) < 1e-20
    assert float(convex_giou_3d_paired(bad, boxes)[3]) == -1
    negative = boxes.clone()
    negative[3, 3] = -2.0
    assert float(rotated_iou_bev(negative, boxes)[3].max()) == 0


def test_no_common_area_no_gradient() -> None:
    a = torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 0.0]], dtype=torch.float64, requires_grad=True)
    for x in (2.0, 3.0, 1e3):
        b = torch.tensor([[x, 0.5, 0.0, 2.0, 2.0, 2.0, 0.0]], dtype=torch.float64, requires_grad=True)
        iou = rotated_iou_3d_paired(a, b)
        grads = torch.autograd.grad(iou.sum(), (a, b))
        assert float(iou.detach()) == 0
        assert all(bool((g == 0).all()) for g in grads)


def test_convex_giou(pure, opcheck) -> None:
    a, b = random_boxes(300, 12.0).double(), random_boxes(300, 12.0).double()
    a[:40, :7] = b[:40, :7]
    a[20:40, 0] += 1.0
    found = pure(convex_giou_3d_paired, a, b)
    torch.testing.assert_close(found, reference.convex_giou(a, b), rtol=1e-9, atol=1e-9)
    hull = shapely.area(shapely.convex_hull(shapely.union(polygons(a), polygons(b))))
    iou = rotated_iou_3d_paired(a, b).numpy()
    top, bottom = (
        f(*[t[:, 2] + s * t[:, 5] / 2 for t in (a, b)]) for f, s in ((torch.maximum, 1), (torch.minimum, -1))
    )
    sizes = (a[:, 3:6].prod(1) + b[:, 3:6].prod(1)).numpy()
    union = sizes - iou * sizes / (1 + iou)
    whole = hull * (top - bottom).numpy()
    assert np.abs(found.numpy() - (iou - (whole - union) / whole)).max() < 1e-9
    assert (found[:20] - 1).abs().max() < 1e-12
    opcheck(_convex_giou, a[:3], b[:3])


def test_threads_and_strides_change_nothing() -> None:
    a, b = random_boxes(200, 15.0), random_boxes(9, 15.0).T.contiguous().T
    wide = random_boxes(400, 15.0)[::2]
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append([rotated_iou_bev(a, wide), rotated_iou_3d(wide, b), convex_giou_3d_paired(a, wide)])
        for one, two in zip(*results, strict=True):
            assert torch.equal(one, two)
        assert torch.equal(results[0][0], rotated_iou_bev(a, wide.contiguous()))
    finally:
        torch.set_num_threads(before)
