"""Every public operator on input that somebody will feed it: right, or refused by name, and never a crash.

One table. Right means: equal to the torch reference, which runs on the same input by switching the kernels off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from ops import kernels
from ops.assignment import assign, assign_greedy, candidates
from ops.box_collision import boxes_touch, collisions, first_collisions
from ops.camera_sample import project_points, sample_pairs, sample_points
from ops.camera_sample.bench import rig
from ops.centre_targets import centre_targets, foreground_targets, gaussian_heat
from ops.deformable_sample import deformable_sample, sample_map
from ops.dilate import dilate, gather_max
from ops.downscale import downscale, upsample
from ops.kalman import CONSTANT_VELOCITY, Tracks, predict, predict_update, update
from ops.lift_pool import lift_pool, plan_lift
from ops.pillar_encoder import pillar_max
from ops.point_attention import point_attention
from ops.points_in_boxes import points_in_boxes
from ops.polygon_queries import boxes_inside, corners_inside, nearest_on_lines
from ops.references import reference_kernels
from ops.rotated_iou import rotated_iou_3d, rotated_iou_3d_paired, rotated_iou_bev, rotated_iou_bev_paired
from ops.rotated_nms import rotated_nms
from ops.segment import segment_max, segment_mean, segment_sum
from ops.sparse_conv import sparse_conv, strided_rules, submanifold_rules
from ops.transformer_layer import LayerWeights, transformer_layer
from ops.voxelize import voxelize
from ops.window_attention import window_attention
from ops.window_partition import window_partition

RANGE, VOXEL, GRID = (-8.0, -8.0, -2.0, 8.0, 8.0, 2.0), (1.0, 1.0, 4.0), (1, 16, 16)
BAD = (float("nan"), float("inf"), float("-inf"))
WRONG_DTYPE = {torch.int64: torch.int32, torch.bool: torch.int64}


@dataclass(frozen=True)
class Case:
    """A function of `op`; `make(n, crowded)` are its tensors for n items, all at one place where crowded."""

    op: str
    call: Callable[..., Any]
    make: Callable[[int, bool], list[Tensor]]
    names: tuple[str, ...] = ()
    """Names that an error may begin with, beside the operator's."""
    outside: Callable[[list[Tensor]], list[Tensor]] | None = None
    """Moves the items out of range."""
    refused_outside: bool = False
    sparse: bool = False
    """Skips zeros that the reference multiplies with: a NaN may spread less far than there."""
    alone: bool = False
    """A single tensor and nothing to disagree with."""


def points(n: int, crowded: bool, columns: int = 5) -> Tensor:
    found = 6 * torch.randn(n, columns)
    return found[:1].expand(n, columns).contiguous() if crowded else found


def cells(n: int, crowded: bool) -> Tensor:
    """Different cells of one frame, sorted; crowded: side by side."""
    where = (
        torch.arange(n)
        if crowded
        else torch.randperm(256, generator=torch.Generator().manual_seed(n))[:n].sort().values
    )
    return torch.stack([where * 0, where * 0, where // 16, where % 16], 1)


def offsets(n: int, crowded: bool) -> Tensor:
    """Segments of n rows, an empty one among them; crowded: a single one."""
    return torch.tensor([0, n] if crowded else [0, n // 3, n // 3, n])


def boxes(n: int, crowded: bool) -> Tensor:
    found = torch.cat([points(n, crowded, 3), torch.full((n, 3), 2.0) + torch.rand(n, 3), torch.randn(n, 1)], 1)
    return found[:1].expand(n, 7).contiguous() if crowded else found


def flat_boxes(n: int, crowded: bool) -> Tensor:
    return boxes(n, crowded)[:, [0, 1, 3, 4, 6]].double()


def rings() -> list[Tensor]:
    """A square of 10 m with a hole of 2 m: vertices and ring offsets."""
    corners = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]], dtype=torch.float64)
    return [torch.cat([5 * corners, corners]), torch.tensor([0, 4, 8])]


def zeros(n: int) -> Tensor:
    return torch.zeros(n, dtype=torch.int64)


def tracks(n: int, crowded: bool) -> list[Tensor]:
    root = torch.randn(n, 4, 4, dtype=torch.float64)
    covariance = root @ root.mT + torch.eye(4, dtype=torch.float64)
    return [points(n, crowded, 4).double(), covariance]


def layer_weights() -> list[Tensor]:
    shapes = [(24, 8), (24,), (8, 8), (8,), (8,), (8,), (16, 8), (16,), (8, 16), (8,), (8,), (8,)]
    return [0.3 * torch.randn(shape) for shape in shapes]


def away(*which: int) -> Callable[[list[Tensor]], list[Tensor]]:
    return lambda given: [t + 1000 if i in which else t for i, t in enumerate(given)]


def pyramid(n: int, crowded: bool) -> list[Tensor]:
    at = torch.rand(1, n, 2, 2, 2, 2)
    at = at[:, :1].expand_as(at).contiguous() if crowded else at
    return [torch.randn(1, 26, 2, 4), at, torch.rand(1, n, 2, 2, 2)]


def one_map(n: int, crowded: bool) -> list[Tensor]:
    at = torch.rand(1, n, 2, 2)
    return [torch.randn(1, 6, 16, 16), at[:, :1].expand_as(at).contiguous() if crowded else at, torch.rand(1, n, 2)]


def lifted(n: int, crowded: bool) -> list[Tensor]:
    return [torch.rand(1, 3, 2, n), torch.randn(1, 5, 2, n), zeros(6 * n).reshape(1, 3, 2, n) if crowded
            else torch.randint(-1, 9, (1, 3, 2, n))]  # fmt: skip


def sampled(how: Callable[..., Tensor]) -> Callable[..., Tensor]:
    cameras, _ = rig()
    where = 6 * torch.randn(200, 3, generator=torch.Generator().manual_seed(3))
    return lambda maps: how(maps, project_points(where, cameras))


def convolved(rules: Callable[..., Any]) -> Callable[..., Tensor]:
    return lambda x, w: sparse_conv(x, w, rules(cells(x.shape[0], False), GRID, 1))


def rule_lists(rules: Callable[..., Any]) -> Callable[..., list[Tensor]]:
    def run(coords: Tensor) -> list[Tensor]:
        found = rules(coords, GRID, 1)
        return [found.coords_out, found.inputs, found.outputs, found.starts]

    return run


def partitioned(coords: Tensor) -> list[Tensor]:
    return [t for scale in window_partition([coords], [GRID], 5, (0, 2)) for part in scale for t in part]


SEGMENTS = [
    Case("segment", how, lambda n, c: [torch.randn(n, 3), offsets(n, c)])
    for how in (segment_sum, segment_mean, segment_max)
]
CONVOLUTIONS = [
    case
    for rules in (submanifold_rules, strided_rules)
    for case in (
        Case("sparse_conv", convolved(rules), lambda n, c: [torch.randn(n, 4), torch.randn(27, 4, 6)]),
        Case(
            "sparse_conv",
            rule_lists(rules),
            lambda n, c: [cells(n, c)],
            outside=away(0),
            refused_outside=True,
            alone=True,
        ),
    )
]
IOUS = [
    Case("rotated_iou", how, lambda n, c: [boxes(n, c), boxes(n, c)], outside=away(0))
    for how in (rotated_iou_bev, rotated_iou_3d, rotated_iou_bev_paired, rotated_iou_3d_paired)
]
WHERE = ((-8.0, -8.0), (1.0, 1.0), GRID[1:], 1)
TARGETS = [
    Case(
        "centre_targets",
        lambda v, b, f, k, s: centre_targets(v, b, f, k, s, *WHERE, 0.3),
        lambda n, c: [cells(n, c), boxes(n, c), zeros(n), zeros(n), torch.tensor([1.0, 2.0])],
        outside=away(0),
        refused_outside=True,
    ),
    Case(
        "centre_targets",
        lambda v, b, f, k: foreground_targets(v, b, f, k, 2, *WHERE),
        lambda n, c: [cells(n, c), boxes(n, c), zeros(n), zeros(n)],
        names=("foreground_targets",),
        outside=away(1),
    ),
    Case(
        "centre_targets",
        lambda b, f, k: gaussian_heat(b, f, k, 2, *WHERE),
        lambda n, c: [boxes(n, c), zeros(n), zeros(n)],
        names=("gaussian_heat",),
        outside=away(0),
    ),
]
COLLISIONS = [
    Case("box_collision", boxes_touch, lambda n, c: [flat_boxes(n, c), flat_boxes(n, c)], outside=away(0)),
    *(
        Case(
            "box_collision",
            how,
            lambda n, c: [flat_boxes(n, c)[None], flat_boxes(n, c)[:, None], torch.rand(n, 1) < 0.8],
            outside=away(0),
        )
        for how in (collisions, first_collisions)
    ),
]
MAPS = [
    Case(
        "polygon_queries",
        corners_inside,
        lambda n, c: [points(n, c, 4).double().reshape(n, 2, 2), *rings(), torch.tensor([0, 2])],
        outside=away(0),
    ),
    Case(
        "polygon_queries",
        boxes_inside,
        lambda n, c: [flat_boxes(n, c), *rings(), torch.tensor([0, 2])],
        outside=away(0),
    ),
    Case(
        "polygon_queries",
        nearest_on_lines,
        lambda n, c: [points(n, c, 2).double(), *rings()],
        outside=away(0),
    ),
]
TRACKS = [
    Case(
        "kalman",
        lambda m, p, dt, q: predict(CONSTANT_VELOCITY, Tracks(m, p), dt, q),
        lambda n, c: [*tracks(n, c), torch.rand(n, dtype=torch.float64), torch.eye(4, dtype=torch.float64)],
        sparse=True,
    ),
    Case(
        "kalman",
        lambda m, p, rows, z, r: update(CONSTANT_VELOCITY, Tracks(m, p), rows, z, r),
        lambda n, c: [
            *tracks(n, c),
            torch.arange(n).flip(0),
            torch.randn(n, 2, dtype=torch.float64),
            torch.eye(2, dtype=torch.float64),
        ],
        outside=away(2),
        refused_outside=True,
    ),
    Case(
        "kalman",
        lambda m, p, dt, q, rows, z, r: predict_update(CONSTANT_VELOCITY, Tracks(m, p), dt, q, rows, z, r),
        lambda n, c: [
            *tracks(n, c),
            torch.rand(n, dtype=torch.float64),
            torch.eye(4, dtype=torch.float64),
            torch.arange(n).flip(0),
            torch.randn(n, 2, dtype=torch.float64),
            torch.eye(2, dtype=torch.float64),
        ],
        outside=away(4),
        refused_outside=True,
        sparse=True,
    ),
]
CASES = [
    *TRACKS,
    *MAPS,
    *COLLISIONS,
    *SEGMENTS,
    *TARGETS,
    *CONVOLUTIONS,
    *IOUS,
    Case(
        "voxelize",
        lambda p, b: voxelize(p, b, RANGE, VOXEL, 1),
        lambda n, c: [points(n, c), zeros(n)],
        outside=away(0),
    ),
    Case("point_attention", point_attention, lambda n, c: [torch.randn(n, 2), torch.randn(n, 3), offsets(n, c)]),
    Case("window_attention", window_attention, lambda n, c: [*torch.randn(3, n, 2, 8).unbind(), offsets(n, c)]),
    Case(
        "transformer_layer",
        lambda x, o, *w: transformer_layer(x, o, LayerWeights(*w), 2),
        lambda n, c: [torch.randn(n, 8), offsets(n, c), *layer_weights()],
    ),
    Case(
        "rotated_nms",
        lambda b, s, g: rotated_nms(b, s, g, 0.2),
        lambda n, c: [boxes(n, c), torch.rand(n), zeros(n)],
        outside=away(0),
    ),
    Case("points_in_boxes", points_in_boxes, lambda n, c: [points(n, c), boxes(n, c)], outside=away(0)),
    Case(
        "assignment",
        lambda a, b: [*candidates(a, b, 5.0), *assign(candidates(a, b, 5.0), len(b))],
        lambda n, c: [points(n, c, 2), points(n, c, 2)],
        outside=away(0),
    ),
    Case(
        "assignment",
        lambda a, b: assign_greedy(candidates(a, b, 5.0), len(b)),
        lambda n, c: [points(n, c, 2), points(n, c, 2)],
        outside=away(0),
    ),
    Case(
        "dilate",
        lambda coords, keep: dilate(coords, keep, 3, GRID[1:], 1),
        lambda n, c: [cells(n, c), torch.rand(n) < 0.5],
        outside=away(0),
        refused_outside=True,
    ),
    Case(
        "dilate",
        gather_max,
        lambda n, c: [torch.randn(n, 3), zeros(n) if c else torch.arange(n).flip(0), offsets(n, c)],
        names=("gather_max",),
        outside=away(1),
        refused_outside=True,
    ),
    Case(
        "pillar_encoder",
        pillar_max,
        lambda n, c: [torch.randn(n, 5), offsets(n, c), torch.randn(5, 8), torch.randn(8)],
        names=("pillar_max",),
    ),
    Case(
        "downscale",
        lambda coords: downscale(coords, 2, GRID),
        lambda n, c: [cells(n, c)],
        outside=away(0),
        refused_outside=True,
        alone=True,
    ),
    Case(
        "downscale",
        upsample,
        lambda n, c: [torch.randn(n, 3), zeros(n) if c else torch.arange(n).flip(0)],
        names=("upsample",),
        outside=away(1),
        refused_outside=True,
    ),
    Case(
        "window_partition",
        partitioned,
        lambda n, c: [cells(n, c)],
        outside=away(0),
        refused_outside=True,
        alone=True,
    ),
    Case("camera_sample", lambda p: project_points(p, rig()[0]), lambda n, c: [points(n, c)], outside=away(0)),
    Case("camera_sample", sampled(sample_points), lambda n, c: [torch.randn(5, n, 6, 8)]),
    Case("camera_sample", sampled(sample_pairs), lambda n, c: [torch.randn(5, n, 6, 8)]),
    Case(
        "deformable_sample",
        lambda v, at, w: deformable_sample(v, [(4, 5), (2, 3)], at, w),
        pyramid,
        outside=away(1),
    ),
    Case("deformable_sample", sample_map, one_map, outside=away(1)),
    Case("lift_pool", lambda d, f, c: lift_pool(d, f, plan_lift(c, (1, 1, 3, 3))), lifted, outside=away(2),
         refused_outside=True),
]  # fmt: skip
NAMED = [pytest.param(case, id=f"{i}-{case.op}") for i, case in enumerate(CASES)]


def outputs(found: Any) -> list[Tensor]:
    return [found] if isinstance(found, Tensor) else list(found)


def right_or_refused(case: Case, given: list[Tensor], *, may_refuse: bool = True) -> None:
    """Equal to the reference on the same input, or an error with the operator's name; the input as it was."""
    before, error, found = [t.clone() for t in given], "", list[Tensor]()
    try:
        found = outputs(case.call(*given))
    except (ValueError, TypeError) as refusal:
        error = str(refusal)
    if error:
        assert may_refuse, error
        assert any(name in error for name in (case.op, *case.names)), error
        return
    for old, new in zip(before, given, strict=True):
        torch.testing.assert_close(old, new, rtol=0, atol=0, equal_nan=True)
    with reference_kernels():
        wanted = outputs(case.call(*given))
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        if not ours.is_floating_point():
            assert torch.equal(ours, theirs)
            continue
        # Sums of infinities of both signs, and products with them, are NaN or infinite by the order of the terms.
        usable = theirs.isfinite()
        assert torch.equal(ours.isfinite() & usable if case.sparse else ours.isfinite(), usable)
        torch.testing.assert_close(ours[usable], theirs[usable], rtol=1e-4, atol=1e-4)


def test_every_operator_is_in_the_table() -> None:
    assert {case.op for case in CASES} == set(kernels.OPERATORS)


@pytest.mark.parametrize("case", NAMED)
@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_any_number_of_items(case: Case, count: int) -> None:
    right_or_refused(case, case.make(count, False), may_refuse=False)


@pytest.mark.parametrize("case", NAMED)
def test_all_in_one_place(case: Case) -> None:
    right_or_refused(case, case.make(40, True), may_refuse=False)


@pytest.mark.parametrize("case", [p for p in NAMED if p.values[0].outside])
def test_out_of_range(case: Case) -> None:
    assert case.outside is not None
    given = case.outside(case.make(40, False))
    if case.refused_outside:
        with pytest.raises(ValueError, match="|".join((case.op, *case.names))):
            case.call(*given)
    else:
        right_or_refused(case, given, may_refuse=False)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("case", NAMED)
def test_not_finite(case: Case, bad: float) -> None:
    for i, tensor in enumerate(case.make(40, False)):
        if tensor.is_floating_point():
            given = case.make(40, False)
            given[i].view(-1)[3::17] = bad
            right_or_refused(case, given)


@pytest.mark.parametrize("case", NAMED)
def test_any_layout(case: Case) -> None:
    given = case.make(40, False)
    strided = [torch.stack([t, torch.zeros_like(t)], -1)[..., 0] for t in given]
    assert not any(t.is_contiguous() for t in strided)
    for ours, theirs in zip(outputs(case.call(*strided)), outputs(case.call(*given)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", NAMED)
def test_wrong_dtype(case: Case) -> None:
    for i, tensor in enumerate(case.make(40, False)):
        given = case.make(40, False)
        given[i] = tensor.to(torch.int64 if tensor.is_floating_point() else WRONG_DTYPE[tensor.dtype])
        with pytest.raises((ValueError, TypeError), match="|".join((case.op, *case.names))):
            case.call(*given)


@pytest.mark.parametrize("case", [p for p in NAMED if not p.values[0].alone])
def test_another_device(case: Case) -> None:
    for i, tensor in enumerate(case.make(40, False)):
        given = case.make(40, False)
        given[i] = tensor.to("meta")
        with pytest.raises((ValueError, TypeError), match="|".join((case.op, *case.names))):
            case.call(*given)
