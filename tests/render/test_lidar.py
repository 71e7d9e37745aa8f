"""Lidar sweeps whose answer is known on paper."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from drive.render.lidar import NUSCENES_32, WAYMO_64, render_sweep
from drive.render.scene import BOX, CYLINDER, ELLIPSOID, Actors, Ground, Material, Primitives
from tests.render.worlds import EXACT, exact, lidar_pose, one_actor, solids, to_global, world

NOBODY = Actors.empty()
WALL = solids((BOX, (10.5, 0.0, 2.5), (0.5, 40.0, 2.5), 0.0))  # its near face is the plane x = 10
CAR = solids((BOX, (0.0, 0.0, 0.75), (2.25, 0.9, 0.75), 0.0), material=Material.CAR_PAINT)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_wall_ten_metres_ahead() -> None:
    sweep = render_sweep(world(WALL), NOBODY, exact((0.0,), 720), lidar_pose(), lidar_pose(), rng())
    points = to_global(lidar_pose(), sweep.points)
    assert len(points) > 200
    np.testing.assert_allclose(points[:, 0], 10.0, atol=1e-5)
    np.testing.assert_allclose(points[:, 2], 2.0, atol=1e-5)
    # In the lidar's own frame (x right, y forward) the wall is ahead: y = 10.
    np.testing.assert_allclose(sweep.points[:, 1], 10.0, atol=1e-5)
    assert (sweep.actor == -1).all()


def test_ground_is_hit_at_height_over_tangent() -> None:
    sweep = render_sweep(world(), NOBODY, exact((-30.0, -10.0, 5.0), 90), lidar_pose(z=2.0), lidar_pose(z=2.0), rng())
    for ring, angle in ((0, 30.0), (1, 10.0)):
        mine = sweep.points[sweep.ring == ring]
        assert len(mine) == 90
        np.testing.assert_allclose(np.hypot(*mine[:, :2].T), 2.0 / math.tan(math.radians(angle)), rtol=1e-5)
        np.testing.assert_allclose(mine[:, 2], -2.0, atol=1e-5)
    assert not (sweep.ring == 2).any()


def test_near_side_of_a_cylinder_and_of_an_ellipsoid() -> None:
    for kind in (CYLINDER, ELLIPSOID):
        scene = world(solids((kind, (8.0, 0.0, 2.0), (1.5, 1.5, 2.0), 0.3)))
        sweep = render_sweep(scene, NOBODY, exact((0.0,), 3600), lidar_pose(), lidar_pose(), rng())
        points = to_global(lidar_pose(), sweep.points)
        assert points[:, 0].min() == pytest.approx(6.5, abs=1e-3)
        np.testing.assert_allclose(np.hypot(points[:, 0] - 8.0, points[:, 1]), 1.5, atol=1e-4)
        assert (points[:, 0] < 8.0).all()


def test_nothing_behind_the_wall() -> None:
    hidden = one_actor(CAR, (16.0, 0.0, 0.0, 0.0))
    beams = tuple(np.linspace(-25, 0, 26))
    in_view = render_sweep(world(), hidden, exact(beams, 720), lidar_pose(), lidar_pose(), rng())
    behind = render_sweep(world(WALL), hidden, exact(beams, 720), lidar_pose(), lidar_pose(), rng())
    assert (in_view.actor == 0).sum() > 20
    assert not (behind.actor == 0).any()
    points = to_global(lidar_pose(), behind.points)
    assert points[np.abs(points[:, 1]) < 30, 0].max() < 10.001


def test_moving_actor_smears_by_its_speed() -> None:
    """Across the sweep's seam the wall of a passing truck is seen both at the start and at the end of the turn."""
    truck = solids((BOX, (0.0, 0.0, 2.0), (6.0, 1.0, 2.0), 0.0), material=Material.CAR_PAINT)
    model = exact((0.0,), 3600, start_azimuth_rad=math.radians(180.0), clockwise=True)  # starts on the left side
    actors = one_actor(truck, (0.0, 11.0, 0.0, 0.0), (0.0, 20.0))  # to the left of a sensor that heads along +x
    sweep = render_sweep(world(), actors, model, lidar_pose(), lidar_pose(), rng())
    points = to_global(lidar_pose(), sweep.points)
    face = np.abs(points[:, 0]) < 4
    np.testing.assert_allclose(points[face, 1], 10.0 + 20.0 * sweep.time_offset_s[face], atol=1e-3)
    assert points[face, 1].max() - points[face, 1].min() == pytest.approx(20.0 * 0.05, abs=0.35)


def test_speed_does_not_change_how_bright_a_surface_is() -> None:
    wall = solids((BOX, (0.0, 0.0, 2.0), (1.0, 1.2, 2.0), 0.0), material=Material.BUILDING)
    model = exact((0.0,), 3600, start_azimuth_rad=math.radians(-90.0))  # ahead is seen half a turn before the end

    def brightness(speed: float) -> float:
        x = 10.0 + speed * 0.025  # 10 m ahead when the beam passes
        actors = one_actor(wall, (x, 0.0, 0.0, 0.0), (speed, 0.0))
        sweep = render_sweep(world(), actors, model, lidar_pose(), lidar_pose(), rng())
        return float(sweep.intensity[np.abs(sweep.points[:, 0]) < 2].mean())

    assert brightness(60.0) == pytest.approx(brightness(0.0), rel=0.03)


def test_static_wall_stays_flat_while_the_sensor_moves_and_turns() -> None:
    start, end = lidar_pose(0.0, 0.0, 2.0, 0.0), lidar_pose(1.0, 0.3, 2.0, 0.05)
    sweep = render_sweep(world(WALL), NOBODY, exact((-2.0, 0.0, 3.0), 720), start, end, rng())
    points = to_global(end, sweep.points)
    wall = points[:, 2] > 0.05
    assert wall.sum() > 500
    np.testing.assert_allclose(points[wall, 0], 10.0, atol=2e-5)


def test_tilted_sensor_sees_the_same_flat_world() -> None:
    pose = lidar_pose(0.0, 0.0, 2.0, 0.4, roll=0.05)
    sweep = render_sweep(world(WALL), NOBODY, EXACT, pose, pose, rng())
    points = to_global(pose, sweep.points)
    on_ground = np.abs(points[:, 2]) < 1e-3
    near_wall = np.abs(points[:, 0] - 10.0) < 1e-3
    top = (np.abs(points[:, 2] - 5.0) < 1e-3) & (points[:, 0] > 10)
    end = np.abs(np.abs(points[:, 1]) - 40.0) < 1e-3
    assert (on_ground | near_wall | top | end).all()
    assert on_ground.sum() > 1000
    assert near_wall.sum() > 1000


@pytest.mark.parametrize("model", [NUSCENES_32, WAYMO_64])
def test_ring_is_elevation_and_time_is_azimuth(model) -> None:
    quiet = replace(model, range_noise_m=0.0)
    sweep = render_sweep(world(WALL), NOBODY, quiet, lidar_pose(), lidar_pose(), rng())
    reach = np.linalg.norm(sweep.points, axis=1)
    elevation = np.arcsin(sweep.points[:, 2] / reach)
    np.testing.assert_allclose(elevation, np.array(model.beam_elevations_rad)[sweep.ring], atol=1e-5)
    column = np.round(sweep.time_offset_s / model.period_s * model.columns).astype(int) + model.columns - 1
    azimuth = model.start_azimuth_rad - (column + 0.5) * 2 * math.pi / model.columns
    away = np.angle(np.exp(1j * (np.arctan2(sweep.points[:, 1], sweep.points[:, 0]) - azimuth)))
    np.testing.assert_allclose(away, 0.0, atol=1e-5)
    assert sweep.time_offset_s.max() <= 0.0
    assert sweep.time_offset_s.min() > -model.period_s
    assert (np.diff(sweep.time_offset_s) >= 0).all()


def test_empty_world_without_ground_in_reach_and_zero_actors() -> None:
    up_only = exact((2.0, 5.0), 90)
    sweep = render_sweep(world(), NOBODY, up_only, lidar_pose(), lidar_pose(), rng())
    assert sweep.points.shape == (0, 3)
    assert sweep.points.dtype == np.float32
    assert len(sweep.intensity) == len(sweep.ring) == len(sweep.time_offset_s) == len(sweep.actor) == 0
    assert len(render_sweep(world(), NOBODY, NUSCENES_32, lidar_pose(), lidar_pose(), rng()).points) > 10000


def test_same_arguments_same_bytes_and_other_seed_other_bytes() -> None:
    scene = world(
        Primitives.concatenate([WALL, solids((ELLIPSOID, (5, 5, 2), (2, 2, 1), 0), material=Material.FOLIAGE)])
    )
    actors = one_actor(CAR, (6.0, -4.0, 0.0, 1.0), (5.0, 1.0))

    def sweep(seed: int) -> tuple[bytes, ...]:
        out = render_sweep(scene, actors, NUSCENES_32, lidar_pose(), lidar_pose(0.5), np.random.default_rng(seed))
        return tuple(a.tobytes() for a in (out.points, out.intensity, out.ring, out.time_offset_s, out.actor))

    assert sweep(1) == sweep(1)
    assert sweep(1)[0] != sweep(2)[0]


def test_range_noise_has_the_stated_sigma() -> None:
    model = replace(exact((0.0,), 7200), range_noise_m=0.03)
    sweep = render_sweep(world(WALL), NOBODY, model, lidar_pose(), lidar_pose(), rng())
    cosine = sweep.points[:, 1] / np.linalg.norm(sweep.points, axis=1)
    error = (sweep.points[:, 1] - 10.0) / cosine
    assert error.std() == pytest.approx(0.03, rel=0.1)
    assert abs(error.mean()) < 0.003


def test_far_dark_and_glass_surfaces_drop_returns() -> None:
    def seen(material: int, x: float) -> int:
        wall = solids((BOX, (x, 0.0, 3.0), (0.5, x / 2, 3.0), 0.0), material=material)
        model = replace(NUSCENES_32, beam_elevations_rad=(0.0,), columns=3600)
        return len(render_sweep(world(wall), NOBODY, model, lidar_pose(), lidar_pose(), rng()).points)

    assert seen(Material.BUILDING, 10) > 500
    assert seen(Material.TYRE, 80) < 0.3 * seen(Material.BUILDING, 80)
    assert seen(Material.BUILDING, 80) < seen(Material.BUILDING, 10)
    assert seen(Material.GLASS, 10) < 0.35 * seen(Material.BUILDING, 10)
    assert seen(Material.RETRO, 80) > 0.95 * seen(Material.RETRO, 10)


def test_intensity_follows_material_and_stays_a_byte() -> None:
    raster = np.full((200, 200), Material.ROAD, np.uint8)
    raster[100:] = Material.MARKING  # y > 0
    ground = Ground(raster, 0.5, (-50.0, -50.0))
    sweep = render_sweep(world(ground=ground), NOBODY, NUSCENES_32, lidar_pose(), lidar_pose(), rng())
    y = to_global(lidar_pose(), sweep.points)[:, 1]
    assert 3 < sweep.intensity[y < -0.1].mean() < 20
    assert sweep.intensity[y > 0.1].mean() > 4 * sweep.intensity[y < -0.1].mean()
    assert sweep.intensity.min() >= 0
    assert sweep.intensity.max() <= 255
    np.testing.assert_array_equal(sweep.intensity, np.round(sweep.intensity))


def test_leaves_let_rays_in() -> None:
    bush = solids((ELLIPSOID, (8.0, 0.0, 2.0), (1.5, 1.5, 1.5), 0.0), material=Material.FOLIAGE)
    model = replace(exact((0.0, 2.0), 3600), foliage_depth_m=0.5)
    sweep = render_sweep(world(bush), NOBODY, model, lidar_pose(), lidar_pose(), rng())
    inside = np.linalg.norm(to_global(lidar_pose(), sweep.points) - (8.0, 0.0, 2.0), axis=1)
    assert inside.max() <= 1.5 + 1e-4
    assert inside.min() < 0.8
    assert len(sweep.points) < 2 * 3600 * 2 * math.asin(1.5 / 8) / (2 * math.pi)


def test_min_and_max_range() -> None:
    model = exact((-45.0, 0.0), 90, min_range_m=3.0, max_range_m=9.0)
    assert len(render_sweep(world(WALL), NOBODY, model, lidar_pose(), lidar_pose(), rng()).points) == 0


def test_bad_poses_and_models_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        render_sweep(world(), NOBODY, NUSCENES_32, np.full((4, 4), np.nan), lidar_pose(), rng())
    with pytest.raises(ValueError, match="half a turn"):
        render_sweep(world(), NOBODY, NUSCENES_32, lidar_pose(), lidar_pose(yaw=math.pi), rng())
    with pytest.raises(ValueError, match="beams"):
        replace(NUSCENES_32, beam_elevations_rad=())
    with pytest.raises(ValueError, match="min_range_m"):
        replace(NUSCENES_32, max_range_m=0.5)
