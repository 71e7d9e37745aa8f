"""nuPlan's closed-loop score, and the PDM score, of simulated drives worked out by hand.

A straight road along x, two lanes of 3.5 m, speed limit 10 m/s; the log's driver goes 8 m/s in the right one for 8 s.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drive.dynamics.vehicle import Vehicle
from drive.rollouts.infractions import Infraction
from drive.rollouts.rollout import PlanRecord, Rollout, not_simulated
from drive.samples.scene import DRIVABLE, LANE, Actors, Lights, Route, Scene, SceneMap
from drive.scores.nuplan import nuplan_score
from drive.scores.pdm_config import PdmConfig
from drive.scores.pdm_rollout import score_rollout

INSTANTS = 81
TIME = np.arange(INSTANTS) * 0.1


def going(speed: float, y: float = -1.75) -> np.ndarray:
    states = np.zeros((INSTANTS, 11))
    states[:, 0], states[:, 1], states[:, 3] = speed * TIME, y, speed
    return states


def cars(*rows: tuple[float, float, float]) -> Actors:
    """x now, y, speed along x; 4 by 2 m."""
    A = len(rows)
    given = np.array(rows, float).reshape(A, 3)
    box, velocity = np.zeros((A, INSTANTS, 5)), np.zeros((A, INSTANTS, 2))
    box[..., 0], box[..., 1] = given[:, :1] + given[:, 2:] * TIME, given[:, 1:2]
    box[..., 2], box[..., 3] = 4.0, 2.0
    velocity[..., 0] = given[:, 2:]
    return Actors(box, velocity, np.ones((A, INSTANTS), bool), np.zeros(A, np.int64),
                  tuple(f"car{a}" for a in range(A)), np.zeros((A, INSTANTS)))  # fmt: skip


def street(actors: Actors, limit: bool = True) -> Scene:
    rings = [np.array([[-50, a], [200, a], [200, b], [-50, b]], float) for a, b in ((-3.5, 3.5), (-3.5, 0), (0, 3.5))]
    lines = np.array([[-50, -1.75], [200, -1.75], [200, 1.75], [-50, 1.75]])
    none = np.zeros(0, np.int64)
    scene_map = replace(
        SceneMap.empty(),
        vertices=np.concatenate(rings),
        ring_offsets=np.array([0, 4, 8, 12]),
        polygon_offsets=np.arange(4),
        polygon_layer=np.array([DRIVABLE, LANE, LANE], np.uint8),
        polygon_lane=np.array([-1, 0, 1]),
        lane_vertices=lines,
        lane_offsets=np.array([0, 2, 4]),
        lane_ids=("right", "left"),
        lane_is_connector=np.zeros(2, bool),
        successor_offsets=np.zeros(3, np.int64),
        successors=none,
        predecessor_offsets=np.zeros(3, np.int64),
        predecessors=none,
        left=np.full(2, -1),
        right=np.full(2, -1),
        speed_limit_mps=np.full(2, 10.0),
        speed_limit_valid=np.full(2, limit),
        drivable_from="polygons",
    )
    route = Route(np.array([0]), np.array([True, False]), lines[:2], np.array([0.0, 250.0]))
    return Scene("street@0", "street", np.arange(INSTANTS) * 10**8, 0, np.zeros(2), going(8.0), np.ones(INSTANTS, bool),
                 np.zeros(INSTANTS), Vehicle(), actors, scene_map, route, Lights.none(INSTANTS))  # fmt: skip


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
    assert (score.score, score.progress_m, score.expert_m) == (1.0, pytest.approx(64.0), pytest.approx(64.0))
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
    assert standing.progress == pytest.approx(0.1 / 64)
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
    scene = street(cars((500.0, 0.0, 0.0)))
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
    slow = street(cars((4.049 + 18.2 + 2, -1.75, 6.0)))  # 2.2 m are left after 8 s: 1.1 s at 2 m/s
    score = nuplan_score(slow, drive(slow, going(8.0)))
    assert (score.least_ttc_s, score.ttc) == (pytest.approx(1.1), 1.0)
    tight = street(cars((4.049 + 17.6 + 2, -1.75, 6.0)))  # 1.6 m: 0.8 s
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


def test_failed_and_short_drives_have_no_score() -> None:
    scene = street(cars())
    with pytest.raises(ValueError, match="raised"):
        nuplan_score(scene, not_simulated("street@0", "street", "made", "raised"))
    short = replace(drive(scene, going(8.0)[:4]), actors=Actors.none(4))
    with pytest.raises(ValueError, match="3 steps"):
        nuplan_score(scene, short)


@pytest.mark.parametrize("version", ["v1.1", "v2-fixed"])
def test_pdm_of_a_drive(version: str) -> None:
    """The whole drive is one proposal, its progress against the log's driver."""
    config = PdmConfig(version=version)  # type: ignore[arg-type]
    scene = street(cars())
    table = score_rollout(scene, drive(scene, going(8.0)), config)
    assert (table.score[0], table.ep[0]) == (1.0, 1.0)
    assert score_rollout(scene, drive(scene, going(4.0)), config).ep[0] == pytest.approx(0.5)
    wall = street(cars((40.0, -1.75, 0.0)))
    hit = score_rollout(wall, drive(wall, going(8.0)), config)
    assert (hit.nc[0], hit.score[0]) == (0.0, 0.0)
    assert hit.steps["collision"][0] == 43  # 38 - 4.049 = 33.951 m at 0.8 m a step
    # A drive that ended early brings as much traffic as it lasted.
    early = replace(wall.actors, box=wall.actors.box[:, :31], velocity=wall.actors.velocity[:, :31],
                    valid=wall.actors.valid[:, :31], ground_z=wall.actors.ground_z[:, :31])  # fmt: skip
    assert score_rollout(wall, replace(drive(wall, going(8.0)[:31]), actors=early), config).nc[0] == 1.0
