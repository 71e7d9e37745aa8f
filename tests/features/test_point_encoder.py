"""The 17 point features by hand, and what both encoders must not depend on."""

import math

import pytest
import torch

from drive.boxes.voxel_detector import mean_features
from drive.errors import UserError
from drive.features.point_encoder import NUM_POINT_FEATURES, PointEncoderConfig, point_features
from drive.voxels.grid import GridSpec
from drive.voxels.voxelize import Voxels, voxelize_points

GRID = GridSpec((-10.0, -10.0, -2.0, 10.0, 10.0, 2.0), (0.5, 0.5, 4.0))


def voxels_of(points: torch.Tensor, batch: torch.Tensor | None = None) -> Voxels:
    frames = torch.zeros(len(points), dtype=torch.int64) if batch is None else batch
    return voxelize_points(points, frames, GRID, 1 if batch is None else int(batch.max()) + 1)


def cloud(count: int, seed: int = 0, spread: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 6, generator=generator)
    points[:, :2] = (points[:, :2] * 2 - 1) * spread
    points[:, 5] = 0
    return points


def test_features_by_hand() -> None:
    # Two points of the pillar [0, 0.5) x [0, 0.5), whose centre is (0.25, 0.25, 0).
    points = torch.tensor([[0.1, 0.2, 1.0, 0.5, 0.3, 0.0], [0.3, 0.2, 0.0, 0.0, 0.0, 0.0]])
    rows = point_features(voxels_of(points), PointEncoderConfig(scale_xy=10.0, scale_z=4.0))
    expected = [
        0.01, 0.02, 0.25, math.tanh(0.5), 0.3, 0.0,
        -0.2, 0.0, 0.5,  # from the mean (0.2, 0.2, 0.5), in pillar edges and in metres
        -0.3, -0.1, 1.0,  # from the centre
        0.04, 0.0, 0.25,  # variance
        math.log(3), 0.0,
    ]  # fmt: skip
    assert rows.shape == (2, NUM_POINT_FEATURES)
    torch.testing.assert_close(rows[0], torch.tensor(expected), atol=1e-6, rtol=1e-5)


def test_frames_have_their_own_statistics() -> None:
    # Three points in one pillar: two of the key frame, one of the frame before, given out of order.
    points = torch.zeros(3, 6)
    points[:, 0] = torch.tensor([0.1, 0.4, 0.3])
    points[:, 5] = torch.tensor([0.0, 0.1, 0.0])
    rows = point_features(voxels_of(points), PointEncoderConfig(frames=3, frame_period_s=0.1))
    torch.testing.assert_close(rows[:, 6], torch.tensor([-0.2, 0.0, 0.2]), atol=1e-6, rtol=0)
    torch.testing.assert_close(rows[:, 15], torch.log(torch.tensor([3.0, 2.0, 3.0])))
    torch.testing.assert_close(rows[:, 16], torch.tensor([0.0, 1 / 3, 0.0]))


def test_one_frame_is_the_special_case_of_several() -> None:
    voxels = voxels_of(cloud(200))
    one, several = (point_features(voxels, PointEncoderConfig(frames=f)) for f in (1, 3))
    torch.testing.assert_close(one, several)


@pytest.fixture(params=[("pointnet", 1), ("pvt", 1), ("pvt", 2)], ids=lambda p: f"{p[0]}-{p[1]}")
def encoder(request: pytest.FixtureRequest) -> torch.nn.Module:
    torch.manual_seed(1)
    kind, layers = request.param
    return PointEncoderConfig(kind, heads=4, layers=layers).build(32)


def test_order_of_points_does_not_matter(encoder: torch.nn.Module) -> None:
    points = cloud(300)
    shuffled = points[torch.randperm(300, generator=torch.Generator().manual_seed(2))]
    encoder.eval()
    torch.testing.assert_close(encoder(voxels_of(points)), encoder(voxels_of(shuffled)), atol=1e-5, rtol=1e-5)


def test_a_batch_is_its_frames_one_after_the_other(encoder: torch.nn.Module) -> None:
    a, b = cloud(100, 1), cloud(150, 2)
    both = voxels_of(torch.cat((a, b)), torch.tensor([0] * 100 + [1] * 150))
    encoder.eval()
    torch.testing.assert_close(
        encoder(both), torch.cat((encoder(voxels_of(a)), encoder(voxels_of(b)))), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("training", [False, True])
def test_no_point_and_one_point(encoder: torch.nn.Module, count: int, training: bool) -> None:
    encoder.train(training)
    out = encoder(voxels_of(cloud(count)))
    assert out.shape == (count, 32)
    assert bool(out.isfinite().all())


def test_gradient_reaches_every_parameter(encoder: torch.nn.Module) -> None:
    encoder.train()
    out = encoder(voxels_of(cloud(300)))
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().sum()) > 0, name


def test_fused_layers_are_the_separate_ones() -> None:
    """Outside training batch norm folds; a layer that starts from its module is the same function, gradient too."""
    torch.manual_seed(4)
    encoder = PointEncoderConfig("pointnet", hidden=16).build(24)
    encoder.train()
    encoder(voxels_of(cloud(400)))  # running statistics that are neither 0 nor 1
    encoder.eval()
    voxels = voxels_of(cloud(300, 1))
    found = encoder(voxels)
    found.square().sum().backward()
    gradients = {name: p.grad.clone() for name, p in encoder.named_parameters()}
    encoder.zero_grad()

    x = torch.relu(encoder.first_norm(encoder.first(point_features(voxels, encoder.config))))
    pooled = torch.stack([part.amax(0) for part in x.split(voxels.offsets.diff().tolist())])
    x = encoder.point(x) + encoder.pillar(pooled)[voxels.voxel_of_point]
    x = torch.relu(encoder.second_norm(x))
    wanted = torch.stack([part.amax(0) for part in x.split(voxels.offsets.diff().tolist())])
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    wanted.square().sum().backward()
    for name, p in encoder.named_parameters():
        torch.testing.assert_close(gradients[name], p.grad, atol=1e-3, rtol=1e-3, msg=name)


def test_folding_keys_and_values_equals_plain_attention() -> None:
    """Spec 8.4: q . (W x) = (W^T q) . x, and sum a (W x) = W (sum a x)."""
    torch.manual_seed(3)
    encoder = PointEncoderConfig("pvt", heads=2).build(8)
    layer = encoder.layers[0]
    points = voxels_of(cloud(12, spread=0.7))
    x, start = torch.randn(len(points.points), 8), torch.randn(len(points.coords), 8)
    got = layer(encoder.latent, start, x, points)
    q = layer.query(encoder.latent).view(2, 4)
    for v, (begin, end) in enumerate(zip(points.offsets[:-1], points.offsets[1:], strict=True)):
        mine = x[begin:end]
        keys, values = (torch.einsum("pc,hdc->phd", mine, w) for w in (layer.key, layer.value))
        weights = torch.softmax(torch.einsum("hd,phd->ph", q, keys) / 2, 0)
        attended = torch.einsum("ph,phd->hd", weights, values).reshape(-1)
        y = layer.norm(start[v] + layer.out(attended))
        torch.testing.assert_close(got[v], layer.mlp_norm(y + layer.mlp(y)), atol=1e-5, rtol=1e-5)


def with_radar(lidar: torch.Tensor, returns: list[list[float]]) -> torch.Tensor:
    """Lidar points [P, 6] and radar returns (ten columns) as one cloud."""
    return torch.cat((torch.nn.functional.pad(lidar, (0, 4)), torch.tensor(returns).view(-1, 10)))


def test_radar_features_by_hand() -> None:
    points = with_radar(cloud(20), [[0.1, 0.2, 0.5, 0, 0, 0.04, -20.0, 5.0, 10.0, 1.0]])
    for frames in (1, 3):
        voxels = voxels_of(points)
        config = PointEncoderConfig(radar=True, frames=frames, scale_velocity=10.0, scale_rcs=20.0)
        rows = point_features(voxels, config)
        assert rows.shape == (21, 21)
        last = int((voxels.order == 20).nonzero())
        torch.testing.assert_close(rows[last, 17:], torch.tensor([-2.0, 0.5, 0.5, 1.0]))
        others = torch.arange(21) != last
        assert not rows[others, 17:].any()


def test_the_lidars_features_are_what_they_were() -> None:
    points = cloud(200)
    padded = point_features(voxels_of(with_radar(points, [])), PointEncoderConfig(radar=True))
    plain = point_features(voxels_of(points), PointEncoderConfig())
    assert torch.equal(padded[:, :NUM_POINT_FEATURES], plain)


@pytest.mark.parametrize("kind", ["pointnet", "pvt"])
def test_a_velocity_changes_its_pillar_alone(kind: str) -> None:
    torch.manual_seed(0)
    encoder = PointEncoderConfig(kind, heads=4, radar=True).build(32).eval()  # type: ignore[arg-type]
    points = with_radar(cloud(50), [[1.0, 1.0, 0.5, 0, 0, 0, 3.0, 0.0, 5.0, 1.0]])
    faster = points.clone()
    faster[-1, 6] = 9.0
    voxels = voxels_of(points)
    a, b = encoder(voxels), encoder(voxels_of(faster))
    own = voxels.voxel_of_point[int((voxels.order == 50).nonzero())]
    changed = (a != b).any(1).nonzero().flatten().tolist()
    assert changed == [int(own)]
    assert encoder(voxels_of(torch.zeros(0, 10))).shape == (0, 32)


def test_points_that_do_not_fit_the_model() -> None:
    with pytest.raises(UserError, match=r"takes points of 10 columns, these have 6; set data\.radars, so"):
        point_features(voxels_of(cloud(5)), PointEncoderConfig(radar=True))
    both = voxels_of(with_radar(cloud(5), []))
    with pytest.raises(UserError, match=r"takes points of 6 columns, these have 10; set data\.radars to None"):
        point_features(both, PointEncoderConfig())
    with pytest.raises(UserError, match="takes points of 6 columns"):
        mean_features(both, 75.0, 4.0)
