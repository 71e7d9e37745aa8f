"""Deformable sampling of several maps, and of one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ops.deformable_sample import (
    _deformable_sample,
    _deformable_sample_backward,
    cpu,
    deformable_sample,
    reference,
    sample_map,
)
from ops.deformable_sample.bench import example, grid_sample_map, per_level, scene


def flat(shapes: list[tuple[int, int]]) -> list[int]:
    return [size for shape in shapes for size in shape]


def map_example(channels: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    value, at, weights = scene(2, 5, 1, channels, [(12, 16)], 4)
    return value.reshape(2, 12, 16, channels).permute(0, 3, 1, 2), at[:, :, 0, 0], weights[:, :, 0, 0]


def test_numbers_by_hand(pure) -> None:
    # Maps [[1, 2], [3, 4]] and [[10]]: a centre, the middle, the corner, and the single cell half a cell off.
    value = torch.tensor([1.0, 2, 3, 4, 10]).reshape(1, 5, 1, 1)
    at = torch.tensor([[[0.25, 0.75], [0.5, 0.5]], [[0.0, 0.0], [1.0, 0.5]]]).reshape(1, 2, 1, 1, 2, 2)
    at = torch.cat([at, torch.full_like(at, 0.5)], 3)
    at[0, 1, 0, 1, 1, 0] = 1.0
    weights = torch.tensor([1.0, 0.5]).expand(1, 2, 1, 2, 2)
    found = pure(lambda *g: deformable_sample(g[0], [(2, 2), (1, 1)], *g[1:]), value, at, weights)
    # Query 0: 3 + 0.5 * 2.5 + 10 + 5; query 1: 0.25 + 0.5 * (2 + 4) / 4 + 10 + 0.5 * 5.
    torch.testing.assert_close(found.flatten(), torch.tensor([19.25, 13.5]))


@pytest.mark.parametrize("channels", [1, 10, 32])
def test_kernel_equals_grid_sample(channels: int, pure) -> None:
    shapes = [(6, 9), (3, 5), (1, 2)]
    value, at, weights = scene(2, 7, 3, channels, shapes, 4)
    found = pure(lambda *g: deformable_sample(g[0], shapes, *g[1:]), value, at, weights)
    exact = per_level(value.double(), shapes, at.double(), weights.double())
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=2e-6)  # 12 samples of 0.2, each 1e-6 off
    assert torch.equal(
        deformable_sample(value.double(), shapes, at.double(), weights.double()),
        reference.deformable_sample(value.double(), flat(shapes), at.double(), weights.double()).flatten(2),
    )


def test_kernel_equals_transformers() -> None:
    detr = pytest.importorskip("transformers.models.deformable_detr.modeling_deformable_detr")
    value, shapes, at, weights = example(1)
    sizes = torch.tensor(shapes)
    first = torch.cat([sizes.new_zeros(1), sizes.prod(1).cumsum(0)[:-1]])
    theirs = detr.MultiScaleDeformableAttention()(value, sizes, shapes, first, at, weights, 64)
    torch.testing.assert_close(deformable_sample(value, shapes, at, weights), theirs, rtol=0, atol=1e-5)


def test_gradients_equal_reference_and_torch(pure) -> None:
    value, shapes, at, weights = example(2)
    grad = torch.randn(2, 7, 3, 10)
    given = grad, value, flat(shapes), at, weights
    found = pure(_deformable_sample_backward, *given)
    leaves = [t.double().requires_grad_() for t in (value, at, weights)]
    per_level(leaves[0], shapes, *leaves[1:]).backward(grad.flatten(2).double())
    wanted = reference.deformable_sample_backward(
        grad.double(), value.double(), flat(shapes), at.double(), weights.double()
    )
    for ours, ref, leaf in zip(found, wanted, leaves, strict=True):
        torch.testing.assert_close(ref, leaf.grad, rtol=1e-9, atol=1e-9)
        # Sums over 10 channels of products up to 10, times a map of 9 cells.
        torch.testing.assert_close(ours.double(), leaf.grad, rtol=1e-5, atol=5e-5)
    assert any((leaf.grad == 0).any() for leaf in leaves)  # some places lie outside


def test_gradcheck_and_operator_rules(opcheck) -> None:
    value, at, weights = scene(1, 2, 2, 2, [(3, 4), (2, 2)], 2)
    doubles = [t.double().requires_grad_() for t in (value, at, weights)]
    assert torch.autograd.gradcheck(lambda v, a, w: deformable_sample(v, [(3, 4), (2, 2)], a, w), doubles)
    floats = [t.requires_grad_() for t in (value, at, weights)]
    opcheck(_deformable_sample, floats[0], [3, 4, 2, 2], *floats[1:])
    plain = [t.detach() for t in floats]
    opcheck(_deformable_sample_backward, torch.randn(1, 2, 2, 2), plain[0], [3, 4, 2, 2], *plain[1:])


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("channels", [6, 40])
def test_one_map(channels_last: bool, channels: int, pure) -> None:
    maps, at, weights = map_example(channels)
    maps = maps.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    leaves = [t.clone().requires_grad_() for t in (maps, at, weights)]
    exact = [t.detach().double().requires_grad_() for t in leaves]
    found, wanted = sample_map(*leaves), grid_sample_map(*exact)
    assert torch.equal(pure(sample_map, maps, at, weights), found.detach())
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=2e-6)
    weight = torch.randn_like(found)
    found.backward(weight)
    wanted.backward(weight.double())
    for a, b in zip(leaves, exact, strict=True):
        torch.testing.assert_close(a.grad.double(), b.grad, rtol=1e-5, atol=1e-4)


def test_planes_are_taken_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, at, weights = map_example()
    expected = sample_map(maps, at, weights)
    monkeypatch.setattr(cpu, "_forward", None)
    torch.testing.assert_close(sample_map(maps.contiguous(), at, weights), expected, rtol=0, atol=1e-6)


def test_places_that_are_not_finite_read_nothing() -> None:
    value, shapes, at, weights = example(3)
    at[0, 0] = torch.tensor([torch.nan, torch.inf])
    at[1, 1, ..., 0] = -torch.inf
    out = deformable_sample(value, shapes, at.requires_grad_(), weights)
    assert (out[0, 0] == 0).all()
    assert (out[1, 1] == 0).all()
    out.sum().backward()
    assert at.grad.isfinite().all()
    assert (at.grad[0, 0] == 0).all()
    value[0, 0] = torch.nan  # a cell that is not finite reaches only those who look there
    with torch.no_grad():
        found = deformable_sample(value, shapes, at, weights)
    assert found.isnan().any()
    assert found[1].isfinite().all()
    assert (found[0, 0] == 0).all()


def test_threads_give_the_same_bits() -> None:
    shapes = [(20, 30), (10, 15)]
    value, at, weights = scene(3, 300, 4, 16, shapes, 4)
    outputs = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            leaves = [t.clone().requires_grad_() for t in (value, at, weights)]
            out = deformable_sample(leaves[0], shapes, *leaves[1:])
            out.square().sum().backward()
            maps, places, shares = (t.clone() for t in map_example(64))
            planes = sample_map(maps.contiguous(), places, shares)
            outputs.append([out.detach(), planes, *(leaf.grad for leaf in leaves)])
    finally:
        torch.set_num_threads(before)
    for other in outputs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(outputs[0], other, strict=True))


def test_empty_one_layouts_and_half() -> None:
    value, shapes, at, weights = example(4)
    assert deformable_sample(value, shapes, at[:, :0], weights[:, :0]).shape == (2, 0, 30)
    assert (deformable_sample(value, shapes, at[..., :0, :], weights[..., :0]) == 0).all()
    assert deformable_sample(value[:0], shapes, at[:0], weights[:0]).shape == (0, 7, 30)
    one = deformable_sample(value[:1], shapes, at[:1, :1], weights[:1, :1])
    whole = deformable_sample(value, shapes, at, weights)
    assert torch.equal(one[0, 0], whole[0, 0])
    leaf = value[:, :, :, :0].requires_grad_()
    deformable_sample(leaf, shapes, at, weights).sum().backward()
    strided = [t.transpose(0, 1).contiguous().transpose(0, 1) for t in (value, at, weights)]
    assert torch.equal(deformable_sample(strided[0], shapes, *strided[1:]), whole)
    half = deformable_sample(value.bfloat16(), shapes, at, weights)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), whole, rtol=2e-2, atol=2e-2)


def test_compiles_whole() -> None:
    value, shapes, at, weights = example(5)
    leaf = value.requires_grad_()
    compiled = torch.compile(deformable_sample, backend="aot_eager", fullgraph=True)(leaf, shapes, at, weights)
    assert torch.equal(compiled, deformable_sample(leaf, shapes, at, weights))
    compiled.sum().backward()
    assert leaf.grad is not None


def test_wrong_arguments() -> None:
    value, shapes, at, weights = example(6)
    maps, places, shares = map_example()
    for call in (
        lambda: deformable_sample(value, shapes[:2], at, weights),
        lambda: deformable_sample(value, [(6, 9), (3, 5), (2, 2)], at, weights),
        lambda: deformable_sample(value, [(6, 9), (3, 5), (-1, -2)], at, weights),
        lambda: deformable_sample(value, shapes, at[..., :1], weights),
        lambda: deformable_sample(value, shapes, at, weights[:1]),
        lambda: deformable_sample(value, shapes, at[:, :3], weights),
        lambda: deformable_sample(value.long(), shapes, at, weights),
        lambda: deformable_sample(value.double(), shapes, at, weights),
        lambda: deformable_sample(value[0], shapes, at, weights),
        lambda: deformable_sample(value.to("meta"), shapes, at, weights),
        lambda: sample_map(maps[0], places, shares),
        lambda: sample_map(maps, places[:, :, :2], shares),
    ):
        with pytest.raises(ValueError, match="deformable_sample"):
            call()
