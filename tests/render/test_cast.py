"""The kernel against a plain numpy ray tracer that knows no columns, intervals or rectangles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive.render.cast import GROUND_HIT, NO_HIT, cast, footprint, surface_normal
from drive.render.lidar import WAYMO_64, LidarModel, column_poses, render_sweep
from drive.render.scene import BOX, CYLINDER, ELLIPSOID, Actors, Primitives, scene_solids
from tests.render.worlds import camera_pose, exact, lidar_pose, one_actor, solids, world


def trace(kind, shape, origin, direction) -> np.ndarray:
    """t [R] of the entry into one solid (inf: missed, or the origin is inside); rays [R, 3]."""
    cos, sin = shape[6], shape[7]
    turn = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
    o, d = (origin - shape[:3]) @ turn.T / shape[3:6], direction @ turn.T / shape[3:6]
    d = np.where(np.abs(d) < 1e-14, 1e-14, d)
    if kind == BOX:
        first, second = np.minimum((-1 - o) / d, (1 - o) / d), np.maximum((-1 - o) / d, (1 - o) / d)
        enter, leave = first.max(axis=1), second.min(axis=1)
        return np.where((enter <= leave) & (enter > 0), enter, np.inf)
    axes = 2 if kind == CYLINDER else 3
    a = (d[:, :axes] ** 2).sum(1)
    b = (o[:, :axes] * d[:, :axes]).sum(1)
    c = (o[:, :axes] ** 2).sum(1) - 1
    disc = b * b - a * c
    root = np.sqrt(np.maximum(disc, 0))
    enter, leave = np.where(disc >= 0, (-b - root) / a, np.inf), np.where(disc >= 0, (-b + root) / a, -np.inf)
    if kind == CYLINDER:
        low, high = (
            np.minimum((-1 - o[:, 2]) / d[:, 2], (1 - o[:, 2]) / d[:, 2]),
            np.maximum((-1 - o[:, 2]) / d[:, 2], (1 - o[:, 2]) / d[:, 2]),
        )
        enter, leave = np.maximum(enter, low), np.minimum(leave, high)
    return np.where((enter <= leave) & (enter > 0), enter, np.inf)


def random_solids(rng: np.random.Generator, count: int, spread: float = 25.0) -> Primitives:
    centre = rng.uniform(-spread, spread, (count, 3))
    centre[:, 2] = rng.uniform(-1.0, 6.0, count)
    half = rng.uniform(0.1, 3.0, (count, 3))
    kind = rng.integers(0, 3, count)
    half[kind == CYLINDER, 1] = half[kind == CYLINDER, 0]
    return Primitives(
        kind, centre, half, rng.uniform(-4, 4, count), rng.integers(0, 15, count), rng.integers(0, 255, (count, 3)),
        rng.integers(0, 3, count),
    )  # fmt: skip


def check_against_trace(kind, shapes, velocity, origin, along, up, time, slope, far, distance, hit) -> None:
    ray_origin = np.repeat(origin, len(slope), axis=0)
    ray = (along[:, None] + slope[None, :, None] * up[:, None]).reshape(-1, 3)
    ray_time = np.repeat(time, len(slope))
    limit = np.tile(far, len(origin))
    with np.errstate(divide="ignore", invalid="ignore"):
        ground = np.where((ray[:, 2] < 0) & (ray_origin[:, 2] > 0), -ray_origin[:, 2] / ray[:, 2], np.inf)
    every = [np.where(ground < limit, ground, np.inf)]
    for k, s, v in zip(kind, shapes, velocity, strict=True):
        moved = ray_origin - np.column_stack([ray_time[:, None] * v, np.zeros(len(ray_time))])
        every.append(trace(k, s, moved, ray))
    table = np.array(every)
    nearest = np.minimum(table.min(axis=0), limit)
    t, who = distance.reshape(-1), hit.reshape(-1)
    # A ray that grazes an edge may go either way in the last bit; nothing else may differ.
    good = np.abs(t - nearest) <= 1e-4 * (1 + nearest)
    assert (~good).mean() < 2e-4, (t[~good][:5], nearest[~good][:5])
    solid = good & (who != NO_HIT)
    chosen = table[np.where(who[solid] == GROUND_HIT, 0, who[solid] + 1), np.flatnonzero(solid)]
    np.testing.assert_allclose(chosen, t[solid], rtol=1e-4, atol=1e-4)
    assert (nearest[good & (who == NO_HIT)] >= limit[good & (who == NO_HIT)] * (1 - 1e-6)).all()


def check_sweep(primitives: Primitives, actor: Actors, model: LidarModel, start: np.ndarray, end: np.ndarray) -> None:
    kind, shapes, velocity, *_ = scene_solids(world(primitives), actor)
    poses = column_poses(model, start, end)
    slope = np.tan(np.array(model.beam_elevations_rad))
    far = 80.0 / np.sqrt(1 + slope**2)
    rays = (model.columns, len(slope))
    distance, hit = np.empty(rays, np.float32), np.empty(rays, np.int32)
    cast(
        kind, shapes, velocity, np.zeros(len(kind), bool), poses.origin, poses.along, poses.up, poses.time_s,
        poses.azimuth, slope, far, poses.frame, poses.pad_m, poses.pad_rad, 0.0, 0, distance, hit,
    )  # fmt: skip
    check_against_trace(
        kind, shapes, velocity, poses.origin, poses.along, poses.up, poses.time_s, slope, far, distance, hit
    )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), roll=st.sampled_from([0.0, 0.0, 0.03, -0.2]), step=st.sampled_from([0.0, 1.5]))
def test_lidar_columns_equal_brute_force(seed: int, roll: float, step: float) -> None:
    rng = np.random.default_rng(seed)
    actor = one_actor(random_solids(rng, 6, 4.0), (6.0, -3.0, 0.0, 0.7), (-12.0, 9.0))
    model = exact((-30.0, -12.0, -5.0, -1.0, 0.0, 0.7, 4.0, 20.0), columns=120, clockwise=bool(seed % 2))
    start, end = lidar_pose(0, 0, 2, 0.3, roll), lidar_pose(step, step / 2, 2.05, 0.3 + step / 20, roll)
    check_sweep(random_solids(rng, 30), actor, model, start, end)


@pytest.mark.parametrize("kind", [BOX, CYLINDER])
@pytest.mark.parametrize(("roll", "turn"), [(0.25, 0.0), (0.0, 0.3), (-0.2, -0.2)])
def test_thin_poles_are_not_lost_when_the_sensor_leans_or_turns(kind: int, roll: float, turn: float) -> None:
    """A pole is narrower than a column's step: whatever the broad phase forgets shows here."""
    angle = np.arange(40) * 2 * math.pi / 40
    poles = solids(*((kind, (12 * math.cos(a), 12 * math.sin(a), 3.0), (0.1, 0.1, 3.0), a) for a in angle))
    model = exact((-8.0, -4.0, 0.0, 6.0, 14.0), columns=900)
    check_sweep(poles, Actors.empty(), model, lidar_pose(yaw=0.0, roll=roll), lidar_pose(yaw=turn, roll=roll))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_camera_columns_equal_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind, shapes, velocity, *_ = scene_solids(
        world(random_solids(rng, 30)), one_actor(random_solids(rng, 3, 2), (8, 1, 0, 2))
    )
    pose = camera_pose(0, 0, 1.5, rng.uniform(-4, 4))
    across = (np.arange(48) + 0.5 - 24) / 30.0
    slope = ((15 - 0.5 - np.arange(30)) / 30.0)[::-1].copy()
    along = pose[:3, 2] + across[:, None] * pose[:3, 0]
    origin, up = np.tile(pose[:3, 3], (48, 1)), np.tile([0.0, 0.0, 1.0], (48, 1))
    distance, hit = np.empty((48, 30), np.float32), np.empty((48, 30), np.int32)
    frame = np.stack([pose[:3, 3], pose[:3, 2], pose[:3, 0], [0.0, 0.0, 1.0]])
    far = np.full(30, 60.0)
    cast(
        kind, shapes, velocity, np.zeros(len(kind), bool), origin, along, up, np.zeros(48), np.arctan(across), slope,
        far, frame, 0.0, 0.0, 0.0, 0, distance, hit,
    )  # fmt: skip
    check_against_trace(kind, shapes, velocity, origin, along, up, np.zeros(48), slope, far, distance, hit)


@pytest.mark.parametrize(
    ("kind", "point", "normal"),
    [
        (BOX, (2.0, 0.3, 0.2), (1, 0, 0)),
        (BOX, (0.5, -1.0, 0.2), (0, -1, 0)),
        (BOX, (0.5, 0.2, 3.0), (0, 0, 1)),
        (CYLINDER, (0.0, 1.0, 0.5), (0, 1, 0)),
        (CYLINDER, (0.2, 0.2, -3.0), (0, 0, -1)),
        (ELLIPSOID, (0.0, 0.0, 3.0), (0, 0, 1)),
        (ELLIPSOID, (-2.0, 0.0, 0.0), (-1, 0, 0)),
    ],
)
def test_normals_point_outwards(kind: int, point: tuple, normal: tuple) -> None:
    half = (1.0, 1.0, 3.0) if kind == CYLINDER else (2.0, 1.0, 3.0)
    for yaw in (0.0, 0.5, math.pi / 2):
        shape = solids((kind, (5, 5, 5), half, yaw)).shapes[0]
        cos, sin = math.cos(yaw), math.sin(yaw)
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        np.testing.assert_allclose(surface_normal(kind, shape, *(turn @ point)), turn @ normal, atol=1e-12)


def test_footprint_on_paper() -> None:
    np.testing.assert_allclose(footprint(BOX, -5.0, 0.0, 1.0, 0.0, 2.0, 1.0), (3.0, 7.0))
    np.testing.assert_allclose(footprint(CYLINDER, -5.0, 0.0, 1.0, 0.0, 2.0, 2.0), (3.0, 7.0))
    for kind in (BOX, CYLINDER):
        enter, leave = footprint(kind, -5.0, 3.0, 1.0, 0.0, 2.0, 2.0)
        assert enter > leave


def test_waymo_pattern_sweep_has_all_rings_on_the_ground() -> None:
    sweep = render_sweep(
        world(), one_actor(solids(), (0, 0, 0, 0)), WAYMO_64, lidar_pose(), lidar_pose(), np.random.default_rng(0)
    )
    assert 20 < len(np.unique(sweep.ring)) < 64
    assert np.diff(WAYMO_64.beam_elevations_rad).max() < 0
    np.testing.assert_allclose(np.degrees(np.array(WAYMO_64.beam_elevations_rad)[[0, -1]]), [2.4, -17.6], atol=0.01)
