"""nuPlan's score, Waymax's metrics and infractions of drives, and open loop of first plans, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drive.rollouts.infractions import Infraction
from drive.rollouts.rollout import PlanRecord, Rollout, not_simulated
from drive.samples.scene import Scene
from drive.scores.closed_loop_metrics import INFRACTIONS, drive_metrics, room_of
from drive.scores.closed_loop_plans import first_plans
from tests.scores.pdm_street import cars, going, street
from tests.scores.test_closed_loop import drive


def contact(token: str, step: int, at_fault: bool) -> Infraction:
    return Infraction("collision", step, step * 0.1, 0, 0, 0, 0, at_fault, "front", token, "vehicle")


def with_plan(scene: Scene, speed: float, y: float = -1.75, modes: int = 0) -> Rollout:
    """A drive whose first plan goes straight on from x = 0; with modes each is 3 m further left than the one before."""
    times = np.arange(1, 9) * 0.5
    poses = np.stack([speed * times, np.full(8, y), np.zeros(8)], axis=1)
    told = np.stack([poses + np.array([0, 3.0 * m, 0]) for m in range(modes)]) if modes else np.zeros((0, 8, 3))
    shape = np.array([[modes, 8 if modes else 0]])
    plans = PlanRecord(np.zeros(1, np.int64), np.array([0, 8]), poses, times, np.zeros(1), shape, told.reshape(-1, 3),
                       np.zeros(modes))  # fmt: skip
    return replace(drive(scene, going(speed)[:81]), plans=plans)


def test_a_drive_as_the_log_and_one_half_as_fast() -> None:
    """4 m/s against 8: 32 of 64 m; on average 16 m behind (0 at the start, 32 at the end)."""
    scene = street(cars())
    drives = [drive(scene, going(v)[:81]) for v in (8.0, 4.0)]
    drives = [replace(r, along_m=50 + r.ego[:, 0]) for r in drives]
    found = drive_metrics(drives, [scene] * 2, [80, 80])
    assert found.columns["nuplan"].tolist() == pytest.approx([1.0, 13.5 / 16])
    assert found.columns["nuplan_progress"].tolist() == pytest.approx([1.0, 0.5])
    assert found.columns["route_progress"].tolist() == pytest.approx([1.0, 0.5])
    assert found.columns["log_divergence_m"].tolist() == pytest.approx([0.0, 16.0])
    for name in ("overlap", "offroad", "wrong_way", "off_route", "infeasible", *INFRACTIONS):
        assert found.columns[name].tolist() == [0.0, 0.0]
        assert found.known[name].all()


def test_early_ends_are_measured_against_the_whole_scene() -> None:
    """Ended after 4 s of 8: half of the recorded way, not all of it."""
    scene = street(cars())
    hit = replace(drive(scene, going(8.0)[:41], "off the route"), along_m=50 + going(8.0)[:41, 0])
    found = drive_metrics([hit], [scene], [80])
    assert found.columns["nuplan_progress"].tolist() == pytest.approx([0.5])
    assert found.columns["route_progress"].tolist() == pytest.approx([0.5])


def test_what_went_wrong() -> None:
    """A car stands at 30 m: touched, by own fault. The road is left once, the route's middle by 4 m: wrong way, but not
    off the route. A step of 2 m/s in 0.1 s asks for 20 m/s^2, one of the 80 steps."""
    scene = street(cars((30.0, -1.75, 0.0)))
    ego = going(8.0)[:81]
    ego[50:, 3] += 2.0
    off = np.zeros(81)
    off[60] = 0.2
    bad = replace(
        drive(scene, ego), off_road_m=off, aside_m=np.full(81, -4.0),
        infractions=(contact("car0", 30, True), contact("car0", 31, False),
                     Infraction("off_road", 60, 6.0, 0, 0, 0, 0, True)),
    )  # fmt: skip
    found = drive_metrics([bad], [scene], [80])
    wanted = {
        "overlap": 1, "offroad": 1, "wrong_way": 1, "off_route": 0, "infeasible": 1 / 80, "nuplan_no_collision": 0,
        "nuplan": 0, "collisions_at_fault": 1, "collisions_not_at_fault": 1, "off_road": 1,
    }  # fmt: skip
    assert {name: found.columns[name][0] for name in wanted} == pytest.approx(wanted)


def test_failed_drives_and_unknown_scenes() -> None:
    """A failed drive has a score of 0 and nothing else; where road and route are not known nothing is said of them."""
    scene = street(cars())
    failed = drive(scene, going(8.0)[:41], "planner failed", "raised")
    missing = not_simulated("street@9", "street", "made", "no such log")
    blind = replace(drive(scene, going(8.0)[:81]), road_known=False, route_known=False)
    found = drive_metrics([failed, missing, blind], [scene, None, scene], [80, 0, 80])
    assert found.columns["nuplan"][:2].tolist() == [0.0, 0.0]
    assert found.known["nuplan"].tolist() == [True] * 3
    assert found.known["overlap"].tolist() == [False, False, True]
    for name in ("offroad", "wrong_way", "route_progress"):
        assert not found.known[name].any()
    assert len(drive_metrics([], [], []).columns["nuplan"]) == 0
    with pytest.raises(ValueError, match="2 rooms"):
        drive_metrics([], [], [80, 80])


def test_room() -> None:
    scene = street(cars())
    whole = drive(scene, going(8.0)[:81])
    assert (room_of(whole, scene, 8.0), room_of(whole, scene, None), room_of(whole, None, 8.0)) == (80, 100, 0)


def test_first_plans_open_loop() -> None:
    """6 m/s against 8: 2, 4 and 6 m after 1, 2 and 3 s; running means of 1 to 6 m in half seconds: 1.5, 2.5, 3.5. A car
    ahead at 6 m/s is not met; one that stands at 20 m is, and the recording drives through it too: those steps
    are not judged."""
    free, stands = street(cars((40.0, -1.75, 6.0))), street(cars((20.0, -1.75, 0.0)))
    found = first_plans([with_plan(free, 6.0)], [free])
    assert found.open_loop is not None
    assert found.open_loop.l2_m["at"] == pytest.approx({1.0: 2.0, 2.0: 4.0, 3.0: 6.0})
    assert found.open_loop.l2_m["mean_up_to"] == pytest.approx({1.0: 1.5, 2.0: 2.5, 3.0: 3.5})
    assert found.open_loop.collision["at"][3.0] == 0.0
    assert found.nuplan is not None
    assert found.nuplan.horizons_s == (3,)
    assert found.nuplan.ade_m[0] == pytest.approx(4.0)  # 2, 4, 6 m
    assert found.nuplan.score[0] == pytest.approx((1 - 4 / 8 + 1 - 6 / 8 + 4) / 6)
    # The front is 4.049 m ahead, the rear 1.127 m behind, the car from 18 m to 22 m: the plan is in it from 13.95 m on
    # (2.33 s), the recording from 1.74 s to 2.89 s.
    met = first_plans([with_plan(stands, 6.0)], [stands]).open_loop
    assert met is not None
    assert met.judged == (1, 1, 1, 0, 0, 1)
    assert met.collision["at"] == {1.0: 0.0, 2.0: 0.0, 3.0: 1.0}
    beside = first_plans(
        [with_plan(replace(stands, ego=going(8.0, 1.75)), 6.0)], [replace(stands, ego=going(8.0, 1.75))]
    )
    assert beside.open_loop is not None
    assert beside.open_loop.judged == (1,) * 6
    assert beside.open_loop.collision["at"] == {1.0: 0.0, 2.0: 0.0, 3.0: 1.0}


def test_diversity_of_first_plans() -> None:
    """Two bands of 2 m that do not touch: each is half of their union, 1 - 1/2."""
    scene = street(cars())
    found = first_plans([with_plan(scene, 8.0, modes=2), with_plan(scene, 8.0)], [scene] * 2)
    assert (found.plans, found.with_modes) == (2, 1)
    assert found.diversity == pytest.approx(0.5, abs=0.03)


def test_no_plans_and_short_ones() -> None:
    scene = street(cars())
    none = first_plans([drive(scene, going(8.0)[:81])], [scene])
    assert (none.plans, none.open_loop, none.nuplan, none.diversity) == (0, None, None, None)
    assert first_plans([], []).plans == 0
    long = with_plan(scene, 8.0)
    short = replace(long, plans=replace(long.plans, poses=long.plans.poses[:4], times_s=long.plans.times_s[:4],
                                        offsets=np.array([0, 4])))  # fmt: skip
    found = first_plans([short], [scene])
    assert (found.plans, found.shortest_s, found.open_loop, found.nuplan) == (1, 2.0, None, None)
    with pytest.raises(ValueError, match="1 drives, 0 scenes"):
        first_plans([short], [])
