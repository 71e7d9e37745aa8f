"""Scenes and planners that are wrong, side by side with one that is right: recorded, scored 0, the rest goes on."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pytest

from drive.plans.baselines import BASELINES
from drive.plans.plan import Plan
from drive.plans.planner import Observation, Planner
from drive.rollouts.config import ActorConfig, SimulationConfig
from drive.rollouts.rollout import Rollout
from drive.rollouts.simulate import simulate
from drive.samples.scene import VX, Actors, Scene, SceneMap
from drive.scores.closed_loop import score_drives
from drive.scores.pdm_closed import pdm_closed
from tests.samples.hand_made_scene import actors, drive, scene

TIMES = np.arange(1, 9) * 0.5
PLANNERS: dict[str, Planner] = {**BASELINES, "pdm_closed": pdm_closed()}


def flickering() -> Actors:
    """Two cars ahead in the lane: one is there every other instant, one for a moment only."""
    others = actors((60.0, 0.0, 0.0, 10.0), (90.0, 0.0, 0.0, 8.0))
    others.valid[0, ::2] = False
    others.valid[1, 20:25] = False
    others.valid[1, 40:] = False
    others.box[~others.valid], others.velocity[~others.valid] = 0.0, 0.0
    return others


def scenes() -> list[Scene]:
    return [
        scene(name="good@0"),
        scene(name="no_map@0", around=SceneMap.empty()),
        scene(drive(10.0, start=330.0), name="leaves@0"),  # the map ends at x = 400, the log at 410
        scene(drive(5.0), actors((2.0, 0.5, 0.3, 0.0), (40.0, 0.0, 0.0, 5.0)), name="in_collision@0"),
        scene(drive(10.0), flickering(), name="flickering@0"),
    ]


def by_name(rollouts: list[Rollout]) -> dict[str, Rollout]:
    return {r.scene.split("@")[0]: r for r in rollouts}


@pytest.mark.parametrize("mode", ["log", "idm"])
@pytest.mark.parametrize("name", PLANNERS)
def test_wrong_scenes_beside_a_right_one(name: str, mode: str) -> None:
    config = SimulationConfig(actors=ActorConfig(mode=mode))  # type: ignore[arg-type]
    given = scenes()
    done = simulate(given, PLANNERS[name], config)
    drives = by_name(done)
    (alone,) = simulate(given[:1], PLANNERS[name], config)
    np.testing.assert_array_equal(drives["good"].ego, alone.ego)
    assert all(np.isfinite(r.ego).all() and np.isfinite(r.actors.box).all() for r in done)
    assert [r.scene for r in done if r.failed] == (["no_map@0"] if name in ("idm", "pdm_closed") else [])
    assert "needs a route" in drives["no_map"].failure or not drives["no_map"].failed
    at_start = [i for i in drives["in_collision"].infractions if i.what == "at the start"]
    assert [(i.time_s, i.counterpart, i.at_fault) for i in at_start] == [(0.0, "car-0", False)]
    if name == "log_replay":
        # From x = 396 on the bumper is off the map: the drive ends 2 s later, or with the log.
        (left,) = [i for i in drives["leaves"].infractions if i.kind == "off_road"]
        assert left.global_x + given[2].vehicle.front == pytest.approx(400.9, abs=0.6)
    if name == "idm":
        assert drives["leaves"].infractions == ()  # stops where nobody knows the way
    table = score_drives(done, given)
    assert table.failed.tolist() == [r.failed for r in done]
    assert np.isfinite(table.pdms).all()
    assert (table.pdms[table.failed] == 0).all()
    np.testing.assert_array_equal(score_drives([alone], given[:1]).pdms, table.pdms[:1])


@dataclass
class Fails:
    """Right in all scenes but one."""

    how: str
    name: str = "fails"

    def plan(self, observation: Observation) -> Plan:
        poses = np.stack([observation.ego[-1, VX] * TIMES, 0 * TIMES, 0 * TIMES], axis=1)
        if observation.scene == "b@0" and observation.step >= 20:
            if self.how == "raises":
                raise RuntimeError("no idea")
            if self.how == "sleeps":
                time.sleep(1.0)
            poses[3, 1] = np.nan if self.how == "nan" else poses[3, 1]
            if self.how == "far":
                poses *= 1e200
        return Plan(poses, TIMES)


@pytest.mark.parametrize(
    ("how", "said"), [("raises", "raised"), ("nan", "not finite"), ("sleeps", "longer than 0.3 s"), ("far", "followed")]
)
def test_a_planner_that_fails_in_one_scene_has_0_there(how: str, said: str) -> None:
    given = [scene(name=f"{n}@0") for n in "abc"]
    done = simulate(given, Fails(how), SimulationConfig(time_limit_s=0.3 if how == "sleeps" else 60.0))
    table = score_drives(done, given)
    assert table.failed.tolist() == [False, True, False]
    assert said in table.failure[1]
    assert table.pdms[1] == 0.0
    assert table.pdms[0] == table.pdms[2] > 0.9
