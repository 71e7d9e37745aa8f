"""The tracker and its plant: the golden rows of the specification, and a slow fit by dense least squares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drive.dynamics.bicycle import EGO_COLUMNS, BicycleConfig, advance
from drive.dynamics.controller import Tracker, TrackerConfig, reference_poses, speed_matrix, track
from drive.dynamics.vehicle import Vehicle

HALF_SECONDS = np.arange(1, 9) * 0.5
X, Y, HEADING, V, A, STEERING, YAW_RATE = (
    EGO_COLUMNS.index(name) for name in ("x", "y", "heading", "vx", "ax", "steering", "yaw_rate")
)


def ego(speed: float, x: float = 0.0, y: float = 0.0, heading: float = 0.0) -> np.ndarray:
    state = np.zeros(11)
    state[[X, Y, HEADING, V]] = x, y, heading, speed
    return state


def drive(poses: np.ndarray, speed: float) -> np.ndarray:
    start = ego(speed)
    return track(reference_poses(poses[None], HALF_SECONDS, start), start)[0]


def straight(speed: float, y: float = 0.0) -> np.ndarray:
    return np.stack([speed * HALF_SECONDS, np.full(8, y), np.zeros(8)], axis=1)


# Specification, section 9: four decimals, at 1, 2 and 4 s.


def test_plan_at_its_own_speed() -> None:
    states = drive(straight(8.0), 8.0)
    assert states[-1, X] == pytest.approx(32.0, abs=1e-9)
    assert np.abs(states[:, [A, STEERING, Y]]).max() < 1e-9


def test_plan_faster_than_the_vehicle() -> None:
    states = drive(straight(8.0), 5.0)
    assert states[1, A] == pytest.approx(0.909, abs=5e-4)  # (10 / 11) * 3, a third of it in the first step
    np.testing.assert_allclose(states[[10, 20, 40], X], [5.7448, 12.9767, 28.7177], atol=5e-5)
    np.testing.assert_allclose(states[[10, 20, 40], V], [6.7365, 7.6482, 7.9772], atol=5e-5)
    assert states[:, A].max() == pytest.approx(2.054, abs=5e-4)


def test_plan_one_metre_to_the_left() -> None:
    states = drive(straight(8.0, y=1.0), 8.0)
    np.testing.assert_allclose(states[[10, 20, 40], Y], [0.0539, 0.5225, 1.1444], atol=5e-5)
    np.testing.assert_allclose(states[[10, 20, 40], HEADING], [0.0315, 0.0782, -0.0156], atol=5e-5)


def test_plan_to_stop_at_once() -> None:
    states = drive(np.zeros((8, 3)), 8.0)
    np.testing.assert_allclose(states[[10, 20, 40], X], [6.0138, 8.0621, 8.7631], atol=5e-5)
    np.testing.assert_allclose(states[[10, 20, 40], V], [3.3692, 0.9381, 0.0895], atol=5e-5)
    assert states[:, A].min() == pytest.approx(-5.477, abs=5e-4)


def test_plan_on_an_arc() -> None:
    turned = 6.0 * HALF_SECONDS / 20.0
    states = drive(np.stack([20 * np.sin(turned), 20 * (1 - np.cos(turned)), turned], axis=1), 6.0)
    np.testing.assert_allclose(states[20, [X, Y]], [11.4943, 2.5373], atol=5e-5)
    np.testing.assert_allclose(states[40, [X, Y, HEADING]], [18.1766, 12.2390, 1.2517], atol=5e-5)


def wild_plans(seed: int, count: int) -> np.ndarray:
    """Plans [P, 41, 3] with turns, stops and reversing, headings near the path's."""
    rng = np.random.default_rng(seed)
    speed = rng.uniform(-1, 15, (count, 1)) + np.cumsum(rng.normal(0, 0.2, (count, 40)), axis=1)
    turn = np.cumsum(rng.normal(0, 0.02, (count, 40)), axis=1)
    heading = np.concatenate([np.zeros((count, 1)), np.cumsum(turn * 0.1, axis=1)], axis=1) + 3.0
    step = 0.1 * speed[..., None] * np.stack([np.cos(heading[:, :-1]), np.sin(heading[:, :-1])], axis=-1)
    path = np.concatenate([np.zeros((count, 1, 2)), np.cumsum(step, axis=1)], axis=1)
    return np.concatenate([path, heading[..., None]], axis=2)


def test_profiles_are_the_least_squares_fits() -> None:
    """Against the stacked systems of the original formulation, by an orthogonal method."""
    plans = wild_plans(0, 20)
    profiles = Tracker().profiles(plans)
    dt, zero = 0.1, np.zeros(40)
    bend = np.sqrt(1e-4) * np.diff(np.eye(40), n=2, axis=0) / dt
    change = np.sqrt(1e-2) * np.diff(np.eye(40), axis=0) / dt
    first = np.sqrt(1e-10) * np.eye(1, 40)
    for plan, speed, curvature in zip(plans, *profiles, strict=True):
        cos, sin = np.diag(np.cos(plan[:-1, 2])), np.diag(np.sin(plan[:-1, 2]))
        system = np.concatenate([dt * cos, dt * sin, bend])
        wanted = np.concatenate([np.diff(plan[:, 0]), np.diff(plan[:, 1]), zero[:38]])
        np.testing.assert_allclose(speed, np.linalg.lstsq(system, wanted)[0], atol=1e-9)
        system = np.concatenate([np.diag(dt * speed), change, first])
        wanted = np.concatenate([np.diff(plan[:, 2]), zero])
        np.testing.assert_allclose(curvature, np.linalg.lstsq(system, wanted)[0], atol=1e-7)


def test_lateral_command_is_the_composed_problem() -> None:
    """One step against ten composed 3x3 matrices."""
    plan, start = wild_plans(1, 1), ego(7.0, x=0.3, y=-0.4, heading=2.8)
    start[STEERING] = 0.1
    profiles, L, dt = Tracker().profiles(plan), Vehicle().wheelbase, 0.1
    after = Tracker().step(plan, profiles, np.zeros(1, np.int64), start)[0]
    a = -10 / 11 * (7.0 - profiles.speed_mps[0, 10])
    mapped, pushed, drift = np.eye(3), np.zeros(3), np.zeros(3)
    for j in range(10):
        way = dt * (7.0 + j * dt * a)
        one = np.array([[1, way, 0], [0, 1, way / L], [0, 0, 1]])
        mapped, pushed = one @ mapped, one @ pushed + [0, 0, dt]
        drift = one @ drift + [0, -way * profiles.curvature_1pm[0, j], 0]
    dx, dy, heading = start[X] - plan[0, 0, 0], start[Y] - plan[0, 0, 1], plan[0, 0, 2]
    error = mapped @ [dy * np.cos(heading) - dx * np.sin(heading), start[HEADING] - heading, 0.1] + drift
    weights = np.array([1.0, 10.0, 0.0])
    rate = -(pushed * weights @ error) / (pushed * weights @ pushed + 1.0)
    assert after[STEERING] == pytest.approx(0.1 + 2 / 3 * dt * rate, abs=1e-12)
    assert after[A] == pytest.approx(a / 3, abs=1e-12)


def test_steps_are_the_track() -> None:
    plans = wild_plans(2, 6)
    tracker, states = Tracker(), np.stack([ego(v, heading=3.0) for v in (0.0, 0.1, 3.0, 6.0, 9.0, 14.0)])
    together, profiles = tracker.track(plans, states), tracker.profiles(plans)
    for k in range(40):
        states = tracker.step(plans, profiles, np.full(6, k), states)
        np.testing.assert_array_equal(states, together[:, k + 1])
    after_the_end = tracker.step(plans, profiles, np.full(6, 99), states)
    np.testing.assert_array_equal(after_the_end, tracker.step(plans, profiles, np.full(6, 39), states))


def test_stopping_holds_the_wheel() -> None:
    """Below 0.2 m/s with a plan that stands: braking by half of the speed, no steering."""
    start = ego(0.15, y=0.5)
    states = track(np.zeros((1, 41, 3)), start)[0]
    assert states[1, A] == pytest.approx(-0.5 * 0.15 / 3)
    assert np.all(states[:, STEERING] == 0.0)


@settings(max_examples=20, deadline=None)
@given(st.floats(-1000, 1000), st.floats(-1000, 1000), st.floats(-3.1, 3.1), st.integers(0, 1000))
def test_moving_the_world_moves_the_states(x: float, y: float, turn: float, seed: int) -> None:
    plans = wild_plans(seed, 3)
    start = ego(6.0, heading=3.0)
    here = track(plans, start)
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = np.array([[cos, -sin], [sin, cos]])
    moved = np.concatenate([plans[..., :2] @ matrix.T + [x, y], plans[..., 2:] + turn], axis=2)
    there = track(moved, ego(6.0, x=x, y=y, heading=3.0 + turn))
    np.testing.assert_allclose(there[..., :2], here[..., :2] @ matrix.T + [x, y], atol=1e-8)
    np.testing.assert_allclose(there[..., V:], here[..., V:], atol=1e-7)
    assert np.abs(np.sin(there[..., HEADING] - here[..., HEADING] - turn)).max() < 1e-9


def test_reference_is_linear_and_takes_the_short_way_round() -> None:
    start = ego(0.0, x=10.0, y=20.0, heading=np.pi / 2)
    poses = np.array([[[1.0, 0.0, 3.0], [3.0, 2.0, -3.0]]])
    reference = reference_poses(poses, np.array([1.0, 2.0]), start, horizon_s=2.0)[0]
    assert reference.shape == (21, 3)
    np.testing.assert_allclose(reference[0], [10, 20, np.pi / 2])
    np.testing.assert_allclose(reference[5], [10, 20.5, np.pi / 2 + 1.5], atol=1e-12)
    np.testing.assert_allclose(reference[15, :2], [9, 22], atol=1e-12)
    assert reference[15, 2] == pytest.approx(np.pi / 2 + np.pi)  # from 3 to -3 across pi
    np.testing.assert_allclose(reference[20], [8, 23, np.pi / 2 + 2 * np.pi - 3], atol=1e-12)


def test_plant_by_hand() -> None:
    """Old speed, heading and steering move it; the yaw rate is of the new ones; the steering has a stop."""
    start = ego(10.0)
    start[STEERING] = 0.2
    after = advance(start[None], np.array([3.0]), np.array([30.0]), Vehicle())[0]
    assert after[X] == pytest.approx(1.0)
    assert after[HEADING] == pytest.approx(10 * np.tan(0.2) / 3.089 * 0.1)
    assert after[A] == pytest.approx(1.0)
    assert after[V] == pytest.approx(10.1)
    assert after[STEERING] == pytest.approx(np.pi / 3)  # 0.2 + 2/3 * 3 is beyond the stop
    assert after[YAW_RATE] == pytest.approx(10.1 * np.tan(np.pi / 3) / 3.089)


def test_vehicle() -> None:
    assert Vehicle().length == pytest.approx(5.176)
    assert Vehicle().centre == pytest.approx(1.461)
    with pytest.raises(ValueError, match="wheelbase"):
        Vehicle(wheelbase=0.0)


def test_empty() -> None:
    assert track(np.zeros((0, 41, 3)), np.zeros((0, 11))).shape == (0, 41, 11)
    assert reference_poses(np.zeros((0, 8, 3)), HALF_SECONDS, np.zeros((0, 11))).shape == (0, 41, 3)
    assert advance(np.zeros((0, 11)), np.zeros(0), np.zeros(0), Vehicle()).shape == (0, 11)
    assert Tracker().profiles(np.zeros((0, 41, 3))).speed_mps.shape == (0, 40)


def test_a_plan_that_is_not_a_number_spoils_only_itself() -> None:
    plans = np.zeros((2, 41, 3))
    plans[0, 7] = np.nan
    states = track(plans, ego(5.0))
    assert np.isnan(states[0]).any()
    assert np.isfinite(states[1]).all()


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="3 steps"):
        track(np.zeros((1, 3, 3)), np.zeros(11))
    with pytest.raises(ValueError, match="states"):
        track(np.zeros((2, 41, 3)), np.zeros((3, 11)))
    with pytest.raises(ValueError, match="increase"):
        reference_poses(np.zeros((1, 2, 3)), np.array([2.0, 3.0]), np.zeros(11))
    with pytest.raises(ValueError, match="2 steps ahead"):
        Tracker(config=TrackerConfig(lookahead_steps=1)).track(np.zeros((1, 41, 3)), np.zeros(11))
    with pytest.raises(ValueError, match="lags"):
        advance(np.zeros((1, 11)), np.zeros(1), np.zeros(1), Vehicle(), BicycleConfig(step_s=0.0))
    with pytest.raises(ValueError, match="read-only"):
        speed_matrix(40, 0.1, 1e-4)[0, 0] = 1.0
