from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drive.plans.baselines import BASELINES, ConstantVelocity, IdmLaneFollower, LogReplay, Stop
from drive.plans.plan import to_scene
from drive.plans.planner import HISTORY, Observation, Planner, ScenePlanner
from drive.samples.scene import RED, VX, Actors, Lights, Scene
from tests.samples.hand_made_scene import actors, drive, scene


def observe(given: Scene, ego: np.ndarray | None = None, at: int = 0) -> Observation:
    """What is known at an instant of the recorded drive, or of an ego that stands elsewhere."""
    history = np.zeros((HISTORY, 11))
    history[-1] = given.ego[at] if ego is None else ego
    valid = np.zeros(HISTORY, bool)
    valid[-1] = True

    def past(values: np.ndarray, axis: int) -> np.ndarray:
        return np.repeat(np.take(values, [at], axis=axis), HISTORY, axis=axis)

    a = given.actors
    known = Actors(
        past(a.box, 1), past(a.velocity, 1), past(a.valid, 1), a.kind, a.token, past(a.ground_z, 1)
    )  # fmt: skip
    lights = Lights(past(given.lights.state, 0), given.lights.lane, given.lights.stop_xy)
    return Observation(
        given.name, int(given.timestamps_ns[at]), at, history, valid, given.vehicle, known, lights, given.map,
        given.route, 1,
    )  # fmt: skip


def test_all_are_planners() -> None:
    assert list(BASELINES) == ["log_replay", "stop", "constant_velocity", "idm"]
    assert all(isinstance(p, Planner) for p in BASELINES.values())
    assert isinstance(BASELINES["log_replay"], ScenePlanner)
    assert not isinstance(BASELINES["idm"], ScenePlanner)


def test_log_replay_goes_where_the_log_went_from_wherever_it_is() -> None:
    given = scene(drive(10.0))
    beside = given.ego[50].copy()
    beside[:3] += [0.0, 1.0, 0.3]
    plan = LogReplay().for_scene(given).plan(observe(given, beside, 50))
    poses = to_scene(plan.poses, beside[:3])
    np.testing.assert_allclose(poses[:, 0], 50 + 10 * plan.times_s)  # past the log's end at 80 m too
    np.testing.assert_allclose(poses[:, 1:], 0.0, atol=1e-9)
    with pytest.raises(ValueError, match="for_scene"):
        LogReplay().plan(observe(given))


def test_stop_and_constant_velocity() -> None:
    given = scene(drive(9.0))
    stop = Stop().plan(observe(given)).poses
    assert stop[-1, 0] == pytest.approx(81 / 6)
    assert (np.diff(stop[:, 0]) >= -1e-12).all()
    assert np.abs(stop[:, 1:]).max() == 0
    np.testing.assert_allclose(ConstantVelocity().plan(observe(given)).poses[[4, -1], 0], [4.5, 36.0])


def test_idm_keeps_ten_metres_a_second_on_a_free_road() -> None:
    given = scene(drive(10.0))
    poses = IdmLaneFollower().plan(observe(given)).poses
    np.testing.assert_allclose(poses[:, 0], 10 * np.arange(1, 41) * 0.1)
    np.testing.assert_allclose(poses[:, 1:], 0.0, atol=1e-9)


def test_idm_comes_back_to_its_lane_without_a_jerk() -> None:
    given = scene(drive(10.0))
    ego = given.ego[0].copy()
    ego[1] = 1.0
    poses = to_scene(IdmLaneFollower().plan(observe(given, ego)).poses, ego[:3])
    assert poses[0, 1] == pytest.approx(1.0, abs=0.01)
    assert poses[-1, 1] == pytest.approx(0.0, abs=1e-9)
    assert np.abs(poses[:, 2]).max() < 0.06


def test_idm_brakes_for_who_is_ahead_and_for_red() -> None:
    car = scene(drive(10.0), actors((40.0, 0.0, 0.0, 0.0)))
    free, held = (IdmLaneFollower().plan(observe(s)).poses[:, 0] for s in (scene(drive(10.0)), car))
    assert held[-1] < free[-1] - 5
    # It never runs into it: the car's rear is at 38, the bumper 4.049 ahead of the axle.
    assert held[-1] + 4.049 < 38.0
    lane = car.map.lane_ids.index("a")
    state = np.full((len(car.ego), 1), RED, np.int8)
    red = scene(drive(10.0), lights=Lights(state, np.array([lane]), np.array([[40.0, 0.0]])))
    assert IdmLaneFollower().plan(observe(red)).poses[-1, 0] + 4.049 < 40.0
    elsewhere = Lights(state, np.array([red.map.lane_ids.index("against")]), np.array([[40.0, 0.0]]))
    np.testing.assert_allclose(IdmLaneFollower().plan(observe(replace(red, lights=elsewhere))).poses[:, 0], free)


def test_idm_follows_the_lanes_own_limit() -> None:
    given = scene(drive(10.0))
    limited = replace(
        given.map, speed_limit_mps=np.full(len(given.map.lane_ids), 5.0),
        speed_limit_valid=np.ones(len(given.map.lane_ids), bool),
    )  # fmt: skip
    slow = IdmLaneFollower().plan(observe(replace(given, map=limited))).poses[:, 0]
    assert slow[-1] < 25.0


def test_idm_without_a_route_says_so() -> None:
    with pytest.raises(ValueError, match="needs a route"):
        IdmLaneFollower().plan(observe(replace(scene(), route=None)))


def test_an_observation_needs_the_present() -> None:
    seen = observe(scene())
    with pytest.raises(ValueError, match="the last one valid"):
        replace(seen, ego_valid=np.zeros(HISTORY, bool))
    assert seen.ego[-1, VX] == 10.0
