"""PDM score on scenes whose answer is worked out on paper: a straight road along x, two lanes, the ego in the right.

Lane 0 (y from -3.5 to 0, route, driven towards +x) and lane 1 (y from 0 to 3.5, not on the route). The ego is 2.297 m
wide and reaches from 1.127 m behind to 4.049 m ahead of its rear axle.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drive.dynamics.vehicle import Vehicle
from drive.samples.scene import CONNECTOR, DRIVABLE, INTERSECTION, LANE
from drive.scores.pdm import NEVER, PdmScorer, PdmTable, filtered_by_human, finished, progress_share, score_states
from drive.scores.pdm_config import PdmConfig
from drive.scores.pdm_route import make_centre_line
from drive.scores.pdm_scene import PdmScene
from drive.scores.pdm_stages import pair_score, stage_two_weights, two_stage_score
from tests.scores.pdm_world import INSTANTS, polygon_map

V1, V2 = PdmConfig(), PdmConfig(version="v2-fixed")
TIME = np.arange(41) * 0.1


def box(x0: float, x1: float, y0: float, y1: float) -> list[np.ndarray]:
    return [np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])]


ROAD = [box(-50, 300, -3.5, 3.5), box(-50, 300, -3.5, 0), box(-50, 300, 0, 3.5)]
ROAD_LAYERS, ROAD_LANES = [DRIVABLE, LANE, LANE], [-1, 0, 1]


def street(
    *objects: tuple[float, float, float, float], things: tuple[bool, ...] | None = None, extra: list | None = None
) -> PdmScene:
    """Objects of 4 by 2 m at (x, y) now, with (vx, vy); heading along x."""
    A = len(objects)
    polygons, layers, lanes = list(ROAD), list(ROAD_LAYERS), list(ROAD_LANES)
    for ring, layer, lane in extra or []:
        polygons, layers, lanes = [*polygons, ring], [*layers, layer], [*lanes, lane]
    known = polygon_map(polygons, np.array(layers), np.array(lanes))
    given = np.array(objects, float).reshape(A, 4)
    boxes, time = np.zeros((INSTANTS, A, 5)), np.arange(INSTANTS)[:, None, None] * 0.1
    boxes[..., :2] = given[:, :2] + time * given[:, 2:]
    boxes[..., 2], boxes[..., 3] = 4.0, 2.0
    return PdmScene(
        name="street",
        vehicle=Vehicle(),
        map=known,
        boxes=boxes,
        valid=np.ones((INSTANTS, A), bool),
        speed=np.broadcast_to(np.hypot(given[:, 2], given[:, 3]), (INSTANTS, A)),
        is_thing=np.array(things if things is not None else [False] * A, bool),
        on_route=(known.lane == 0) | (known.lane == 5),
        line=make_centre_line(np.array([[-50.0, -1.75], [300.0, -1.75]]), 0.5),
        red=np.zeros((INSTANTS, 0), bool),
        red_polygon=np.zeros(0, np.int64),
    )


def going(speed: float, y: float = -1.75, sideways: float = 0.0) -> np.ndarray:
    """States [1, 41, 11] at a constant speed, all the while heading along x, sliding sideways."""
    states = np.zeros((1, 41, 11))
    states[..., 0], states[..., 1], states[..., 3] = speed * TIME, y + sideways * TIME, speed
    return states


def one(scene: PdmScene, states: np.ndarray, config: PdmConfig = V1) -> PdmTable:
    return score_states(scene, states, config)


def test_free_road() -> None:
    for config in (V1, V2):
        table = one(street(), going(10.0), config)
        assert table.score[0] == 1.0
        assert table.progress_m[0] == pytest.approx(40.0)
        assert all(step[0] == NEVER for step in table.steps.values())
        assert table.label.endswith(f"{config.version} (navsim)")


def test_rear_end() -> None:
    """A car stands with its rear at x = 28: the bumper, at 4.049 + 10 t, is there after 2.395 s, at step 24. The look
    ahead of 0.9 s sees it at step 15 (1.495 s)."""
    table = one(street((30.0, -1.75, 0.0, 0.0)), going(10.0))
    assert (table.nc[0], table.ttc[0]) == (0.0, 0.0)
    assert (table.steps["collision"][0], table.collision_with[0]) == (24, 0)
    assert (table.steps["ttc"][0], table.ttc_with[0]) == (15, 0)
    assert table.score[0] == 0.0
    row = table.row(0)
    assert (row["collision_s"], row["ttc_s"], row["off_road_s"], row["nc"]) == (2.4, 1.5, None, 0.0)
    assert "ec" not in row
    # A cone in its place costs half, not all; it is a step later because both are where they were.
    cone = one(street((30.0, -1.75, 0.0, 0.0), things=(True,)), going(10.0))
    assert (cone.nc[0], cone.steps["collision"][0]) == (0.5, 24)


def test_slower_leader_is_met_by_the_bumper() -> None:
    """At 10 m/s behind a car at 4 m/s whose rear is 8 m ahead of the bumper: 8 / 6 = 1.33 s."""
    table = one(street((4.049 + 8 + 2, -1.75, 4.0, 0.0)), going(10.0))
    assert (table.nc[0], table.steps["collision"][0]) == (0.0, 14)


def test_stopped_ego_hit_from_behind() -> None:
    """Standing, it is never at fault; nor is it moving slowly with the other behind (bearing of 180 degrees)."""
    behind = street((-20.0, -1.75, 10.0, 0.0))
    assert one(behind, going(0.0)).nc[0] == 1.0
    table = one(behind, going(2.0))
    assert (table.nc[0], table.ttc[0]) == (1.0, 1.0)
    # Not at fault it then drives on through: the object stays ignored, though its middle comes to lie ahead.
    assert one(street((-20.0, -1.75, 20.0, 0.0)), going(2.0)).nc[0] == 1.0


def test_side_swipe() -> None:
    """A car beside, its middle 1.9 m ahead of the rear axle and 2.5 m to the left (bearing of 53 degrees), its front
    0.15 m behind the ego's bumper, at the same speed."""
    beside = (1.9, 0.75, 10.0, 0.0)
    # It comes over: 2.5 - 1 t < 1 + 1.1485 after 0.36 s. Inside its own lane the ego is not to blame.
    inside = one(street((1.9, 0.75, 10.0, -1.0)), going(10.0))
    assert (inside.nc[0], inside.steps["collision"][0]) == (1.0, NEVER)
    # The ego comes over: its left side is at -0.6015 + 1 t, the first contact at step 4 (0.3515 s), when it is still in
    # its own lane and so without fault; the object is ignored from then on.
    assert one(street(beside), going(10.0, sideways=1.0)).nc[0] == 1.0
    # The same from 0.7 m further left: its left side is across the line from the start, and the touch its fault.
    across = one(street((1.9, 1.45, 10.0, 0.0)), going(10.0, y=-1.05, sideways=1.0))
    assert (across.nc[0], across.steps["collision"][0]) == (0.0, 4)


@pytest.mark.parametrize(("over", "strict", "nuplan"), [(-0.01, 1.0, 1.0), (0.29, 0.0, 1.0), (0.31, 0.0, 0.0)])
def test_leaving_the_road(over: float, strict: float, nuplan: float) -> None:
    """The right corners `over` metres beyond the edge, y = -3.5: the PDM score has no tolerance, nuPlan's has 0.3 m."""
    states = going(10.0, y=-3.5 - over + 2.297 / 2)
    assert one(street(), states).dac[0] == strict
    tolerant = one(street(), states, replace(V1, road_tolerance_m=0.3))
    assert tolerant.label == "PDMS v1.1 (navsim, 0.3 m off the road are spared)"
    assert tolerant.dac[0] == nuplan
    assert (tolerant.steps["off_road"][0] == NEVER) == bool(nuplan)


@pytest.mark.parametrize(("speed", "ddc"), [(1.8, 1.0), (1.9, 0.5), (5.4, 0.5), (5.5, 0.0)])
def test_wrong_way(speed: float, ddc: float) -> None:
    """In the other lane: eleven steps' way counts, 1.1 s; 2 m are reached from 1.82 m/s on, 6 m from 5.46 m/s."""
    table = one(street(), going(speed, y=1.75), V2)
    assert table.ddc[0] == ddc
    assert table.product[0] == ddc
    assert one(street(), going(speed, y=1.75), V1).product[0] == 1.0  # v1.1 shows it, and does not multiply by it


def test_wrong_way_does_not_count_in_intersections_of_v2() -> None:
    scene = street(extra=[(box(-50, 300, -3.5, 3.5), INTERSECTION, -1)])
    assert one(scene, going(8.0, y=1.75), V2).ddc[0] == 1.0
    assert one(scene, going(8.0, y=1.75), V1).ddc[0] == 0.0


def test_red_light() -> None:
    """A connector from x = 30 to 40 is red from 1 s to 3 s. At 10 m/s the bumper enters at 2.6 s, at 20 m/s at 1.3 s;
    at 9 m/s at 2.89 s, at 8.5 m/s at 3.06 s, when it is no longer red."""
    scene = street(extra=[(box(30, 40, -3.5, 0), CONNECTOR, 5)])
    red = (np.arange(INSTANTS) >= 10) & (np.arange(INSTANTS) <= 30)
    scene = replace(scene, red=red[:, None], red_polygon=np.array([3]))
    steps = {v: int(one(scene, going(v), V2).steps["red_light"][0]) for v in (10.0, 20.0, 9.0, 8.5)}
    assert steps == {10.0: 26, 20.0: 13, 9.0: 29, 8.5: NEVER}
    assert one(scene, going(10.0), V2).score[0] == 0.0
    assert one(scene, going(10.0), V1).score[0] == 1.0  # v1.1 knows no lights
    inside = going(0.1)
    inside[..., 0] += 33  # wholly inside: no edge is crossed
    assert one(scene, inside, V2).steps["red_light"][0] == 10


def test_lane_keeping() -> None:
    """20 steps in a row more than 0.5 m off the middle; steps in an intersection are left out and do not start anew."""
    assert one(street(), going(8.0, y=-1.75 + 0.49), V2).lk[0] == 1.0
    off = one(street(), going(8.0, y=-1.75 + 0.51), V2)
    assert (off.lk[0], off.steps["lane"][0]) == (0.0, 19)
    # The middle, 1.461 m ahead of the axle, is inside from x = 4 to 12: steps 4 to 13.
    crossing = street(extra=[(box(4.05, 12.0, -3.5, 3.5), INTERSECTION, -1)])
    assert one(crossing, going(8.0, y=-1.75 + 0.51), V2).steps["lane"][0] == 29


def test_time_to_collision_in_time() -> None:
    """v1.1 looks ahead from every step and needs 5 s of traffic, v2 only from the first 32."""
    scene = street((4.049 + 36.9 + 2, -1.75, 0.0, 0.0))  # its rear is reached after 3.69 s at 10 m/s
    assert one(scene, going(10.0), V1).steps["ttc"][0] == 28
    later = street((4.049 + 43.9 + 2, -1.75, 0.0, 0.0))  # 4.39 s: seen from step 35 on
    assert one(later, going(10.0), V1).steps["ttc"][0] == 35
    assert one(later, going(10.0), V2).ttc[0] == 1.0
    with pytest.raises(ValueError, match="50 instants"):
        PdmScorer(replace(scene, boxes=scene.boxes[:45], valid=scene.valid[:45], speed=scene.speed[:45],
                          red=scene.red[:45]), V1)  # fmt: skip


def test_first_appearance_is_a_quirk() -> None:
    """A car that stands now and drives at the contact: by the published scorer it stands."""
    scene = street((1.9, 0.75, 10.0, -1.0))
    speed = np.array(scene.speed)
    speed[0] = 0.0
    scene = replace(scene, speed=speed)
    assert one(scene, going(10.0)).nc[0] == 0.0
    assert one(scene, going(10.0), replace(V1, parity="corrected")).nc[0] == 1.0


def table_of(**columns: float) -> PdmTable:
    names = ("nc", "dac", "ddc", "tlc", "ep", "ttc", "lk", "comfort")
    row = {name: np.array([columns.get(name, 1.0)]) for name in names}
    nothing, ec = np.zeros(1, np.int64), columns.get("ec")
    product = row["nc"] * row["dac"] * row["ddc"] * row["tlc"]
    return PdmTable("", **row, ec=None if ec is None else np.array([ec]), product=product, score=np.zeros(1),
                    progress_m=np.zeros(1), steps={}, collision_with=nothing, ttc_with=nothing,
                    failed=np.zeros(1, bool), unjudged=())  # fmt: skip


def test_golden_aggregates() -> None:
    """Specification, section 9."""
    assert finished(table_of(ep=0.82), V1).score[0] == pytest.approx(0.925)
    assert finished(table_of(ep=0.82, lk=0.0, ec=1.0), V2).score[0] == pytest.approx(0.819, abs=5e-4)
    assert finished(table_of(ep=0.0), V1).score[0] == pytest.approx(0.583, abs=5e-4)
    assert finished(table_of(nc=0.5, dac=1.0), V1).score[0] == pytest.approx(0.5)


def test_progress_is_shared_as_the_versions_say() -> None:
    table = replace(table_of(), progress_m=np.array([30.0]), product=np.array([0.0]))
    assert progress_share(table, V1, 40.0)[0] == 0.0  # v1.1: an infraction takes the progress too
    assert progress_share(table, V2, 40.0)[0] == 0.75
    assert progress_share(table, replace(V1, parity="corrected"), 40.0)[0] == 0.75
    assert progress_share(table, V1, 5.0)[0] == 0.0  # nobody gets further than 5 m
    assert progress_share(table, V2, 5.0)[0] == 1.0
    ahead = replace(table, product=np.ones(1))
    assert progress_share(ahead, V1, 20.0)[0] == 1.0
    assert progress_share(ahead, V1)[0] == 1.0


def test_human_filter() -> None:
    """The human left the road: the plan's own leaving it is forgiven; the legacy version only shows it."""
    plan, human = finished(table_of(dac=0.0, ttc=0.0), V2), table_of(dac=0.0)
    fixed = filtered_by_human(plan, human, V2)
    assert (fixed.dac[0], fixed.product[0], fixed.ttc[0]) == (1.0, 1.0, 0.0)
    assert fixed.score[0] == pytest.approx((5 + 0 + 2 + 2) / 14)
    legacy = filtered_by_human(plan, human, replace(V2, version="v2-legacy"))
    assert (legacy.dac[0], legacy.score[0]) == (1.0, 0.0)
    with pytest.raises(ValueError, match="v2"):
        filtered_by_human(plan, human, V1)


def test_two_stages() -> None:
    """Starts 0 and 0.2 m off: weights 1 and exp(-0.04 / 0.2), divided by their sum."""
    near = np.exp(-0.2)
    weights = stage_two_weights(np.array([1.0, 2.0]), np.array([[1.0, 2.0], [1.2, 2.0]]))
    np.testing.assert_allclose(weights, [1 / (1 + near), near / (1 + near)])
    np.testing.assert_allclose(stage_two_weights(np.zeros(2), np.array([[9.0, 0], [8.0, 0]])), [0.5, 0.5])
    score = two_stage_score(0.8, np.zeros(2), np.array([1.0, 0.5]), np.array([[0.0, 0.0], [50.0, 0.0]]))
    assert score == pytest.approx(0.8)
    assert pair_score(0.8, 0.6) == pytest.approx(0.7)
    assert stage_two_weights(np.zeros(2), np.zeros((0, 2))).shape == (0,)
    with pytest.raises(ValueError, match="second scenes"):
        two_stage_score(1.0, np.zeros(2), np.zeros(0), np.zeros((0, 2)))


def test_no_proposals_nobody_about_no_map_no_route() -> None:
    scene = street()
    assert len(one(scene, np.zeros((0, 41, 11)))) == 0
    assert one(scene, np.zeros((0, 41, 11)), V2).ep.shape == (0,)
    bare = replace(scene, map=polygon_map([], np.zeros(0), np.zeros(0)), on_route=np.zeros(0, bool), line=None)
    table = one(bare, going(10.0), V2)
    assert table.unjudged == ("ddc", "ep", "lk")
    assert (table.dac[0], table.ep[0]) == (0.0, 1.0)
    unknown = replace(bare, map=replace(bare.map, judges_road=False))
    assert one(unknown, going(10.0), V2).unjudged == ("dac", "ddc", "ep", "lk")
    assert one(unknown, going(10.0), V2).score[0] == 1.0


def test_a_plan_that_is_not_a_number_fails_alone() -> None:
    states = np.concatenate([going(10.0), going(10.0)])
    states[0, 20, 1] = np.nan
    for config in (V1, V2):
        table = one(street((30.0, 9.0, 0.0, 0.0)), states, config)
        assert table.failed.tolist() == [True, False]
        assert table.score.tolist() == [0.0, 1.0]


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="41, 11"):
        one(street(), np.zeros((1, 40, 11)))
    with pytest.raises(ValueError, match="version"):
        PdmConfig(version="v3")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="parity"):
        PdmConfig(parity="none")  # type: ignore[arg-type]
