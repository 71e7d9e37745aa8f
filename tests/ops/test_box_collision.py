"""Collisions of oriented boxes, against shapely."""

from __future__ import annotations

import math

import pytest
import torch

from ops import box_collision
from ops.box_collision import NEVER, boxes_touch, collisions, first_collisions, reference
from ops.box_collision.bench import example, with_shapely


def test_numbers_by_hand(pure) -> None:
    a = torch.tensor([[0.0, 0.0, 4.0, 2.0, 0.0]]).expand(6, 5)
    b = torch.tensor(
        [
            [4.0, 0.0, 4.0, 2.0, 0.0],  # face to face
            [4.01, 0.0, 4.0, 2.0, 0.0],
            [4.0, 2.0, 4.0, 2.0, 0.0],  # corner to corner
            [2.5, 1.5, 2.0, 2.0, math.pi / 4],  # its left corner reaches in
            [3.2, 2.2, 2.0, 2.0, math.pi / 4],  # overlapping bounds, yet apart
            [0.0, 0.0, 0.0, 0.0, 0.0],  # a point inside
        ]
    )
    assert pure(boxes_touch, a, b).tolist() == [True, False, True, True, False, True]
    assert pure(boxes_touch, b, a).tolist() == [True, False, True, True, False, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_shapely_and_the_reference(dtype: torch.dtype, pure) -> None:
    ego, others = (t.to(dtype) for t in example(20, 15, 40))
    valid = torch.rand(15, 40) < 0.8
    found = pure(collisions, ego, others, valid)
    assert torch.equal(found, with_shapely(ego, others)[0] & valid)
    assert torch.equal(found, reference.touch(ego[:, :, None], others[None]) & valid)
    assert 20 < int(found.sum()) < 3000
    first = first_collisions(ego, others, valid)
    for p, a in ((p, a) for p in range(20) for a in range(40)):
        steps = found[p, :, a].nonzero()[:, 0].tolist()
        assert int(first[p, a]) == (steps[0] if steps else NEVER)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1e30])
def test_bad_numbers_touch_nothing(value: float) -> None:
    for column in range(5):
        a = torch.tensor([[0.0, 0.0, 4.0, 2.0, 0.3]]).repeat(2, 1)
        bad = a.clone()
        bad[0, column] = value
        for touch in (boxes_touch, reference.touch):
            assert touch(bad, a).tolist() == [False, True]
            assert touch(a, bad).tolist() == [False, True]


def test_empty_threads_and_operator_rules(opcheck) -> None:
    ego, others = example(30, 20, 50)
    assert collisions(ego[:0], others).shape == (0, 20, 50)
    assert collisions(ego[:, :0], others[:0]).shape == (30, 0, 50)
    assert first_collisions(ego[:, :0], others[:0]).unique().tolist() == [NEVER]
    assert first_collisions(ego, others[:, :0]).shape == (30, 0)
    assert boxes_touch(ego[0, :0], ego[0, :0]).shape == (0,)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = collisions(ego, others)
        torch.set_num_threads(2)
        assert torch.equal(collisions(ego.transpose(0, 1).contiguous().transpose(0, 1), others), one)
    finally:
        torch.set_num_threads(before)
    opcheck(box_collision._pairs, ego[0, :3], others[0, :3].clone())
    opcheck(box_collision._over_time, ego[:2, :3].contiguous(), others[:3, :2].contiguous(), torch.ones(3, 2) > 0)


def test_wrong_arguments() -> None:
    ego, others = example(2, 3, 4)
    for call in (
        lambda: boxes_touch(ego[0], others[0]),
        lambda: boxes_touch(ego[0, :, :4], ego[0, :, :4]),
        lambda: boxes_touch(ego[0], ego[0].float()),
        lambda: collisions(ego[:, :2], others),
        lambda: collisions(ego, others, torch.ones(3, 4)),
        lambda: collisions(ego.long(), others.long()),
    ):
        with pytest.raises(ValueError, match="box_collision"):
            call()
