"""Pictures: same geometry as the lidar, sane colours, the same bytes every time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive.render.camera import CameraModel, render_image
from drive.render.lidar import render_sweep
from drive.render.scene import BOX, CYLINDER, FACADE, Actors, Ground, Material, Primitives
from tests.render.worlds import EXACT, camera, camera_pose, lidar_pose, one_actor, solids, world

NOBODY = Actors.empty()
WALL = solids((BOX, (10.5, 0.0, 2.5), (0.5, 40.0, 2.5), 0.0))
CAR = solids((BOX, (0.0, 0.0, 0.75), (2.25, 0.9, 0.75), 0.0), material=Material.CAR_PAINT)


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_wall_depth_sky_and_ground() -> None:
    image = render_image(world(WALL), NOBODY, camera(), camera_pose(z=1.5), rng())
    assert image.rgb.shape == (90, 160, 3)
    assert image.rgb.dtype == np.uint8
    np.testing.assert_allclose(image.depth[45, 80], 10.0, atol=1e-5)
    assert np.isinf(image.depth[0]).all()  # the wall's top is at v = 45 - 120 * 3.5 / 10 = 3
    np.testing.assert_allclose(image.depth[4], 10.0, atol=1e-5)
    # Row 80's centre looks down by 35.5 / 120, so the ground is 1.5 * 120 / 35.5 ahead.
    np.testing.assert_allclose(image.depth[80], 1.5 * 120 / 35.5, rtol=1e-5)
    assert (image.actor == -1).all()


def test_depth_equals_lidar_range_on_the_same_rays() -> None:
    scene = world(Primitives.concatenate([WALL, solids((CYLINDER, (6.0, 2.0, 1.0), (0.5, 0.5, 2.0), 0.0))]))
    actors = one_actor(CAR, (7.0, -2.0, 0.0, 0.6))
    sweep = render_sweep(scene, actors, EXACT, lidar_pose(z=1.5), lidar_pose(z=1.5), rng())
    # Lidar x right, y forward, z up is the camera's x, z, -y.
    right, ahead, high = sweep.points.astype(np.float64).T
    model = camera(1600, 900, 1200.0)
    image = render_image(scene, actors, model, camera_pose(z=1.5), rng())
    front = ahead > 1.0
    u, v = 1200 * right[front] / ahead[front] + 800, 450 - 1200 * high[front] / ahead[front]
    inside = (u >= 0) & (u < 1600) & (v >= 0) & (v < 900)
    column, row = u[inside].astype(int), v[inside].astype(int)
    same = np.abs(image.depth[row, column] - ahead[front][inside]) < 0.02 * ahead[front][inside]
    assert inside.sum() > 2000
    assert same.mean() > 0.985  # the rest straddle an outline within half a pixel
    assert (image.actor[row, column] == sweep.actor[front][inside]).mean() > 0.985


@settings(max_examples=20, deadline=None, derandomize=True)
@given(x=st.floats(8, 30), y=st.floats(-6, 6), yaw=st.floats(-3, 3), look=st.floats(-0.3, 0.3))
def test_projected_corners_bound_the_mask(x: float, y: float, yaw: float, look: float) -> None:
    model, pose = camera(320, 180, 200.0), camera_pose(yaw=look)
    image = render_image(world(), one_actor(CAR, (x, y, 0.0, yaw)), model, pose, rng())
    rows, columns = np.nonzero(image.actor == 0)
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [0, 2])).reshape(3, -1).T * (2.25, 0.9, 0.75)
    cos, sin = np.cos(yaw), np.sin(yaw)
    corners = signs @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1.0]]) + (x, y, 0)
    local = (corners - pose[:3, 3]) @ pose[:3, :3]
    u, v = 200 * local[:, 0] / local[:, 2] + 160, 200 * local[:, 1] / local[:, 2] + 90
    for pixels, edge, size in ((columns, u, 320), (rows, v, 180)):
        low, high = np.clip([edge.min(), edge.max()], 0, size)
        assert pixels.min() + 0.5 >= low - 1e-6
        assert pixels.max() + 0.5 <= high + 1e-6
        assert pixels.min() <= low + 2  # and the mask reaches them
        assert pixels.max() >= high - 3


def test_empty_world_is_sky_above_grass() -> None:
    image = render_image(world(), NOBODY, camera(), camera_pose(), rng())
    assert np.isinf(image.depth[:45]).all()
    assert np.isfinite(image.depth[46:]).all()
    sky, grass = image.rgb[:20].reshape(-1, 3).mean(0), image.rgb[70:].reshape(-1, 3).mean(0)
    assert sky[2] > sky[0]
    assert grass[1] > grass[2]


def test_ground_raster_shows_markings_where_they_are() -> None:
    raster = np.full((100, 100), Material.ROAD, np.uint8)
    raster[50:54] = Material.MARKING  # y in 0 .. 0.8
    image = render_image(world(ground=Ground(raster, 0.2, (0.0, -10.0))), NOBODY, camera(), camera_pose(yaw=0.0), rng())
    row = image.rgb[80].astype(int).sum(axis=1)  # 5.07 m ahead: y = 0 .. 0.8 is 80 - 120 * 0.8 / 5.07 .. 80
    assert row[64:78].min() > 1.4 * row[84:120].max()


def test_facade_has_windows_and_seed_changes_light_not_geometry() -> None:
    wall = Primitives(WALL.kind, WALL.centre, WALL.half_size, WALL.yaw, WALL.material, WALL.colour, np.array([FACADE]))
    pictures = [render_image(world(wall, seed=s), NOBODY, camera(), camera_pose(), rng()) for s in (1, 2)]
    assert pictures[0].rgb[10:40].std() > 20
    assert (pictures[0].rgb != pictures[1].rgb).mean() > 0.5
    np.testing.assert_array_equal(pictures[0].depth, pictures[1].depth)


def test_same_arguments_same_bytes_and_inputs_untouched() -> None:
    scene, actors, pose = world(WALL), one_actor(CAR, (6.0, 0.0, 0.0, 0.5)), camera_pose()
    before = (scene.primitives.centre.copy(), actors.pose.copy(), pose.copy())
    one, two = (render_image(scene, actors, camera(), pose, rng()) for _ in range(2))
    assert one.rgb.tobytes() == two.rgb.tobytes()
    assert one.depth.tobytes() == two.depth.tobytes()
    assert one.actor.tobytes() == two.actor.tobytes()
    for old, new in zip(before, (scene.primitives.centre, actors.pose, pose), strict=True):
        np.testing.assert_array_equal(old, new)


def test_pitched_camera_still_sees_the_wall() -> None:
    pose = camera_pose(z=1.5)
    cos, sin = np.cos(0.1), np.sin(0.1)
    pose[:3, :3] = pose[:3, :3] @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    image = render_image(world(WALL), NOBODY, camera(), pose, rng())
    v, u = np.mgrid[0:90, 0:160] + 0.5
    rays = np.stack([(u - 80) / 120, (v - 45) / 120, np.ones_like(u)], axis=-1) @ pose[:3, :3].T
    hits = pose[:3, 3] + rays * np.where(np.isinf(image.depth), 0, image.depth)[..., None]
    wall = np.isfinite(image.depth) & (hits[..., 2] > 0.01)
    assert wall.sum() > 1000
    np.testing.assert_allclose(hits[wall][:, 0], 10.0, atol=1e-3)


def test_bad_cameras_and_poses_are_refused() -> None:
    with pytest.raises(ValueError, match="intrinsics"):
        CameraModel("x", 10, 10, np.eye(4))
    with pytest.raises(ValueError, match="pixels"):
        CameraModel("x", 0, 10, np.eye(3))
    with pytest.raises(ValueError, match="pose"):
        render_image(world(), NOBODY, camera(), np.eye(3), rng())
