"""Image features lifted along their rays and summed in bird's-eye cells."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ops.camera_sample import pinhole_cameras, project_points
from ops.camera_sample.bench import rig
from ops.lift_pool import (
    _lift_pool,
    _lift_pool_backward,
    frustum_cells,
    frustum_places,
    lift_pool,
    plan_lift,
    reference,
)
from ops.lift_pool.bench import example, outer_product


def test_numbers_by_hand(pure) -> None:
    # One camera, two depths, one row of two pixels; the far place of the right pixel lies in no cell.
    cells = torch.tensor([[2, 0], [2, -1]]).reshape(1, 2, 1, 2)
    plan = plan_lift(cells, (1, 1, 2, 2))
    assert plan.occupied.tolist() == [0, 2]
    assert plan.offsets.tolist() == [0, 1, 3]
    assert plan.place.tolist() == [1, 0, 2]
    assert plan.pixel.tolist() == [1, 0, 0]
    depth = torch.tensor([0.25, 0.5, 0.75, 0.5]).reshape(1, 2, 1, 2)
    context = torch.tensor([[[[1.0, 10.0]], [[2.0, 20.0]]]])
    out = pure(lambda d, c: lift_pool(d, c, plan), depth, context)
    assert out.tolist() == [[[[5.0, 0.0], [1.0, 0.0]], [[10.0, 0.0], [2.0, 0.0]]]]


def test_places_project_back_to_their_pixels() -> None:
    cameras, _ = rig([0.04, -0.05, 0.001, -0.001, 0.0])
    depths = torch.tensor([2.0, 30.0])
    places = frustum_places(cameras, depths, 4, 6)
    assert places.shape == (5, 2, 4, 6, 3)
    for n in range(5):
        pairs = project_points(places[n].reshape(-1, 3), cameras)
        mine = pairs.camera == n
        assert pairs.point[mine].tolist() == list(range(48))
        torch.testing.assert_close(pairs.depth[mine], depths.repeat_interleave(24))
        y, x = torch.meshgrid(torch.arange(4), torch.arange(6), indexing="ij")
        wanted = torch.stack([(x + 0.5) / 6, (y + 0.5) / 4], -1).reshape(-1, 2).repeat(2, 1)
        torch.testing.assert_close(pairs.place[mine], wanted, rtol=0, atol=1e-6)


def test_cells_are_those_of_the_places() -> None:
    cameras, _ = rig(frames=2)
    low, size = torch.tensor([-20.0, -20, -4]), torch.tensor([2.0, 2, 4])
    depths = torch.arange(1.0, 30.0, 2.5)
    cells = frustum_cells(cameras, depths, (5, 8), (-20, -20, -4, 20, 20, 4), (2.0, 2.0, 4.0))
    at = ((frustum_places(cameras, depths, 5, 8) - low) / size).floor().long()
    inside = ((at >= 0) & (at < torch.tensor([20, 20, 2]))).all(-1)
    frame = torch.arange(10)[:, None, None, None] // 5
    wanted = ((frame * 2 + at[..., 2]) * 20 + at[..., 1]) * 20 + at[..., 0]
    assert torch.equal(cells, torch.where(inside, wanted, -1))
    assert 0.1 < inside.double().mean() < 0.9
    # A lens that folds back has no inverse at the image's edge: such pixels lift nothing.
    folded = pinhole_cameras(
        torch.eye(4)[None],
        torch.tensor([[[5.0, 0, 4.5], [0, 5, 4.5], [0, 0, 1]]]),
        torch.tensor([[10, 10]]),
        torch.tensor([[-0.4, 0.0, 0, 0, 0]]),
    )
    assert frustum_places(folded, depths, 10, 10).isnan().any()
    assert (frustum_cells(folded, depths, (10, 10), (-50, -50, 0, 50, 50, 50), (1, 1, 1))[0, :, 0, 0] == -1).all()


def test_kernel_equals_reference_and_torch(pure) -> None:
    depth, context, plan = example(1)
    out = pure(lambda d, c: lift_pool(d, c, plan), depth, context)
    assert out.shape == (2, 14, 20, 20)
    exact = outer_product(depth.double(), context.double(), plan)
    assert torch.equal(lift_pool(depth.double(), context.double(), plan), exact)
    torch.testing.assert_close(out.double(), exact, rtol=1e-6, atol=1e-5)  # up to 100 products below 1
    assert (out != 0).any(1).double().mean() > 0.1


def test_gradients(opcheck, pure) -> None:
    depth, context, plan = example(2)
    leaves = [depth.double().requires_grad_(), context.double().requires_grad_()]
    out = outer_product(*leaves, plan)
    weight = torch.randn(out.shape)
    out.backward(weight.double())
    ours = [depth.clone().requires_grad_(), context.clone().requires_grad_()]
    lift_pool(*ours, plan).backward(weight)
    exact = [depth.double().requires_grad_(), context.double().requires_grad_()]
    lift_pool(*exact, plan).backward(weight.double())
    for a, b, c in zip(ours, exact, leaves, strict=True):
        torch.testing.assert_close(b.grad, c.grad, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(a.grad.double(), c.grad, rtol=1e-5, atol=1e-5)
    small = plan_lift(torch.randint(-1, 6, (2, 3, 2, 2)), (1, 1, 2, 3))
    doubles = [
        torch.rand(2, 3, 2, 2, dtype=torch.float64).requires_grad_(),
        torch.randn(2, 3, 2, 2, dtype=torch.float64).requires_grad_(),
    ]
    assert torch.autograd.gradcheck(lambda d, c: lift_pool(d, c, small), doubles)
    order = small.cells, small.occupied, small.offsets, small.place, small.pixel, 6
    floats = [t.detach().float() for t in doubles]
    maps = floats[1].permute(0, 2, 3, 1)
    opcheck(_lift_pool, floats[0].requires_grad_(), maps.contiguous().requires_grad_(), *order)
    opcheck(_lift_pool_backward, torch.randn(6, 3), floats[0].detach(), maps.contiguous(), small.cells)
    pure(_lift_pool_backward, torch.randn(6, 3), floats[0].detach(), maps, small.cells)


def test_threads_give_the_same_bits() -> None:
    g = torch.Generator().manual_seed(0)
    plan = plan_lift(torch.randint(-1, 300, (3, 40, 16, 20), generator=g), (1, 1, 15, 20))
    depth, context = torch.rand(3, 40, 16, 20, generator=g), torch.randn(3, 24, 16, 20, generator=g)
    outputs = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            leaves = [depth.clone().requires_grad_(), context.clone().requires_grad_()]
            out = lift_pool(*leaves, plan)
            out.square().sum().backward()
            outputs.append([out.detach(), *(leaf.grad for leaf in leaves)])
    finally:
        torch.set_num_threads(before)
    for other in outputs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(outputs[0], other, strict=True))


def test_empty_one_layouts_half_and_nan() -> None:
    depth, context, plan = example(3)
    whole = lift_pool(depth, context, plan)
    none = plan_lift(torch.full_like(plan.cells, -1), plan.grid)
    assert (lift_pool(depth, context, none) == 0).all()
    empty = plan_lift(plan.cells[:0], plan.grid)
    leaf = context[:0].clone().requires_grad_()
    out = lift_pool(depth[:0], leaf, empty)
    assert out.shape == whole.shape
    out.sum().backward()
    one = plan_lift(torch.zeros(1, 1, 1, 1, dtype=torch.int64), (1, 1, 1, 1))
    assert lift_pool(torch.ones(1, 1, 1, 1), torch.full((1, 1, 1, 1), 3.0), one).item() == 3
    crowded = plan_lift(torch.zeros_like(plan.cells), plan.grid)
    torch.testing.assert_close(
        lift_pool(depth, context, crowded)[0, :7, 0, 0], context.sum((0, 2, 3)), rtol=1e-4, atol=1e-4
    )
    packed = context.contiguous(memory_format=torch.channels_last)
    spread = torch.stack([depth, depth], -1)[..., 0]
    assert torch.equal(lift_pool(spread, packed, plan), whole)
    half = lift_pool(depth.bfloat16(), context.bfloat16(), plan)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), whole, rtol=2e-2, atol=5e-2)
    # Everything that is not finite reaches only the cells of its own ray.
    context[0, 0, 2, 3] = torch.nan
    touched = plan.cells[0, :, 2, 3].unique()
    found = lift_pool(depth, context, plan)[:, ::7].reshape(-1).isnan().nonzero()[:, 0]
    assert torch.equal(found, touched[touched >= 0])
    outside = depth.masked_fill(plan.cells < 0, torch.nan)
    assert torch.equal(lift_pool(outside, packed, plan), whole)


def test_compiles_whole() -> None:
    depth, context, plan = example(4)
    leaf = context.requires_grad_()
    compiled = torch.compile(lambda c: lift_pool(depth, c, plan), backend="aot_eager", fullgraph=True)(leaf)
    assert torch.equal(compiled, lift_pool(depth, leaf, plan))
    compiled.sum().backward()
    assert leaf.grad is not None


def test_wrong_arguments() -> None:
    depth, context, plan = example(5)
    for call in (
        lambda: lift_pool(depth[:, :3], context, plan),
        lambda: lift_pool(depth, context[:3], plan),
        lambda: lift_pool(depth, context[..., :3], plan),
        lambda: lift_pool(depth.double(), context, plan),
        lambda: lift_pool(depth.long(), context, plan),
        lambda: lift_pool(depth[0], context, plan),
        lambda: lift_pool(depth.to("meta"), context, plan),
        lambda: plan_lift(plan.cells.int(), plan.grid),
        lambda: plan_lift(plan.cells, (1, 1, 2, 2)),
        lambda: plan_lift(plan.cells - 1, plan.grid),
        lambda: plan_lift(plan.cells, (1, -1, 2, 2)),
        lambda: frustum_cells(rig()[0], torch.ones(1), (2, 2), (0, 0, 0, 1, 1, 1), (0.3, 0.5, 1.0)),
    ):
        with pytest.raises(ValueError, match="lift_pool"):
            call()


def test_a_plan_does_not_change() -> None:
    _, _, plan = example(6)
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.grid = (1, 1, 1, 1)  # type: ignore[misc]
    again = reference._kept(plan.cells)[0]
    assert torch.equal(plan.place.sort().values, again)
