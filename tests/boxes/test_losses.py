"""Losses against numbers on paper."""

import math

import pytest
import torch

from drive.boxes.coder import IOU, REGRESSION_CHANNELS, encode_boxes
from drive.boxes.losses import box_losses, focal_loss, heat_focal_loss, iou_branch_loss, quality_heat_loss


def test_focal_loss_by_hand() -> None:
    # p = 0.5: positive 0.25 * 0.25 * ln 2, negative 0.75 * 0.25 * ln 2.
    loss = focal_loss(torch.zeros(2), torch.tensor([True, False]))
    assert float(loss) == pytest.approx(0.25 * math.log(2), rel=1e-6)


def test_poly_one_adds_epsilon_times_the_miss_to_the_third() -> None:
    logits, target = torch.tensor([0.0]), torch.tensor([1.0])
    plain = focal_loss(logits, target, alpha=-1)
    assert float(focal_loss(logits, target, alpha=-1, poly_epsilon=2.0) - plain) == pytest.approx(2 * 0.5**3)
    plain = heat_focal_loss(logits, target)
    assert float(heat_focal_loss(logits, target, poly_epsilon=-1.0) - plain) == pytest.approx(-(0.5**3))


def test_heat_focal_loss_by_hand() -> None:
    # One centre, one neighbour with heat 0.5 (weight 0.5^4) and one far cell, all at p = 0.5.
    loss = heat_focal_loss(torch.zeros(3), torch.tensor([1.0, 0.5, 0.0]))
    assert float(loss) == pytest.approx(0.25 * math.log(2) * (1 + 0.0625 + 1), rel=1e-6)


def test_poly_one_on_a_soft_negative_is_reduced_like_it() -> None:
    soft = torch.tensor([0.5])
    extra = heat_focal_loss(torch.zeros(1), soft, poly_epsilon=1.0) - heat_focal_loss(torch.zeros(1), soft)
    assert float(extra) == pytest.approx(0.5**4 * 0.5**3)


def test_quality_loss_is_zero_at_the_target() -> None:
    heat = torch.tensor([0.25, 0.75])
    assert float(quality_heat_loss(torch.logit(heat), heat)) == pytest.approx(0, abs=1e-6)


def test_extreme_logits_stay_finite() -> None:
    logits = torch.tensor([200.0, -200.0], requires_grad=True)
    for target in (torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])):
        loss = focal_loss(logits, target) + heat_focal_loss(logits, target) + quality_heat_loss(logits, target)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert bool(loss.isfinite())
        assert bool(gradient.isfinite().all())


def test_box_losses_by_hand() -> None:
    boxes = torch.tensor([[1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 2.0, 0.0]])
    code = encode_boxes(boxes, torch.zeros(1, 3))
    rows = torch.zeros(1, REGRESSION_CHANNELS)
    losses = box_losses(rows, code, torch.tensor([True]), torch.tensor([0.5]))
    half_delta = 1 / 18  # smooth L1 beyond delta 1/9 is the distance less half of delta
    assert float(losses["offset"]) == pytest.approx(0.5 * (1 - half_delta))
    assert float(losses["size"]) == 0
    assert float(losses["heading"]) == pytest.approx(0.5 * math.log(12))
    assert float(losses["velocity"]) == pytest.approx(0.5 * (2 - half_delta))
    unknown = box_losses(rows, code, torch.tensor([False]), torch.tensor([0.5]))
    assert float(unknown["velocity"]) == 0


def test_iou_branch_aims_at_twice_the_iou_less_one() -> None:
    rows = torch.zeros(1, REGRESSION_CHANNELS)
    rows[0, IOU] = 0.5
    assert float(iou_branch_loss(rows, torch.tensor([0.75]), torch.ones(1))) == 0


def test_no_rows() -> None:
    rows = torch.zeros(0, REGRESSION_CHANNELS)
    code = encode_boxes(torch.zeros(0, 9), torch.zeros(0, 3))
    losses = box_losses(rows, code, torch.zeros(0, dtype=torch.bool), torch.zeros(0))
    assert all(float(value) == 0 for value in losses.values())
    assert float(focal_loss(torch.zeros(0), torch.zeros(0))) == 0
    assert float(heat_focal_loss(torch.zeros(0), torch.zeros(0))) == 0
