"""The lift: where an image cell lands, under every augmentation; the cache; cameras that are not there; gradients."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn

from drive.features.images import ImageNetConfig
from drive.features.lift import BevFusion, Lift, LiftConfig
from drive.features.lift_depth import DepthBins, depth_loss, depth_targets, nearest_depth, one_hot_depth
from drive.features.lift_plan import augmented_cameras, batch_cameras
from drive.samples.batch import FrameBatch
from drive.voxels.grid import GridSpec
from ops.camera_sample import project_points
from ops.lift_pool import lift_pool, plan_cameras
from tests.features.lift_world import Painted, batch_of, intrinsics, pose

# Cells of a metre whose centres are whole metres.
GRID = GridSpec((-16.5, -16.5, -4.0, 15.5, 15.5, 4.0), (1.0, 1.0, 8.0))
BINS = DepthBins(1.0, 16.0, 1.0)
PLAIN = ImageNetConfig("plain", channels=8, out_strides=(4,))
CONFIG = LiftConfig(PLAIN, GRID, BINS, channels=3, down=1)
FRONT, LEFT, BACK = (pose(yaw) for yaw in (0.0, math.pi / 2, math.pi))


def painted(row: int, column: int, metres: float = 8.0) -> Lift:
    """A lift of which one image cell sees something: context (1, 2, 3) at one certain depth."""
    lift = CONFIG.build().eval()
    maps = torch.zeros(1, BINS.count + 3, 4, 8)
    maps[:, int(metres) - 1] = 60.0  # all others hold exp(-60)
    maps[0, BINS.count :, row, column] = torch.tensor([1.0, 2.0, 3.0])
    lift.images, lift.depth_net = Painted(maps), nn.Identity()  # type: ignore[assignment]
    return lift


def lit(bev: Tensor) -> tuple[float, float]:
    """Centre in metres of the one cell that is not zero; it must hold the whole context."""
    rows = (bev[0].abs() > 1e-6).any(0).nonzero()
    assert len(rows) == 1
    y, x = rows[0].tolist()
    torch.testing.assert_close(bev[0, :, y, x], torch.tensor([1.0, 2.0, 3.0]))
    return x - 16.0, y - 16.0


def moved(matrix: list[list[float]], shift: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """augmented from recorded [4, 4] of a 2 x 2 in the plane; z scales with it."""
    out = torch.eye(4, dtype=torch.float64)
    out[:2, :2] = torch.tensor(matrix)
    out[2, 2] = torch.linalg.det(out[:2, :2]).abs().sqrt()
    out[:2, 3] = torch.tensor(shift)
    return out


@pytest.mark.parametrize(
    ("augmented", "place"),
    [
        (moved([[1, 0], [0, 1]]), (8, 2)),
        (moved([[1, 0], [0, -1]]), (8, -2)),
        (moved([[0, -1], [1, 0]]), (-2, 8)),
        (moved([[0.5, 0], [0, 0.5]]), (4, 1)),
        (moved([[1, 0], [0, 1]], (3, -4)), (11, -2)),
        # Mirrored (8, -2), turned by 90 degrees (2, 8), halved (1, 4), shifted by (-6, 1).
        (moved([[0, -0.5], [0.5, 0]], (-6, 1)) @ moved([[1, 0], [0, -1]]), (-5, 5)),
    ],
)
@torch.no_grad()
def test_a_pixel_lands_where_paper_says_under_lidar_augmentation(augmented: Tensor, place: tuple[int, int]) -> None:
    batch = batch_of([[FRONT]], undo=torch.linalg.inv(augmented))
    assert lit(painted(1, 3)(batch).bev) == place


@pytest.mark.parametrize(
    ("image", "row", "column"),
    [
        ([[-1.0, 0, 31], [0, 1, 0], [0, 0, 1]], 1, 4),  # mirrored: u = 31 - 13.5
        ([[2.0, 0, 0.5], [0, 2, 0.5], [0, 0, 1]], 2, 6),  # twice as large: (27.5, 11.5), then cut 2 at left and top
        ([[1.0, 0, -8], [0, 1, 4], [0, 0, 1]], 2, 1),  # cut 8 at the left, 4 black rows on top
        ([[0.0, -1, 15], [1, 0, -4], [0, 0, 1]], 2, 2),  # turned by 90 degrees: (9.5, 9.5)
    ],
)
@torch.no_grad()
def test_a_pixel_lands_where_paper_says_under_image_augmentation(
    image: list[list[float]], row: int, column: int
) -> None:
    matrix = torch.tensor(image, dtype=torch.float64)
    if matrix[0, 0] == 2:
        matrix[:2, 2] -= 2
    batch = batch_of([[FRONT]], inner=intrinsics(matrix))
    assert lit(painted(row, column)(batch).bev) == (8, 2)


@torch.no_grad()
def test_cameras_that_look_elsewhere_and_stand_elsewhere() -> None:
    # To the left of a camera that looks left is behind the car.
    assert lit(painted(1, 3)(batch_of([[LEFT]])).bev) == (-2, 8)
    assert lit(painted(1, 3)(batch_of([[pose(0.0, (1.0, -4.0, 2.0))]])).bev) == (9, -2)


@pytest.mark.parametrize("lens", [(0.0, 0.0, 0.0, 0.0, 0.0), (-0.3, 0.1, 0.002, -0.003, -0.01)])
@pytest.mark.parametrize("augmented", [moved([[1, 0], [0, 1]]), moved([[0.0, -0.9], [-0.9, 0.0]], (2.0, 1.0))])
@torch.no_grad()
def test_points_come_back_to_where_they_are(lens: tuple[float, ...], augmented: Tensor) -> None:
    """Recorded points, drawn into a bent image and lifted by their own depths, land on the augmented points."""
    g = torch.Generator().manual_seed(0)
    points = torch.rand(300, 3, generator=g) * torch.tensor([8.0, 14.0, 3.0]) + torch.tensor([3.0, -7.0, -1.5])
    size, bins = (64, 128), DepthBins(1.0, 16.0, 0.05)
    inner = torch.tensor([[60.0, 0, 64], [0, 60, 32], [0, 0, 1]], dtype=torch.float64)
    batch = batch_of([[FRONT]], inner=inner, lens=lens, undo=torch.linalg.inv(augmented), points=points, size=size)
    assert batch.images is not None
    seen = project_points(points, batch.images.cameras, batch.point_batch)
    assert 100 < len(seen.point) < 300
    depth = one_hot_depth(depth_targets(nearest_depth(seen, 1, size), bins), bins)
    cameras = augmented_cameras(batch.images.cameras, batch.recorded_from_augmented)
    grid = GridSpec((-16.0, -16.0, -4.0, 16.0, 16.0, 4.0), (0.25, 0.25, 8.0))
    plan = plan_cameras(cameras, bins.values(), size, grid.range, (0.25, 0.25, 8.0))
    bev = lift_pool(depth, torch.ones(1, 1, *size), plan)[0, 0]
    assert float(bev.sum()) == float(depth.sum())  # nothing fell outside the grid

    cells = ((batch.points[seen.point, :2] + 16) / 0.25).floor().long()
    near = torch.zeros_like(bev, dtype=torch.bool)
    near[cells[:, 1], cells[:, 0]] = True
    near = nn.functional.max_pool2d(near[None].float(), 3, 1, 1)[0].bool()
    assert not bool((bev > 0)[~near].any())


def test_depths_of_bins() -> None:
    bins = DepthBins(1.0, 60.0, 0.5)
    assert bins.count == 118
    assert bins.values()[[0, -1]].tolist() == [1.0, 59.5]
    depths = torch.tensor([0.0, 0.74, 0.75, 1.0, 1.24, 1.25, 59.74, 59.76, torch.nan, torch.inf])
    assert bins.index(depths).tolist() == [-1, -1, 0, 0, 0, 1, 117, -1, -1, -1]
    assert DepthBins(4.0, 45.0, 1.0).count == 41  # LSS
    for wrong in ((0.0, 10.0, 1.0), (1.0, 10.0, 0.0), (5.0, 5.0, 1.0)):
        with pytest.raises(ValueError, match="depth bins"):
            DepthBins(*wrong)


def test_the_nearest_point_of_a_cell_teaches() -> None:
    # Two points behind each other, one beside them, one behind the camera.
    points = torch.tensor([[8.0, 2.0, 1.0], [12.0, 3.0, 1.5], [8.0, -2.0, 0.0], [-8.0, 0.0, 0.0]])
    batch = batch_of([[FRONT]], points=points)
    assert batch.images is not None
    nearest = nearest_depth(project_points(points, batch.images.cameras), 1, (4, 8))
    expected = torch.zeros(1, 4, 8)
    expected[0, 1, 3] = 8.0  # (13.5, 5.5); the point at 12 m lies behind it
    expected[0, 2, 5] = 8.0  # (21.5, 7.5) is the border of rows 1 and 2
    torch.testing.assert_close(nearest, expected)

    targets = depth_targets(nearest, BINS)
    assert targets[0, 1, 3] == 7
    assert int((targets < 0).sum()) == 30
    logits = torch.zeros(1, BINS.count, 4, 8)
    torch.testing.assert_close(depth_loss(logits, targets), torch.tensor(math.log(BINS.count)))
    logits[:, 7] = 50.0
    assert float(depth_loss(logits, targets)) < 1e-6
    assert float(depth_loss(logits, torch.full_like(targets, -1))) == 0.0


@torch.no_grad()
def test_the_plan_is_kept_exactly_as_long_as_the_cameras_stand_still() -> None:
    here = pose(0.1, (0.12, 0.05, 0.0))  # no place on a cell's border, where rounding decides
    torch.manual_seed(0)
    lift = CONFIG.build().eval()

    def bev(batch: FrameBatch) -> Tensor:
        torch.manual_seed(0)
        fresh = CONFIG.build().eval()
        found = lift(batch).bev
        torch.testing.assert_close(found, fresh(batch).bev, rtol=0, atol=0)
        return found

    first = bev(batch_of([[here, BACK]]))
    assert lift.plans.made == 1
    jitter = 1e-12 * torch.ones(4, 4, dtype=torch.float64)
    torch.testing.assert_close(bev(batch_of([[here + jitter, BACK]])), first, rtol=0, atol=0)
    assert lift.plans.made == 1
    changed = (
        batch_of([[pose(0.1, (0.7, 0.05, 0.0)), BACK]]),  # moved
        batch_of([[pose(0.15, (0.12, 0.05, 0.0)), BACK]]),  # turned
        batch_of([[BACK, here]]),  # swapped
        batch_of([[here], [BACK]]),  # of two frames
        batch_of([[here, BACK]], inner=intrinsics() + torch.diag(torch.tensor([1.0, 0.0, 0.0]))),
        batch_of([[here, BACK]], lens=(0.1, 0.0, 0.0, 0.0, 0.0)),
        batch_of([[here, BACK]], undo=moved([[1, 0], [0, -1]])),
        batch_of([[here, BACK]], size=(32, 64)),
        batch_of([[here, BACK]], present=(True, False)),
    )
    for made, batch in enumerate(changed, start=2):
        again = bev(batch)
        assert lift.plans.made == made
        assert again.shape != first.shape or not torch.equal(again, first)


@torch.no_grad()
def test_a_plan_may_be_kept_while_nothing_moves_far() -> None:
    lift = dataclasses.replace(CONFIG, plan_slack_m=0.05).build().eval()
    lift(batch_of([[FRONT]]))
    lift(batch_of([[pose(0.0, (0.03, 0.0, 0.0))]]))
    assert lift.plans.made == 1
    lift(batch_of([[pose(0.003)]]))  # at the grid's corner, 23 m away: 7 cm
    assert lift.plans.made == 2


@torch.no_grad()
def test_a_missing_camera_adds_nothing() -> None:
    lift = CONFIG.build().eval()
    whole = batch_of([[FRONT, BACK], [LEFT]])
    assert whole.images is not None
    broken = batch_of([[FRONT, pose(0.3)], [LEFT]], present=(True, False, True))
    alone = batch_of([[FRONT], [LEFT]])
    pixels = whole.images.pixels
    for batch, rows in ((broken, [0, 1, 2]), (alone, [0, 2])):
        assert batch.images is not None
        batch.images.pixels[:] = pixels[rows]
    assert float(lift(broken).bev.abs().sum()) > 0
    torch.testing.assert_close(lift(broken).bev, lift(alone).bev)
    assert not torch.allclose(lift(whole).bev[0], lift(alone).bev[0])


@pytest.mark.parametrize("train", [False, True])
def test_no_camera_at_all(train: bool) -> None:
    config = dataclasses.replace(CONFIG, lidar_depth=True, depth_loss=1.0)
    lift = config.build().train(train)
    blind = batch_of([[FRONT], [LEFT]], present=(False, False), points=torch.rand(5, 3))
    for batch in (blind, batch_of([[], []]), dataclasses.replace(blind, images=None, recorded_xyz=None)):
        bev, loss = lift(batch)
        assert tuple(bev.shape) == (2, 3, 32, 32)
        assert float(bev.abs().sum()) == 0
        assert (loss is None) == (not train)
        assert loss is None or float(loss) == 0


@torch.no_grad()
def test_frames_with_different_numbers_of_cameras_are_each_their_own() -> None:
    lift = CONFIG.build().eval()
    batch = batch_of([[FRONT, BACK], [], [LEFT]])
    assert batch.images is not None
    together = lift(batch).bev
    assert float(together[1].abs().sum()) == 0
    for frame, poses, rows in ((0, [FRONT, BACK], [0, 1]), (2, [LEFT], [2])):
        alone = batch_of([poses])
        assert alone.images is not None
        alone.images.pixels[:] = batch.images.pixels[rows]
        torch.testing.assert_close(together[frame], lift(alone).bev[0])


@pytest.mark.parametrize("lidar_depth", [False, True])
def test_gradients_reach_every_parameter(lidar_depth: bool) -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, lidar_depth=lidar_depth, depth_loss=0.5, down=2)
    lift = config.build().train()
    points = torch.tensor([[8.0, 2.0, 1.0], [6.0, -1.0, 0.0]])
    bev, loss = lift(batch_of([[FRONT, BACK], [LEFT]], points=points))
    assert tuple(bev.shape) == (2, 3, 16, 16)
    (bev.square().sum() + loss).backward()
    for name, parameter in lift.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert float(parameter.grad.abs().sum()) > 0, name


@torch.no_grad()
def test_depth_from_lidar_is_looked_at_where_points_were_recorded() -> None:
    torch.manual_seed(0)
    lift = dataclasses.replace(CONFIG, lidar_depth=True).build().eval()
    points = torch.tensor([[8.0, 2.0, 1.0], [6.0, -1.0, 0.0]])
    mirrored = torch.linalg.inv(moved([[1, 0], [0, -1]]))
    here = pose(0.1, (0.12, 0.05, 0.0))  # no place on a cell's border, where rounding decides
    plain, none = lift(batch_of([[here]], points=points)).bev, lift(batch_of([[here]])).bev
    assert not torch.allclose(plain, none)
    # The same images and the same recorded points: the map of the mirrored frame is the mirrored map.
    other = lift(batch_of([[here]], points=points, undo=mirrored)).bev
    torch.testing.assert_close(other[:, :, 1:], plain.flip(2)[:, :, :-1])
    unseen = batch_of([[here]], points=torch.full((3, 3), torch.nan))
    torch.testing.assert_close(lift(unseen).bev, none)


@torch.no_grad()
def test_only_the_key_sweep_teaches_depth() -> None:
    torch.manual_seed(0)
    lift = dataclasses.replace(CONFIG, depth_loss=1.0).build().train()
    batch = batch_of([[FRONT]], points=torch.tensor([[8.0, 2.0, 1.0], [6.0, -1.0, 0.0]]))
    both = lift(batch).depth_loss
    batch.points[0, 5] = 0.1
    assert not torch.allclose(lift(batch).depth_loss, both)
    batch.points[:, 5] = 0.1
    assert float(lift(batch).depth_loss) == 0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="one image map"):
        LiftConfig(dataclasses.replace(PLAIN, out_strides=(4, 8)), GRID)
    with pytest.raises(ValueError, match="not cut by 3"):
        dataclasses.replace(CONFIG, down=3)
    with pytest.raises(ValueError, match="do not divide"):
        CONFIG.build()(batch_of([[FRONT]], size=(18, 32)))
    with pytest.raises(ValueError, match="does not fit a lidar map"):
        BevFusion(CONFIG, GridSpec((-16.0, -16.0, -4.0, 16.0, 16.0, 4.0), (1.0, 1.0, 8.0)), 4)
    with pytest.raises(ValueError, match="does not fit a lidar map"):
        BevFusion(CONFIG, GRID.at_stride(2), 4)


@torch.no_grad()
def test_a_coarse_lift_is_joined_with_a_finer_lidar_map() -> None:
    fine = GridSpec(GRID.range, (0.5, 0.5, 8.0))
    fusion = BevFusion(CONFIG, fine, 5).eval()
    out = fusion(torch.rand(2, 3, 32, 32), torch.rand(2, 5, 64, 64))
    assert tuple(out.shape) == (2, 5, 64, 64)
    assert tuple(batch_cameras(batch_of([[], []]))[0].shape[:1]) == (0,)
