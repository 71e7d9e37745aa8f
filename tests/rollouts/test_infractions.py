"""Against the lanes, standing, no progress: what counts and what does not, worked out on paper."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from drive.plans.plan import Plan
from drive.plans.planner import Observation
from drive.rollouts.config import SimulationConfig
from drive.rollouts.infractions import Infraction
from drive.rollouts.rollout import Rollout
from drive.rollouts.simulate import simulate
from drive.rollouts.way import runs, standing
from drive.samples.route import path_route
from drive.samples.scene import HEADING, Scene, SceneMap, X, Y
from tests.samples.hand_made_scene import drive, scene

TIMES = np.arange(1, 9) * 0.5


@dataclass
class At:
    """Straight on at a speed, whatever the ego's own."""

    speed: float
    name: str = "at"

    def plan(self, observation: Observation) -> Plan:
        return Plan(np.stack([self.speed * TIMES, 0 * TIMES, 0 * TIMES], axis=1), TIMES)


def driven(given: Scene, speed: float) -> Rollout:
    (done,) = simulate([given], At(speed), SimulationConfig(tracking="perfect"))
    assert done.end == "end of the log"
    return done


def found(given: Scene, speed: float) -> list[tuple[str, float, float, float]]:
    return [row(i) for i in driven(given, speed).infractions]


def row(i: Infraction) -> tuple[str, float, float, float]:
    return i.kind, i.time_s, round(i.amount, 6), i.duration_s


def test_against_the_lane() -> None:
    """The lane at y = 7 leads to the west. East at 10 m/s: a metre a step, 3 m after 0.3 s; never more than 10 m."""
    given = scene(drive(10.0, y=7.0))
    done = driven(given, 10.0)
    assert [row(i) for i in done.infractions if i.kind == "wrong_way"] == [("wrong_way", 0.3, 10.0, 7.7)]
    (wrong,) = (i for i in done.infractions if i.kind == "wrong_way")
    assert (wrong.x, wrong.y, wrong.at_fault) == (pytest.approx(3.0), pytest.approx(7.0), True)


def test_with_the_lane_and_beside_all_lanes() -> None:
    west = drive(10.0, start=0.0, y=7.0)
    west[:, X], west[:, HEADING] = 200.0 - west[:, X], np.pi
    assert found(scene(west), 10.0) == []
    assert [kind for kind, *_ in found(scene(drive(10.0)), 10.0)] == []
    assert found(scene(drive(10.0), around=SceneMap.empty()), 10.0) == []  # nothing is known of the place


def test_where_the_map_lacks_the_lanes_nobody_knows() -> None:
    """A route that is the recorded path itself stands where lanes are missing; what lies across says nothing."""
    ego = drive(10.0, y=7.0)
    given = scene(ego)
    assert found(replace(given, route=path_route(given.map, ego)), 10.0) == []


def test_backwards_in_the_own_lane() -> None:
    """2.1 m/s backwards is 2.1 m a second, over 2 m after 1 s; 1.9 m/s never is."""
    given = scene(drive(0.0, start=100.0))
    assert found(given, -2.1) == [("wrong_way", 1.0, 2.1, 7.0)]
    assert found(given, -1.9) == []


def test_in_a_junction_the_lane_that_agrees_counts() -> None:
    """The left turn's lane lies across nothing that leads its way; beside its own line the straight lanes lead east."""
    given = scene(drive(0.0))
    angle = np.linspace(0.0, np.pi / 2, 81)
    turn = np.zeros((81, 11))
    turn[:, X], turn[:, Y], turn[:, HEADING] = 250 + 10 * np.sin(angle), 10 - 10 * np.cos(angle), angle
    turned = scene(turn, around=given.map)

    class Follow:
        name = "follow"

        def plan(self, observation: Observation) -> Plan:
            rows = np.minimum(observation.step + np.arange(1, 41), 80)
            x, y, h = turn[observation.step, [X, Y, HEADING]]
            away = turn[rows][:, [X, Y]] - (x, y)
            cos, sin = np.cos(h), np.sin(h)
            poses = [cos * away[:, 0] + sin * away[:, 1], cos * away[:, 1] - sin * away[:, 0], turn[rows, HEADING] - h]
            return Plan(np.stack(poses, axis=1), np.arange(1, 41) * 0.1)

    (done,) = simulate([turned], Follow(), SimulationConfig(tracking="perfect"))
    assert [i.kind for i in done.infractions if i.kind == "wrong_way"] == []


def test_standing_while_the_log_drove_and_no_progress() -> None:
    """Put to rest in a step, standing from 0.1 s on; the log's driver makes 10 m a second."""
    done = driven(scene(drive(10.0)), 0.0)
    assert [row(i) for i in done.infractions] == [("standing", 0.1, 79.0, 7.9), ("no_progress", 8.0, 80.0, 8.0)]
    assert [(i.x, i.at_fault) for i in done.infractions] == [(0.0, True), (0.0, True)]


@pytest.mark.parametrize(("steps", "kinds"), [(51, ["no_progress"]), (52, ["standing", "no_progress"])])
def test_standing_for_less_than_five_seconds_is_waiting(steps: int, kinds: list[str]) -> None:
    given = scene(drive(10.0, steps=steps))
    assert [kind for kind, *_ in found(given, 0.0)] == kinds


def test_who_stands_as_the_log_did_does_nothing_wrong() -> None:
    assert found(scene(drive(0.0)), 0.0) == []
    assert found(scene(drive(0.5)), 0.0) == []  # 4 m in 8 s


@pytest.mark.parametrize(("speed", "kinds"), [(1.9, ["no_progress"]), (2.1, [])])
def test_a_fifth_of_the_logs_way_is_progress(speed: float, kinds: list[str]) -> None:
    assert [kind for kind, *_ in found(scene(drive(10.0)), speed)] == kinds


def test_a_log_that_loses_its_ego_asks_for_no_more_progress() -> None:
    given = scene(drive(10.0))
    given.ego_valid[4:] = False  # 3 m are known
    assert found(given, 0.0) == []


def test_nothing_to_look_at() -> None:
    assert runs(np.zeros(0, bool)) == []
    assert standing(np.zeros(0), np.zeros(0), 5.0, 0.1, 5.0) == []
