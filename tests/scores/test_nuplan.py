"""nuPlan's closed-loop score of simulated drives worked out by hand.

The street of `pdm_street`; its driver goes 8 m/s in the right lane for 10 s.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drive.dynamics.vehicle import Vehicle
from drive.rollouts.infractions import Infraction
from drive.rollouts.rollout import PlanRecord, Rollout, not_simulated
from drive.samples.scene import Actors, Scene, SceneMap
from drive.scores.nuplan import nuplan_score
from tests.scores.pdm_street import cars, going, street


def drive(scene: Scene, ego: np.ndarray, *infractions: Infraction) -> Rollout:
    none = np.zeros(0)
    plans = PlanRecord(none.astype(np.int64), np.zeros(1, np.int64), np.zeros((0, 3)), none, none)
    zeros = np.zeros(len(ego))
    return Rollout(scene.name, scene.log, "made", scene.timestamps_ns[: len(ego)], scene.origin_xy, ego, Vehicle(),
                   scene.actors, zeros, zeros, zeros, True, True, plans, infractions, "end of the log")  # fmt: skip


def contact(kind: str, step: int, at_fault: bool, token: str = "car0") -> Infraction:
    return Infraction("collision", step, step * 0.1, 0, 0, 0, 0, at_fault, "front", token, kind)


def test_as_the_log() -> None:
    scene = street(cars())
    score = nuplan_score(scene, drive(scene, going(8.0)))
    assert (score.score, score.progress_m, score.expert_m) == (1.0, pytest.approx(80.0), pytest.approx(80.0))
    assert (score.least_ttc_s, score.unjudged, score.at_fault) == (np.inf, (), (0, 0, 0))


def test_slower_and_faster() -> None:
    """Half as far: progress 1/2, (2.5 + 5 + 4 + 2) / 16. At 12 m/s 2 m/s above the limit: 1 - 2 / 2.23 of 4."""
    scene = street(cars())
    assert nuplan_score(scene, drive(scene, going(4.0))).score == pytest.approx(13.5 / 16)
    fast = nuplan_score(scene, drive(scene, going(12.0)))
    assert fast.overspeed_mps == pytest.approx(2.0)
    assert fast.score == pytest.approx((12 + 4 * (1 - 2 / 2.23)) / 16)
    unlimited = street(cars(), limit=False)
    unknown = nuplan_score(unlimited, drive(unlimited, going(12.0)))
    assert (unknown.score, unknown.unjudged) == (1.0, ("speed_limit",))


def test_little_and_negative_progress() -> None:
    scene = street(cars())
    assert nuplan_score(scene, drive(scene, going(1.5))).making_progress == 0.0  # 0.1875 of the expert's
    assert nuplan_score(scene, drive(scene, going(1.7))).making_progress == 1.0
    assert nuplan_score(scene, drive(scene, going(-0.1))).progress == 0.0
    standing = nuplan_score(scene, drive(scene, going(0.0)))
    assert standing.progress == pytest.approx(0.1 / 80)
    assert standing.score == 0.0


@pytest.mark.parametrize(("over", "drivable"), [(0.29, 1.0), (0.31, 0.0)])
def test_road_tolerance(over: float, drivable: float) -> None:
    scene = street(cars())
    assert nuplan_score(scene, drive(scene, going(8.0, y=-3.5 - over + 2.297 / 2))).drivable == drivable


def test_wrong_way() -> None:
    """8 m/s in the other lane is 8.8 m in eleven steps: beyond 6."""
    scene = street(cars())
    assert nuplan_score(scene, drive(scene, going(8.0, y=1.75))).direction == 0.0
    assert nuplan_score(scene, drive(scene, going(4.0, y=1.75))).direction == 0.5


def test_collisions_by_class() -> None:
    """One with a road user is too many; of things one costs half; not by own fault none."""
    scene = street(cars((250.0, 0.0, 0.0)))
    ego = going(8.0)

    def left(*infractions: Infraction) -> float:
        return nuplan_score(scene, drive(scene, ego, *infractions)).no_collision

    assert left(contact("vehicle", 3, True)) == 0.0
    assert left(contact("pedestrian", 3, True)) == 0.0
    assert left(contact("static", 3, True)) == 0.5
    assert left(contact("static", 3, True), contact("static", 5, True, "other")) == 0.0
    assert left(contact("vehicle", 3, False)) == 1.0


def test_time_to_collision() -> None:
    """Behind a car as fast as the ego there is none; behind a slower one the gap that is left over the difference."""
    near = street(cars((4.049 + 2.5 + 2, -1.75, 8.0)))
    assert nuplan_score(near, drive(near, going(8.0))).ttc == 1.0
    slow = street(cars((4.049 + 22.2 + 2, -1.75, 6.0)))  # 2.2 m are left after 10 s: 1.1 s at 2 m/s
    score = nuplan_score(slow, drive(slow, going(8.0)))
    assert (score.least_ttc_s, score.ttc) == (pytest.approx(1.1), 1.0)
    tight = street(cars((4.049 + 21.6 + 2, -1.75, 6.0)))  # 1.6 m: 0.8 s
    score = nuplan_score(tight, drive(tight, going(8.0)))
    assert (score.least_ttc_s, score.ttc) == (pytest.approx(0.8), 0.0)
    assert score.score == pytest.approx(11 / 16)
    # Touched already: it no longer counts.
    assert nuplan_score(tight, drive(tight, going(8.0), contact("vehicle", 0, False))).ttc == 1.0


def test_no_route_no_road() -> None:
    scene = street(cars())
    bare = replace(scene, route=None, map=SceneMap.empty())
    score = nuplan_score(bare, drive(bare, going(8.0)))
    assert score.unjudged == ("drivable", "making_progress", "direction", "progress", "speed_limit")
    assert score.score == 1.0


def test_the_expert_may_have_gone_on() -> None:
    """Ended after 4 s of 8: half of the expert's way."""
    scene = street(cars())
    half = drive(scene, going(8.0)[:41])
    half = replace(half, actors=Actors.none(41))
    assert nuplan_score(scene, half).progress == 1.0
    assert nuplan_score(scene, half, expert_steps=80).progress == pytest.approx(0.5)


def test_failed_and_short_drives_have_no_score() -> None:
    scene = street(cars())
    with pytest.raises(ValueError, match="raised"):
        nuplan_score(scene, not_simulated("street@0", "street", "made", "raised"))
    short = replace(drive(scene, going(8.0)[:4]), actors=Actors.none(4))
    with pytest.raises(ValueError, match="3 steps"):
        nuplan_score(scene, short)
