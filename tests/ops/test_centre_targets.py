"""Centre, foreground and heat map targets (numbers by hand of the sparse ones: tests/boxes/test_assign.py)."""

from __future__ import annotations

import math

import pytest
import torch

from ops.centre_targets import (
    _centre_targets,
    _foreground_targets,
    _gaussian_heat,
    centre_targets,
    foreground_targets,
    gaussian_heat,
    reference,
)
from ops.centre_targets.bench import boxes_on, centerpoint_loop, example

PLACE = (0.0, 0.0), (1.0, 1.0), (20, 30), 2


def one(x: float, y: float, length: float = 4.0, width: float = 2.0) -> torch.Tensor:
    return torch.tensor([[x, y, 1.0, length, width, 1.5, 0.0, 0.0, 0.0]])


def test_a_gaussian_by_hand(pure) -> None:
    # Overlap 0.1 of a 4 x 2 box: b = -2 * 0.1 * 6, c = (0.1 - 1) * 8, and the third root is the least.
    assert reference.gaussian_radius(4, 2, 0.1) == pytest.approx((-1.2 + math.sqrt(1.44 + 16 * 0.1 * 7.2)) / 2)
    zero = torch.zeros(1, dtype=torch.int64)
    heat = pure(gaussian_heat, one(5.9, 7.1), zero + 1, zero + 2, 3, *PLACE)
    assert heat.shape == (2, 3, 20, 30)
    # It is 1.2, so the least radius 2 holds: 5 x 5 cells, sigma 5 / 6.
    assert int((heat > 0).sum()) == 25
    sigma = 5 / 6
    assert float(heat[1, 2, 7, 5]) == 1.0
    assert float(heat[1, 2, 8, 3]) == pytest.approx(math.exp(-5 / (2 * sigma * sigma)), rel=1e-6)


def test_dense_heat_equals_the_loop() -> None:
    coords = torch.nonzero(torch.ones(1, 1, 468, 468))
    boxes, labels = boxes_on(coords, 300, 3)
    boxes[:5, :2] = torch.tensor([[-74.88, -74.88], [74.87, 74.87], [-75.0, 0.0], [0.0, 75.0], [74.88, 0.0]])
    boxes[5, 3], boxes[6, 4], boxes[7, 3:5] = 0.0, -1.0, 60.0
    given = boxes, torch.zeros(300, dtype=torch.int64), labels, 3, (-74.88, -74.88), (0.32, 0.32), (468, 468), 1
    heat = gaussian_heat(*given)
    wanted = torch.from_numpy(centerpoint_loop(boxes.numpy(), labels.numpy(), (468, 468)))
    torch.testing.assert_close(heat[0], wanted, rtol=0, atol=1e-7)
    torch.testing.assert_close(heat, reference.gaussian_heat(*given, 0.1, 2), rtol=0, atol=1e-7)
    assert float(heat.max()) == 1.0


@pytest.mark.parametrize("seed", range(4))
def test_kernels_equal_reference(seed: int, pure) -> None:
    given = example(seed)
    found, wanted = pure(centre_targets, *given), reference.centre_targets(*given)
    torch.testing.assert_close(found[0], wanted[0], rtol=0, atol=1e-6)
    for a, b in zip(found[1:], wanted[1:], strict=True):
        assert torch.equal(a, b)
    assert len(found[1]) > 5
    inside = *given[:4], 3, *given[5:9]
    mask = pure(foreground_targets, *inside)
    assert torch.equal(mask, reference.foreground_targets(*inside))
    assert bool(mask.any())
    dense = *given[1:4], 3, *given[5:9]
    wanted = reference.gaussian_heat(*dense, 0.1, 2)
    torch.testing.assert_close(pure(gaussian_heat, *dense), wanted, rtol=0, atol=1e-7)


def test_any_order_of_voxels_and_one_voxel() -> None:
    coords, *rest = example(5)
    shuffle = torch.randperm(len(coords))
    heat, rows, boxes, count = centre_targets(coords, *rest)
    heat2, rows2, boxes2, count2 = centre_targets(coords[shuffle], *rest)
    assert torch.equal(heat[shuffle], heat2)
    assert torch.equal(shuffle[rows2], rows)
    assert torch.equal(boxes2, boxes)
    assert torch.equal(count, count2)
    for case in (coords[:1], coords[:0]):
        found = centre_targets(case, *rest)
        for a, b in zip(found, reference.centre_targets(case, *rest), strict=True):
            torch.testing.assert_close(a, b)


def test_boxes_that_are_not_finite_have_no_target() -> None:
    coords, boxes, batch, labels, scales, *place, above = example(6)
    for column in (0, 1, 3, 4, 6):
        for bad in (torch.nan, torch.inf, -torch.inf, 1e30):
            worse = boxes[5:6].clone()
            worse[0, column] = bad
            given = coords, worse, batch[5:6], labels[5:6]
            dense = gaussian_heat(*given[1:], 3, *place)
            assert bool(dense.isfinite().all())
            heat, rows, _, count = centre_targets(*given, scales, *place, above)
            assert bool(heat.isfinite().all())
            covered = foreground_targets(*given, 3, *place)
            assert torch.equal(covered, reference.foreground_targets(*given, 3, *place))
            assert not covered.any() or bad == 1e30
            if column < 2:
                assert (float(dense.sum()), float(heat.sum()), len(rows), float(count)) == (0, 0, 0, 0)


def test_empty() -> None:
    coords, boxes, batch, labels, scales, *place, above = example(0)
    for v, n in ((0, 1), (1, 0), (0, 0)):
        given = coords[:v], boxes[:n], batch[:n], labels[:n]
        heat, rows, _, count = centre_targets(*given, scales, *place, above)
        assert (heat.shape, len(rows), float(count)) == ((v, 3), 0, 0)
        assert foreground_targets(*given, 3, *place).shape == (v, 3)
    assert gaussian_heat(boxes[:0], batch[:0], labels[:0], 3, *place).shape == (2, 3, 40, 50)


def test_operator_rules(opcheck) -> None:
    coords, boxes, batch, labels, scales, origin, cell, grid, frames, above = example(0)
    place = list(origin), list(cell), list(grid), frames
    opcheck(_centre_targets, coords, boxes, batch, labels, scales, *place, above)
    opcheck(_foreground_targets, coords, boxes, batch, labels, 3, *place)
    opcheck(_gaussian_heat, boxes, batch, labels, 3, *place, 0.1, 2)


def test_wrong_arguments() -> None:
    coords, boxes, batch, labels, scales, *place, above = example(0)
    boxes = boxes.nan_to_num(0, 1, 1)
    for bad in (
        (coords.int(), boxes, batch, labels, scales),
        (coords[:, :3], boxes, batch, labels, scales),
        (coords + torch.tensor([0, 0, 0, 50]), boxes, batch, labels, scales),
        (coords - 1, boxes, batch, labels, scales),
        (coords, boxes.double(), batch, labels, scales),
        (coords, boxes[:, :6], batch, labels, scales),
        (coords, boxes, batch + 2, labels, scales),
        (coords, boxes, batch, labels - 1, scales),
        (coords, boxes, batch[1:], labels, scales),
        (coords, boxes, batch, labels, scales.double()),
        (coords, boxes, batch, labels, scales[:0]),
        (coords, boxes, batch, labels, -scales),
        (coords, boxes, batch, labels, scales * torch.nan),
        (coords, boxes.to("meta"), batch, labels, scales),
    ):
        with pytest.raises(ValueError, match="centre_targets"):
            centre_targets(*bad, *place, above)
    with pytest.raises(ValueError, match="foreground_targets"):
        foreground_targets(coords - 1, boxes, batch, labels, 3, *place)
    with pytest.raises(ValueError, match="foreground_targets"):
        foreground_targets(coords, boxes, batch, labels, 1, *place)
    for wrong in ({"overlap": 0.0}, {"overlap": 1.0}, {"least_radius": -1}):
        with pytest.raises(ValueError, match="gaussian_heat"):
            gaussian_heat(boxes, batch, labels, 3, *place, **wrong)
    with pytest.raises(ValueError, match="gaussian_heat: cells"):
        gaussian_heat(boxes, batch, labels, 3, (0.0, 0.0), (1.0, 1.0), (2**20, 2**20), 2)
