"""Projection into cameras, and bilinear sampling of their feature maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from drive.geometry import cameras as geometry
from ops import lens
from ops.camera_sample import (
    Pairs,
    _project,
    _sample,
    _sample_backward,
    matrix_cameras,
    pinhole_cameras,
    project_points,
    reference,
    sample_pairs,
    sample_points,
)
from ops.camera_sample.bench import IMAGE, example, rig
from ops.segment import segment_sum
from ops.voxelize import voxelize

PLUMB_BOB = [0.1, -0.05, 0.002, -0.001, 0.01]


def one_camera(distortion: list[float] | None = None):  # type: ignore[no-untyped-def]
    """A camera at the origin that looks along x, 100 x 80 pixels, focal length 50."""
    pose = torch.tensor([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    inner = torch.tensor([[50.0, 0, 49.5], [0, 50, 39.5], [0, 0, 1]])
    bent = None if distortion is None else torch.tensor([distortion])
    return pinhole_cameras(pose[None], inner[None], torch.tensor([[100, 80]]), bent)


def by_grid_sample(features: Tensor, pairs: Pairs) -> Tensor:
    """Each pair by torch, in float64."""
    rows = [
        grid_sample(features[n : n + 1].double(), 2 * p.double()[None, None, None] - 1, align_corners=False).flatten()
        for n, p in zip(pairs.camera, pairs.place, strict=True)
    ]
    return torch.stack(rows)


def test_numbers_by_hand(pure) -> None:
    points = torch.tensor([[2.0, 0, 0], [2, 1, 0], [2, 1.98, 1.58], [2, 2.1, 0], [-2, 0, 0], [0.05, 0, 0]])
    pairs = pure(lambda p: project_points(p, one_camera()), points)
    assert pairs.point.tolist() == [0, 1, 2]
    assert pairs.seen.tolist() == [True, True, True, False, False, False]
    # u = 49.5 - 50 y / x: the middle, a quarter from the left, and the corner half a pixel from the edge.
    torch.testing.assert_close(pairs.place, torch.tensor([[0.5, 0.5], [0.25, 0.5], [0.005, 0.00625]]))
    assert pairs.depth.tolist() == [2, 2, 2]
    # A map of 2 x 2 cells: centres at a quarter and three quarters; beyond them zeros come in.
    features = torch.tensor([[[[1.0, 2], [3, 4]]]])
    found = pure(sample_points, features, pairs)[:, 0]
    torch.testing.assert_close(found[:2], torch.tensor([2.5, 2.0]))
    torch.testing.assert_close(found[2], torch.tensor(1.0 * (0.5 + 0.01) * (0.5 + 0.0125)))
    assert found[3:].tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", ["plumb_bob", "radial", "none"])
def test_projects_as_the_geometry_does(name: str) -> None:
    numbers = {"plumb_bob": PLUMB_BOB, "radial": [0.1, -0.05, 0.01], "none": None}[name]
    points = torch.rand(200, 3, dtype=torch.float64) * torch.tensor([5.0, 6, 4]) - torch.tensor([-1.0, 3, 2])
    pairs = project_points(points, one_camera(numbers))
    optical = np.stack([-points[:, 1], -points[:, 2], points[:, 0]], 1)[pairs.point.numpy()]
    inner = np.array([[50.0, 0, 49.5], [0, 50, 39.5], [0, 0, 1]])
    bent = None if numbers is None else (name, np.array(numbers))
    pixels, depth = geometry.project(optical, inner, bent)
    assert 50 < len(pairs.point) < 200
    np.testing.assert_allclose(pairs.place.numpy() * [100, 80] - 0.5, pixels, atol=2e-5)
    np.testing.assert_allclose(pairs.depth.numpy(), depth, rtol=1e-7)


def test_a_matrix_is_a_camera_too() -> None:
    cameras, matrices = rig()
    points = example(0)[0]
    a, b = (project_points(points, c) for c in (cameras, matrix_cameras(matrices, torch.tensor(IMAGE).repeat(5, 1))))
    assert torch.equal(a.point, b.point)
    torch.testing.assert_close(a.place, b.place, rtol=0, atol=1e-6)


def test_lens_does_not_fold_far_places_back() -> None:
    strong = [-0.4, 0.0, 0.0, 0.0, 0.0]
    limit = lens.farthest(-0.4, 0.0, 0.0)
    assert limit == pytest.approx(1 / 1.2)
    far = torch.tensor([[1.0, 1.6, 0.0]])  # the polynomial alone would put it at -0.04, in the middle of the image
    assert abs(lens.bend(1.6, 0.0, *strong)[0]) < 0.1
    assert not project_points(far, one_camera(strong)).seen.any()
    assert project_points(far * torch.tensor([1.0, 0.5, 1.0]), one_camera(strong)).seen.all()
    assert lens.farthest(0.1, 0.0, 0.0) == float("inf")
    x, y = lens.straighten(*lens.bend(0.4, -0.3, *PLUMB_BOB), *PLUMB_BOB)
    assert (x, y) == pytest.approx((0.4, -0.3), abs=1e-12)


@pytest.mark.parametrize("best", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_projection_equals_reference(best: bool, dtype: torch.dtype, pure) -> None:
    points, batch, cameras, _ = example(1)
    given = points.to(dtype), batch, cameras.table, cameras.offsets, 0.1, best
    found, wanted = pure(_project, *given), reference.project(*given)
    for which in (0, 1, 4):
        assert torch.equal(found[which], wanted[which])
    for which in (2, 3):
        torch.testing.assert_close(found[which], wanted[which], rtol=1e-6, atol=1e-7)
    assert len(found[0]) > 100
    assert int(found[4].diff().max()) == (1 if best else 2)


def test_best_camera_is_the_one_farthest_from_its_border() -> None:
    points, batch, cameras, _ = example(2)
    every, best = project_points(points, cameras, batch), project_points(points, cameras, batch, best=True)
    assert torch.equal(every.seen, best.seen)
    margin = (torch.minimum(every.place, 1 - every.place) * torch.tensor(IMAGE)).amin(1)
    for p in best.point.tolist():
        mine = slice(*every.offsets[p : p + 2])
        assert best.camera[best.offsets[p]] == every.camera[mine][margin[mine].argmax()]


def test_frames_of_a_batch_use_their_own_cameras() -> None:
    points, batch, cameras, _ = example(3)
    pairs = project_points(points, cameras, batch)
    assert torch.equal(batch[pairs.point], pairs.camera // 5)
    # Frames may have different numbers of cameras, none included.
    uneven = pinhole_cameras(
        *(t.repeat(3, 1, 1) for t in (torch.eye(4), torch.eye(3))),
        torch.tensor([[4, 4]] * 3),
        None,
        torch.tensor([1, 0, 2]),
    )
    at = torch.tensor([[0.0, 0, 1]] * 3)
    assert project_points(at, uneven, torch.arange(3)).offsets.tolist() == [0, 1, 1, 3]


@pytest.mark.parametrize("channels_last", [False, True])
def test_sampling_equals_grid_sample(channels_last: bool, pure) -> None:
    points, batch, cameras, features = example(4)
    if channels_last:
        features = features.contiguous(memory_format=torch.channels_last)
    pairs = project_points(points, cameras, batch)
    wanted = by_grid_sample(features, pairs)
    found = pure(sample_pairs, features, pairs)
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-6)  # weights round once, values up to 4
    summed = wanted.new_zeros(len(points), 8).index_add(0, pairs.point, wanted)
    torch.testing.assert_close(pure(sample_points, features, pairs, "sum").double(), summed, rtol=0, atol=2e-6)
    mean = summed / pairs.offsets.diff().clamp(min=1)[:, None]
    torch.testing.assert_close(pure(sample_points, features, pairs).double(), mean, rtol=0, atol=1e-6)
    assert torch.equal(
        reference.sample(
            features.permute(0, 2, 3, 1).double(), pairs.camera, pairs.place.double(), pairs.offsets, True
        ),
        sample_points(features.double(), pairs),
    )


def test_places_outside_and_beyond(pure) -> None:
    place = torch.tensor([[-0.06, 0.5], [1.05, 1.05], [7.0, 0.5], [torch.nan, 0.5], [0.5, torch.inf], [1.0, 0.0]])
    pairs = Pairs(torch.arange(6), torch.zeros(6, dtype=torch.int64), place, torch.ones(6), torch.arange(7))
    features = torch.randn(1, 3, 6, 7)
    found = pure(sample_pairs, features, pairs)
    whole = pairs._replace(place=place.nan_to_num(9.0, 9.0, 9.0))  # grid_sample has no rule for these two
    torch.testing.assert_close(found.double(), by_grid_sample(features, whole), rtol=0, atol=1e-6)
    assert (found[2:5] == 0).all()
    # A place outside the map reads nothing, whatever the cells hold.
    features[0, :, 0, 0] = torch.nan
    assert sample_pairs(features, pairs)[1:5].isfinite().all()


@pytest.mark.parametrize("mean", [False, True])
def test_gradient(mean: bool, opcheck, pure) -> None:
    points, batch, cameras, features = example(5)
    pairs = project_points(points, cameras, batch)
    given = features.permute(0, 2, 3, 1).contiguous(), pairs.camera, pairs.place, pairs.offsets, mean
    grad = torch.randn(len(points), 8)
    back = pure(_sample_backward, grad, *given[1:], list(given[0].shape))
    leaf = given[0].double().requires_grad_()
    reference.sample(leaf, *given[1:]).backward(grad.double())
    torch.testing.assert_close(back.double(), leaf.grad, rtol=1e-5, atol=1e-5)  # a cell adds up to 60 pairs
    small = torch.randn(10, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    few = project_points(points[:40], cameras, batch[:40])
    assert torch.autograd.gradcheck(lambda f: sample_points(f, few, "mean" if mean else "sum"), small)
    opcheck(_sample, given[0].requires_grad_(), *given[1:])
    opcheck(_sample_backward, grad, *given[1:], list(given[0].shape))
    opcheck(_project, points, batch, cameras.table, cameras.offsets, 0.1, mean)


def test_pillars_gather_their_points_features() -> None:
    """DeepFusion's gather: points in pillar order, then one segment of pairs a pillar."""
    points, batch, cameras, features = example(6)
    groups = voxelize(points, batch, (-51.2, -51.2, -5, 51.2, 51.2, 3), (3.2, 3.2, 8), 2)
    pairs = project_points(points[groups.order], cameras, batch[groups.order], best=True)
    pillars = segment_sum(sample_pairs(features, pairs), pairs.offsets[groups.offsets])
    every = sample_points(features, project_points(points, cameras, batch, best=True), "sum")
    for v in range(0, len(groups.coords), 7):
        rows = groups.order[groups.offsets[v] : groups.offsets[v + 1]]
        torch.testing.assert_close(pillars[v], every[rows].sum(0), rtol=1e-5, atol=1e-5)


def test_threads_give_the_same_bits() -> None:
    points, batch, cameras, features = example(7)
    points, batch = points.repeat(30, 1), batch.repeat(30)
    wide = torch.cat([features] * 5, 1)
    outputs = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            leaf = wide.clone().requires_grad_()
            pairs = project_points(points, cameras, batch)
            out = sample_points(leaf, pairs)
            out.sum().backward()
            outputs.append([*pairs, out.detach(), leaf.grad])
    finally:
        torch.set_num_threads(before)
    for other in outputs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(outputs[0], other, strict=True))


def test_empty_one_and_none() -> None:
    points, batch, cameras, features = example(8)
    nothing = project_points(points[:0], cameras, batch[:0])
    assert nothing.offsets.tolist() == [0]
    assert sample_points(features, nothing).shape == (0, 8)
    one = project_points(torch.tensor([[10.0, 0, 0]]), one_camera())
    assert sample_points(features[:1], one).shape == (1, 8)
    blind = pinhole_cameras(torch.zeros(0, 4, 4), torch.zeros(0, 3, 3), torch.zeros(0, 2, dtype=torch.int64))
    unseen = project_points(points, blind, best=True)
    assert not unseen.seen.any()
    leaf = torch.zeros(0, 8, 4, 4, requires_grad=True)
    out = sample_points(leaf, unseen)
    assert out.shape == (500, 8)
    out.sum().backward()
    bad = torch.tensor([[torch.nan, 0, 0], [10, torch.inf, 0], [torch.inf, 0, 0], [1e300, 0, 0]], dtype=torch.float64)
    assert project_points(bad, one_camera()).seen.tolist() == [False, False, False, True]


def test_layouts_and_half_types() -> None:
    points, batch, cameras, features = example(9)
    strided = torch.stack([points, points], 2)[..., 0]
    pairs = project_points(strided, cameras, batch)
    assert torch.equal(pairs.place, project_points(points, cameras, batch).place)
    half = sample_points(features.bfloat16(), pairs)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), sample_points(features, pairs), rtol=2e-2, atol=2e-2)
    cut = torch.randn(10, 16, 9, 26)[:, ::2, :, ::2]
    assert torch.equal(sample_points(cut, pairs), sample_points(cut.contiguous(), pairs))


def test_compiles_whole() -> None:
    points, batch, cameras, features = example(10)
    pairs, leaf = project_points(points, cameras, batch), features.requires_grad_()
    compiled = torch.compile(sample_points, backend="aot_eager", fullgraph=True)(leaf, pairs)
    assert torch.equal(compiled, sample_points(leaf, pairs))
    compiled.sum().backward()
    assert leaf.grad is not None


def test_wrong_arguments() -> None:
    points, batch, cameras, features = example(11)
    pairs = project_points(points, cameras, batch)
    eye, size = torch.eye(4).repeat(2, 1, 1), torch.tensor([[4, 4]] * 2)
    for call in (
        lambda: project_points(points.long(), cameras, batch),
        lambda: project_points(points[:, :2], cameras, batch),
        lambda: project_points(points, cameras, batch + 1),
        lambda: project_points(points, cameras, batch.int()),
        lambda: project_points(points, cameras, batch[:3]),
        lambda: project_points(points, cameras, batch, near=float("nan")),
        lambda: project_points(points.to("meta"), cameras, batch),
        lambda: sample_points(features, pairs, "max"),
        lambda: sample_points(features[:4], pairs),
        lambda: sample_points(features[0], pairs),
        lambda: sample_points(features.long(), pairs),
        lambda: sample_points(features[..., :0], pairs),
        lambda: sample_points(features, pairs._replace(offsets=pairs.offsets + 1)),
        lambda: sample_points(features, pairs._replace(place=pairs.place[:5])),
        lambda: pinhole_cameras(eye, torch.eye(3), size),
        lambda: pinhole_cameras(eye * torch.nan, torch.eye(3).repeat(2, 1, 1), size),
        lambda: pinhole_cameras(eye, torch.eye(3).repeat(2, 1, 1), size * 0),
        lambda: pinhole_cameras(eye, torch.eye(3).repeat(2, 1, 1), size, torch.zeros(2, 4)),
        lambda: pinhole_cameras(eye, torch.eye(3).repeat(2, 1, 1), size, None, torch.tensor([1])),
        lambda: matrix_cameras(torch.eye(3), size),
    ):
        with pytest.raises(ValueError, match="camera_sample"):
            call()
