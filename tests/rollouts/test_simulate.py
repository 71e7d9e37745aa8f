"""Simulated drives: what happens on a road made by hand is worked out on paper."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from drive.dynamics.controller import Tracker
from drive.plans.baselines import ConstantVelocity, IdmLaneFollower, LogReplay, Stop
from drive.plans.plan import Plan, resample, to_scene
from drive.plans.planner import HISTORY, Observation
from drive.rollouts.config import ActorConfig, SimulationConfig
from drive.rollouts.rollout import Rollout
from drive.rollouts.simulate import Reference, rerun, simulate, step
from drive.rollouts.state import build_world, start_state
from drive.samples.scene import HEADING, RED, STATIC, VX, Actors, Lights, Scene, SceneMap, X, Y
from drive.samples.scene_map import build_map
from tests.samples.hand_made_scene import actors, drive, lane, scene

PERFECT = SimulationConfig(tracking="perfect")
TIMES = np.arange(1, 9) * 0.5


# README: your planner in 30 lines. This is the whole of it.
class Straight:
    name = "straight"

    def plan(self, observation: Observation) -> Plan:
        speed = observation.ego[-1, VX]
        return Plan(np.stack([speed * TIMES, 0 * TIMES, 0 * TIMES], axis=1), TIMES)


@dataclass
class Fails:
    """Drives straight on, and fails in one scene after a while."""

    how: str
    where: str = "b@0"
    name: str = "fails"

    def plan(self, observation: Observation) -> Plan:
        if observation.scene == self.where and observation.step >= 10:
            if self.how == "raises":
                raise RuntimeError("no idea\nat all")
            if self.how == "sleeps":
                time.sleep(2.0)
            if self.how == "nothing":
                return None  # type: ignore[return-value]
            if self.how == "nan":
                plan = Straight().plan(observation)
                plan.poses[3, 1] = np.nan
                return plan
        return Straight().plan(observation)


def only(rollouts: Sequence[Rollout]) -> Rollout:
    assert len(rollouts) == 1
    return rollouts[0]


def collision(given: Scene, planner: object, config: SimulationConfig = PERFECT) -> tuple[float, str, bool]:
    found = [i for i in only(simulate([given], planner, config)).infractions if i.kind == "collision"]  # type: ignore[arg-type]
    assert len(found) == 1
    return found[0].time_s, found[0].what, found[0].at_fault


# --- the drive itself ---------------------------------------------------------------------------------------------


def test_log_replay_is_the_log() -> None:
    ego = drive(10.0)
    ego[:, Y] = 0.02 * (0.1 * np.arange(len(ego))) ** 2
    ego[:, HEADING] = np.arctan2(0.04 * 0.1 * np.arange(len(ego)), 10.0)
    for tracking, near in (("perfect", 1e-9), ("lqr", 0.25)):
        done = only(simulate([scene(ego)], LogReplay(), SimulationConfig(tracking=tracking)))  # type: ignore[arg-type]
        assert (done.end, done.failure, len(done.ego)) == ("end of the log", "", 81)
        np.testing.assert_allclose(done.ego[:, [X, Y]], ego[:, [X, Y]], atol=near)
        assert done.infractions == ()
        assert done.along_m[-1] - done.along_m[0] == pytest.approx(80.0, abs=0.3)


def test_the_tracker_is_the_scores_tracker() -> None:
    """Until the next plan, the drive is `Tracker.track` of the first one."""
    given = scene(drive(5.0))

    class Wish(Straight):
        def plan(self, observation: Observation) -> Plan:
            return Plan(np.stack([8 * TIMES, 0.2 * TIMES, 0 * TIMES], axis=1), TIMES)

    done = only(simulate([given], Wish(), SimulationConfig(replan_s=4.0)))
    reference = to_scene(resample(Wish().plan(None), 0.1 * np.arange(41)), given.ego[0, :3])  # type: ignore[arg-type]
    wanted = Tracker(given.vehicle).track(reference[None], given.ego[0])[0]
    np.testing.assert_allclose(done.ego[:41], wanted, atol=1e-12)
    assert done.plans.step.tolist() == [0, 40]


def test_steps_are_pure() -> None:
    world = build_world([scene(drive(10.0), actors((30.0, 0.0, 0.0, 5.0)))], SimulationConfig())
    state = start_state(world)
    straight = np.stack([np.arange(41.0), np.zeros(41), np.zeros(41)], axis=1)[None]
    reference = Reference(straight, Tracker().profiles(straight), np.zeros(1, np.int64))
    before = [a.copy() for a in (state.ego, state.box, straight)]
    one, two = (step(world, state, reference, SimulationConfig()) for _ in range(2))
    for a, b in zip(before, (state.ego, state.box, straight), strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("ego", "box", "velocity", "valid", "along", "speed"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    np.testing.assert_allclose(one.box[0, 0, :2], [30.5, 0.0])
    assert one.step == 1


def test_drives_do_not_touch_each_other() -> None:
    scenes = [
        scene(drive(10.0), actors((60.0, 0.0, 0.0, 0.0)), name="a@0"),
        scene(drive(6.0, steps=41), name="b@0"),
        scene(drive(8.0), actors((40.0, 0.0, 0.0, 2.0), (10.0, 3.5, 0.0, 9.0)), name="c@0"),
    ]
    config = SimulationConfig(actors=ActorConfig(mode="idm"))
    together = simulate(scenes, IdmLaneFollower(), config)
    for given, one in zip(scenes, together, strict=True):
        alone = rerun(given, IdmLaneFollower(), config)
        np.testing.assert_array_equal(alone.ego, one.ego)
        np.testing.assert_array_equal(alone.actors.box, one.actors.box)
        assert alone.infractions == one.infractions
    assert [len(r.ego) for r in together] == [81, 41, 81]


def test_no_scenes_and_nobody_there() -> None:
    assert simulate([], Straight()) == []
    alone = only(simulate([scene(drive(3.0), around=SceneMap.empty())], Straight(), PERFECT))
    assert (alone.end, alone.infractions, alone.road_known, alone.route_known) == ("end of the log", (), False, False)
    np.testing.assert_array_equal(alone.off_road_m, 0.0)


def test_latency_delays_every_plan_but_the_first() -> None:
    class Brake(Straight):
        def plan(self, observation: Observation) -> Plan:
            return Stop().plan(observation) if observation.step >= 10 else super().plan(observation)

    speeds = {}
    for latency in (0.0, 0.2):
        done = only(simulate([scene(drive(10.0))], Brake(), replace(PERFECT, latency_s=latency)))
        speeds[latency] = done.ego[:, VX]
    # The plan to brake at 3 m/s^2 is made at step 10 (speed of the step behind it).
    np.testing.assert_allclose(speeds[0.0][9:13], [10.0, 10.0, 9.85, 9.55], atol=1e-6)
    # Two steps later its place is where the plan had it then: the ego, which drove on, jumps back to it.
    np.testing.assert_allclose(speeds[0.2][9:13], 10.0, atol=1e-6)
    assert speeds[0.2][13] < 9.5


# --- what planners see --------------------------------------------------------------------------------------------


def test_what_is_observed() -> None:
    seen: list[Observation] = []

    class Notes(Straight):
        def plan(self, observation: Observation) -> Plan:
            seen.append(observation)
            return super().plan(observation)

    others = actors((30.0, 0.0, 0.0, 10.0), (0.0, 3.5, 0.0, 10.0))
    valid = others.valid.copy()
    valid[1, :30] = False  # seen from 3 s on
    others = replace(others, valid=valid)
    state = np.zeros((81, 1), np.int8)
    state[12:] = RED
    given = scene(drive(10.0), others, now=5, lights=Lights(state, np.array([0]), np.array([[400.0, 0.0]])))
    simulate([given], Notes(), PERFECT)
    first, later = seen[0], seen[5]
    assert (first.step, first.timestamp_ns, later.step) == (0, 500_000_000, 25)
    assert first.ego.shape == (HISTORY, 11)
    assert first.ego_valid.tolist() == [False] * 15 + [True] * 6
    np.testing.assert_allclose(first.ego[-1, :2], [5.0, 0.0])
    assert first.actors.token == ("car-0",)
    assert later.actors.token == ("car-0", "car-1")
    np.testing.assert_allclose(later.actors.box[0, -1, :2], [60.0, 0.0])
    np.testing.assert_allclose(later.ego[:, X], np.arange(10.0, 31.0))  # simulated and recorded in one row
    assert later.actors.valid[1].tolist() == [False] * 20 + [True]
    assert first.lights.state[-1, 0] == 0
    assert later.lights.state[-1, 0] == RED
    with pytest.raises(ValueError, match="read-only"):
        later.ego[0, 0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        later.actors.box[0, 0, 0] = 1.0


def test_a_planner_for_many_is_called_once() -> None:
    calls: list[int] = []

    class Many(Straight):
        def plan_many(self, observations: Sequence[Observation]) -> list[Plan]:
            calls.append(len(observations))
            if any(o.scene == "b@0" and o.step >= 10 for o in observations):
                raise RuntimeError("one of you")
            return [self.plan(o) for o in observations]

    done = simulate([scene(name=n) for n in ("a@0", "b@0")], Many(), PERFECT)
    assert calls[:2] == [2, 2]
    assert [r.failed for r in done] == [False, False]  # each asked alone, both answered


# --- planners that fail -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raises", "raised RuntimeError: no idea (1.0 s after the start)"),
        ("nan", "returned a plan with a number that is not finite (1.0 s after the start)"),
        ("nothing", "returned NoneType, not a Plan (1.0 s after the start)"),
        ("sleeps", "took longer than 0.5 s (1.0 s after the start)"),
    ],
)
def test_a_planner_that_fails_ends_its_own_drive_only(how: str, said: str) -> None:
    config = replace(PERFECT, time_limit_s=0.5 if how == "sleeps" else None)
    done = simulate([scene(name=f"{n}@0") for n in "abc"], Fails(how), config)
    assert [r.failure for r in done] == ["", said, ""]
    assert [r.end for r in done] == ["end of the log", "planner failed", "end of the log"]
    assert [len(r.ego) for r in done] == [81, 11, 81]
    assert [r.failed for r in done] == [False, True, False]


def test_a_planner_that_cannot_start() -> None:
    class Picky(Straight):
        def for_scene(self, given: Scene) -> Straight:
            if given.name == "b@0":
                raise KeyError("weights")
            return self

    done = simulate([scene(name=f"{n}@0") for n in "ab"], Picky(), PERFECT)
    assert done[0].failure == ""
    assert done[1].failure == "for_scene raised KeyError: 'weights'"
    assert len(done[1].plans) == 0
    lost = only(simulate([scene(drive(10.0), around=SceneMap.empty())], IdmLaneFollower()))
    assert "needs a route" in lost.failure


# --- contacts: the ego's bumper is 4.049 m ahead of its axle, its tail 1.127 m behind ---------------------------------


def test_into_the_back_of_a_standing_car() -> None:
    # Bumper meets tail when x + 4.049 = 28: at 10 m/s from 0 between 2.3 s and 2.4 s.
    assert collision(scene(drive(10.0), actors((30.0, 0.0, 0.0, 0.0))), Straight()) == (2.4, "other standing", True)


def test_into_the_back_of_a_slower_car() -> None:
    # 10 t + 4.049 = 18 + 5 t: 2.79 s.
    given = scene(drive(10.0), actors((20.0, 0.0, 0.0, 5.0)))
    assert collision(given, Straight()) == (2.8, "front", True)
    done = only(simulate([given], Straight(), PERFECT))
    assert (done.end, len(done.ego)) == ("collision", 29)
    (hit,) = done.infractions
    assert (hit.counterpart, hit.counterpart_kind) == ("car-0", "vehicle")
    assert hit.amount == pytest.approx(5.0)
    assert (hit.x, hit.y) == pytest.approx((28.0, 0.0))
    on = only(simulate([given], Straight(), replace(PERFECT, end_at_collision=False)))
    assert (on.end, len(on.ego)) == ("end of the log", 81)


def test_hit_from_behind_and_while_standing() -> None:
    # The other's bumper at x + 2: -18 + 10 t = -1.127 + 5 t at 3.37 s.
    assert collision(scene(drive(5.0), actors((-20.0, 0.0, 0.0, 10.0))), Straight()) == (3.4, "from behind", False)
    # Standing: -18 + 10 t = -1.127 at 1.69 s.
    assert collision(scene(drive(0.0), actors((-20.0, 0.0, 0.0, 10.0))), Straight()) == (1.7, "ego standing", False)


def test_a_swipe_from_the_side_is_the_egos_only_between_lanes() -> None:
    # Beside the ego's middle, drifting towards it: half widths 1.1485 + 1 = 2.1485 from 3.5 at 0.5 m/s sideways.
    others = actors((1.5, 3.5, 0.0, 10.0))
    others.box[0, :, 1] -= 0.05 * np.arange(81)
    others.velocity[0, :, 1] = -0.5
    time_s, what, at_fault = collision(scene(drive(10.0), others), Straight())
    assert (time_s, what, at_fault) == (2.8, "side", False)
    moved = replace(others, box=others.box + np.array([0.0, 1.0, 0, 0, 0]))
    time_s, what, at_fault = collision(scene(drive(10.0, y=1.0), moved), Straight())
    assert (time_s, what, at_fault) == (2.8, "side", True)  # 1 + 1.1485 > 1.75: in both lanes


def test_collision_at_the_start_and_somebody_who_appears() -> None:
    given = scene(drive(10.0), actors((3.0, 0.0, 0.0, 10.0)))
    assert collision(given, Straight()) == (0.0, "at the start", False)
    assert only(simulate([given], Straight(), PERFECT)).end == "end of the log"
    others = actors((32.0, 0.0, 0.0, 0.0))
    others.valid[0, :30] = False
    assert collision(scene(drive(10.0), others), Straight()) == (3.0, "appeared on the ego", False)
    vanishes = actors((30.0, 0.0, 0.0, 0.0))
    vanishes.valid[0, 20:] = False
    assert only(simulate([scene(drive(10.0), vanishes)], Straight(), PERFECT)).infractions == ()


# --- road, route, lights ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("out", "counts"), [(0.29, False), (0.31, True)])
def test_leaving_the_road_by_a_hand(out: float, counts: bool) -> None:
    # The lane's right edge is y = -1.75, the ego's right side 1.1485 right of its axle.
    given = scene(drive(10.0, y=-1.75 + 1.1485 - out))
    done = only(simulate([given], Straight(), PERFECT))
    assert done.off_road_m[5] == pytest.approx(out)
    assert [i.kind for i in done.infractions] == (["off_road"] if counts else [])
    assert done.end == ("off the road" if counts else "end of the log")
    assert len(done.ego) == (21 if counts else 81)
    if counts:
        (left,) = done.infractions
        assert (left.step, left.duration_s, left.amount) == (0, 2.0, pytest.approx(out))


def test_leaving_the_route() -> None:
    wide = build_map(lane("a", [(-50.0, 0.0), (400.0, 0.0)], width=60.0))[0]
    given = scene(drive(10.0), around=wide)
    given.ego[0, HEADING] = np.arcsin(0.49)  # 4.9 m/s sideways: 9.8 m after 2 s
    done = only(simulate([given], ConstantVelocity(), PERFECT))
    assert (done.end, len(done.ego)) == ("off the route", 22)
    assert done.infractions[-1].kind == "off_route"


def test_running_a_red_light() -> None:
    state = np.full((81, 2), RED, np.int8)
    lights = Lights(state, np.array([0, 4]), np.array([[40.0, 0.0], [60.0, 0.0]]))
    given = scene(drive(10.0), lights=lights)
    assert given.map.lane_ids[4] == "against"
    done = only(simulate([given], Straight(), PERFECT))
    # The bumper passes x = 40 between 3.5 s and 3.6 s; the other signal is not for this lane.
    assert [(i.kind, i.time_s, i.at_fault) for i in done.infractions] == [("red_light", 3.6, True)]
    green = replace(given, lights=replace(lights, state=np.full((81, 2), 3, np.int8)))
    assert only(simulate([green], Straight(), PERFECT)).infractions == ()
    assert only(simulate([given], IdmLaneFollower())).infractions == ()


# --- the others ---------------------------------------------------------------------------------------------------


def others_of(given: Scene, planner: object, mode: str, **more: object) -> Actors:
    config = SimulationConfig(tracking="perfect", actors=ActorConfig(mode=mode, **more))  # type: ignore[arg-type]
    return only(simulate([given], planner, config)).actors  # type: ignore[arg-type]


def test_who_is_free_repeats_the_recording() -> None:
    curve = actors((10.0, 3.5, 0.0, 8.0))
    angle = np.linspace(0, 1.0, 81)
    curve.box[0, :, 0], curve.box[0, :, 1] = 10 + 60 * np.sin(angle), 3.5 + 60 * (1 - np.cos(angle))
    curve.box[0, :, 4] = angle
    curve.velocity[0] = 60 * (1.0 / 8.0) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    moved = others_of(scene(drive(10.0), curve), Stop(), "idm")
    np.testing.assert_allclose(moved.box, curve.box, atol=0.03)
    assert moved.valid.all()


def test_a_follower_stops_behind_an_ego_that_stops() -> None:
    given = scene(drive(10.0), actors((-25.0, 0.0, 0.0, 10.0), (60.0, 3.5, 0.0, 10.0)))
    done = only(simulate([given], Stop(), PERFECT))
    assert [i.what for i in done.infractions] == ["ego standing"]
    for mode in ("idm", "idm_behind"):
        config = replace(PERFECT, actors=ActorConfig(mode=mode))  # type: ignore[arg-type]
        done = only(simulate([given], Stop(), config))
        assert done.infractions == ()
        gap = (done.ego[-1, X] - 1.127) - (done.actors.box[0, -1, 0] + 2.0)
        assert 0.5 < gap < 4.0  # it stands at about the standstill gap of 1 m
        np.testing.assert_allclose(done.actors.box[1], given.actors.box[1], atol=1e-9)


def test_only_who_is_behind_and_only_who_moves() -> None:
    ahead = actors((30.0, 0.0, 0.0, 10.0), (60.0, 0.0, 0.0, 0.0), (90.0, 20.0, 0.0, 0.0))
    given = scene(drive(1.0), ahead)
    free = others_of(given, Straight(), "idm_behind")
    np.testing.assert_allclose(free.box, ahead.box)  # scripted: drives through the standing car
    braked = others_of(given, Straight(), "idm")
    assert braked.box[0, -1, 0] + 2.0 < 58.0
    np.testing.assert_allclose(braked.box[1:], ahead.box[1:])
    things = replace(given, actors=replace(ahead, kind=np.full(3, STATIC)))
    np.testing.assert_allclose(others_of(things, Straight(), "idm").box, ahead.box)


def test_faster_than_the_recording_where_allowed() -> None:
    slow = actors((30.0, 3.5, 0.0, 2.0))
    given = scene(drive(1.0), slow)
    let = others_of(given, Straight(), "idm", never_ahead_of_log=False, desired_speed_mps=10.0)
    assert let.box[0, 20, 0] > slow.box[0, 20, 0] + 0.5
    # It leaves where its recording ends, once that is over; until then it drives on straight.
    assert let.valid[0, :80].all()


def test_appearing_later_and_gone_at_the_end_of_the_path() -> None:
    late = actors((0.0, 3.5, 0.0, 10.0))
    late.valid[0, :20] = False
    late.valid[0, 60:] = False
    given = scene(drive(1.0), late)
    moved = others_of(given, Straight(), "idm")
    assert moved.valid[0].nonzero()[0].tolist() == list(range(20, 60))
    np.testing.assert_allclose(moved.box[0, 20:60], late.box[0, 20:60], atol=1e-6)
