"""PDM score of drives in windows, worked out by hand on the street of `pdm_street` (its driver goes 8 m/s for 10 s)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drive.dynamics.vehicle import Vehicle
from drive.plans.plan import Plan
from drive.rollouts.rollout import PlanRecord, Rollout, not_simulated
from drive.samples.scene import STATIC, Scene
from drive.scores.closed_loop import DRIVE_SCORES, DriveScoreConfig, score_drives, window_starts, windows_scene
from drive.scores.closed_loop_reference import observe_drive
from drive.scores.pdm import PdmScorer
from drive.scores.pdm_config import PdmConfig
from drive.scores.pdm_reference import observe_start
from drive.scores.pdm_scene import pdm_scene
from tests.scores.pdm_street import cars, going, street

EIGHT = DriveScoreConfig(seconds=8.0)


def drive(scene: Scene, ego: np.ndarray, end: str = "end of the log", failure: str = "") -> Rollout:
    none, zeros, count = np.zeros(0), np.zeros(len(ego)), len(ego)
    plans = PlanRecord(none.astype(np.int64), np.zeros(1, np.int64), np.zeros((0, 3)), none, none)
    seen = scene.actors
    actors = replace(
        seen, box=seen.box[:, :count], velocity=seen.velocity[:, :count], valid=seen.valid[:, :count],
        ground_z=seen.ground_z[:, :count],
    )  # fmt: skip
    return Rollout(scene.name, scene.log, "made", scene.timestamps_ns[:count], scene.origin_xy, ego, Vehicle(), actors,
                   zeros, zeros, zeros, True, True, plans, (), end, failure)  # fmt: skip


def test_windows_cover_the_drive() -> None:
    """8 s hold windows at 0, 2 and 4 s; of 9 s the last second has one that starts at 5 s; 3.9 s hold none."""
    assert window_starts(80, EIGHT).tolist() == [0, 20, 40]
    assert window_starts(90, EIGHT).tolist() == [0, 20, 40, 50]
    assert window_starts(90, replace(EIGHT, to_the_end=False)).tolist() == [0, 20, 40]
    assert window_starts(40, EIGHT).tolist() == [0]
    assert window_starts(39, EIGHT).tolist() == []


def test_against_the_logs_driver() -> None:
    """As fast: 1. Half as fast: progress 1/2, (2.5 + 5 + 2) / 12. Standing: (0 + 5 + 2) / 12. Faster is no better."""
    scene = street(cars())
    speeds = (8.0, 4.0, 0.0, 10.0)
    table = score_drives([drive(scene, going(v)[:81]) for v in speeds], [scene] * 4, EIGHT)
    assert table.pdms.tolist() == pytest.approx([1.0, 9.5 / 12, 7 / 12, 1.0])
    assert table.columns["ep"].tolist() == pytest.approx([1.0, 0.5, 0.0, 1.0])
    assert table.offsets.tolist() == [0, 3, 6, 9, 12]
    assert table.progress_m[:3].tolist() == pytest.approx([32.0] * 3)
    assert table.reference_m.tolist() == pytest.approx([32.0] * 12)
    assert table.label == "PDMS v1.1 (navsim) of drives, 4 s every 2 s, progress against human"
    alone = score_drives([drive(scene, going(4.0)[:81])], [scene], replace(EIGHT, reference="best"))
    assert alone.pdms.tolist() == [1.0]


def test_the_extended_score_knows_what_was_driven_before() -> None:
    """Half as fast, no lane left: (2.5 + 5 + 2 + 2) / 14; a jump in speed 1 s before a window costs its comfort."""
    scene = street(cars())
    config = replace(EIGHT, pdm=PdmConfig(version="v2-fixed"))
    half, jump = going(4.0)[:81], going(4.0)[:81]
    jump[8:12, 5] = 9.0  # m/s^2 in the first window and before the second
    table = score_drives([drive(scene, half), drive(scene, jump)], [scene] * 2, config)
    assert table.pdms[0] == pytest.approx(11.5 / 14)
    # The log begins with the drive: nothing is known of before the first window, which counts as comfortable.
    assert table.window_columns["comfort"][3:].tolist() == [1.0, 0.0, 1.0]


def test_two_plans_on_end_must_agree() -> None:
    """v2. 8 m/s for ever, said twice: 1. The next plan asks for 2 m/s2 more than the one before: 0, and 2 of 16 are
    lost. One plan alone, or plans shorter than a window: not judged, weights of 14."""
    scene, config = street(cars()), replace(EIGHT, pdm=PdmConfig(version="v2-fixed"))
    ego = going(8.0)[:81]
    times = np.arange(1, 9) * 0.5

    def straight(acceleration: float, until: float = 4.0) -> Plan:
        t = times[times <= until]
        way = 8.0 * t + acceleration * t**2 / 2
        return Plan(np.stack([way, np.zeros_like(t), np.zeros_like(t)], axis=1), t)

    def planned(*plans: Plan) -> Rollout:
        made = [(5 * k, plan, ego[5 * k, :3], 0.0) for k, plan in enumerate(plans)]
        return replace(drive(scene, ego), plans=PlanRecord.of(made))

    same, eager = [straight(0.0)] * 16, [straight(2.0 * (k % 2)) for k in range(16)]
    drives = [planned(*same), planned(*eager), planned(same[0]), planned(*[straight(0.0, 3.0)] * 16), planned()]
    table = score_drives(drives, [scene] * 5, config)
    assert table.columns["ec"].tolist() == [1.0, 0.0, 1.0, 1.0, 1.0]
    assert table.pdms.tolist() == pytest.approx([1.0, 14 / 16, 1.0, 1.0, 1.0])
    assert ["ec" in names for names in table.unjudged] == [False, False, True, True, True]
    assert score_drives(drives, [scene] * 5, EIGHT).columns["ec"].tolist() == [1.0] * 5  # v1.1 has none


def test_early_ends_count_nothing() -> None:
    """Ended after 5.0 s: of three windows one was driven to its end. A planner that fails scores 0 altogether."""
    scene = street(cars())
    hit = drive(scene, going(8.0)[:51], "collision")
    failed = drive(scene, going(8.0)[:71], "planner failed", "raised ValueError")
    missing = not_simulated("street@9", "street", "made", "no such log")
    table = score_drives([hit, failed, missing], [scene, scene, None], EIGHT)
    assert table.pdms.tolist() == pytest.approx([1 / 3, 0.0, 0.0])
    assert table.driven.tolist() == [True, False, False, False, False, False]
    assert table.failed.tolist() == [False, True, True]
    assert table.left_out.tolist() == [False, False, False]
    assert np.diff(table.offsets).tolist() == [3, 3, 0]


def test_a_collision_counts_in_its_windows_alone() -> None:
    """A car stands at 60 m. The bumper is 4.049 m ahead of the axle, its tail at 58: met 6.75 s after the start at
    8 m/s, in the windows from 4 s on. From 5.85 s on 0.9 s are left: the window of 2 s to 6 s fails by its time to
    collision alone, that of 0 s to 4 s is clean."""
    scene = street(cars((60.0, -1.75, 0.0)))
    table = score_drives([drive(scene, going(8.0)[:81])], [scene], EIGHT)
    assert table.window_columns["nc"].tolist() == [1.0, 1.0, 0.0]
    assert table.window_columns["ttc"].tolist() == [1.0, 0.0, 0.0]
    assert table.window_pdms[0] == 1.0
    assert table.window_pdms[2] == 0.0


def test_scenes_too_short_are_left_out() -> None:
    scene = street(cars())
    table = score_drives([drive(scene, going(8.0)[:31])], [scene], replace(EIGHT, seconds=3.0))
    assert (table.left_out.tolist(), table.pdms.tolist(), len(table.start)) == ([True], [0.0], 0)


@pytest.mark.parametrize("version", ["v1.1", "v2-fixed"])
def test_windows_together_are_windows_alone(version: str) -> None:
    """Drives of one scene and their windows share arrays: each scores what it scores in a scene of its own."""
    scene = street(cars((30.0, -1.75, 5.0), (40.0, 1.75, -6.0), (-20.0, -1.75, 9.0), (70.0, -4.0, 0.0)))
    scene = replace(scene, actors=replace(scene.actors, kind=np.array([0, 0, 0, STATIC])))
    other = replace(street(cars((35.0, -1.75, 0.0))), name="other@0")
    config = replace(EIGHT, pdm=PdmConfig(version=version), reference="best")  # type: ignore[arg-type]
    drives = [drive(scene, going(v, y)[:81]) for v, y in ((8.0, -1.75), (6.0, -0.5), (4.0, -2.6), (9.0, 1.0))]
    drives, scenes = [drives[0], drive(other, going(7.0)[:81]), *drives[1:]], [scene, other, *[scene] * 3]
    together = score_drives(drives, scenes, config)
    alone = [score_drives([r], [s], config) for r, s in zip(drives, scenes, strict=True)]
    for name in DRIVE_SCORES:
        expected = np.concatenate([a.window_columns[name] for a in alone])
        np.testing.assert_array_equal(together.window_columns[name], expected)
    assert 0 < together.window_columns["ttc"].mean() < 1
    # A window is the scene of its first instant.
    if version == "v2-fixed":
        at = 20
        logged = PdmScorer(pdm_scene(scene, config.pdm, at), config.pdm).raw(drives[2].ego[None, at : at + 41])
        for name in ("nc", "dac", "ddc", "tlc", "ttc", "lk"):
            assert together.window_columns[name][7] == logged.column(name)[0]


def test_traffic_ends_with_the_drive() -> None:
    scene = street(cars((60.0, -1.75, 0.0)))
    config = PdmConfig()
    ready = windows_scene(scene, [drive(scene, going(8.0)[:81])], [np.array([0, 40])], config)
    assert ready.starts == 2
    assert ready.valid[0].all()
    assert ready.valid[1, :, 0].tolist() == [True] * 41 + [False] * 9


def test_nothing_and_what_does_not_fit() -> None:
    scene = street(cars())
    none = score_drives([], [], EIGHT)
    assert (len(none), none.offsets.tolist(), none.columns["nc"].shape) == (0, [0], (0,))
    whole = drive(scene, going(8.0)[:81])
    with pytest.raises(ValueError, match="1 drives, 0 scenes"):
        score_drives([whole], [], EIGHT)
    with pytest.raises(ValueError, match="told of 10 s"):
        score_drives([whole], [scene], DriveScoreConfig())
    with pytest.raises(ValueError, match="is given scene other"):
        score_drives([whole], [replace(scene, name="other@0")], EIGHT)
    with pytest.raises(ValueError, match="is needed to score it"):
        score_drives([whole], [None], EIGHT)
    with pytest.raises(ValueError, match="other actors"):
        score_drives([whole], [street(cars((9.0, 9.0, 0.0)))], EIGHT)
    with pytest.raises(ValueError, match="a reference human, pdm_closed or best"):
        DriveScoreConfig(reference="nobody")  # type: ignore[arg-type]


def test_against_pdm_closed() -> None:
    """The street allows 10 m/s: from 8 m/s PDM-Closed is ahead of the log's driver, from a standstill it makes some
    way. A drive at 8 m/s has so much less than 1; without a route there is no reference and nothing to judge."""
    scene = street(cars())
    config = replace(EIGHT, reference="pdm_closed")
    drives = [drive(scene, going(v)[:81]) for v in (8.0, 0.0)]
    table = score_drives(drives, [scene] * 2, config)
    assert (table.reference_m[:3] > 33.0).all()
    assert (table.reference_m < 42.0).all()
    np.testing.assert_allclose(table.window_columns["ep"][:3], 32.0 / table.reference_m[:3])
    assert (table.reference_m[3:] > 5.0).all()
    assert table.columns["ep"][1] == 0.0
    lost = replace(scene, route=None)
    none = score_drives([drive(lost, going(8.0)[:81])], [lost], config)
    assert "ep" in none.unjudged[0]
    assert none.pdms[0] == 1.0


def test_what_was_known_at_a_step() -> None:
    """At step 5 of a drive that starts 0.3 s into its scene: nothing before the log, the log's 0.3 s, the drive."""
    whole = street(cars((40.0, -1.75, 6.0), (60.0, 1.75, 0.0)))
    scene = replace(whole, now=3)
    own = going(4.0)[:81]
    moved = replace(drive(whole, own), actors=replace(drive(whole, own).actors, box=whole.actors.box[:, :81] + 100.0))
    seen = observe_drive(scene, moved, 5)
    assert seen.ego_valid.tolist() == [False] * 12 + [True] * 9
    np.testing.assert_array_equal(seen.ego[12:15], scene.ego[:3])
    np.testing.assert_array_equal(seen.ego[15:], own[:6])
    np.testing.assert_array_equal(seen.actors.box[:, 12:15], whole.actors.box[:, :3])
    np.testing.assert_array_equal(seen.actors.box[:, 15:], whole.actors.box[:, :6] + 100.0)
    assert seen.timestamp_ns == 8 * 10**8
    with pytest.raises(ValueError, match="step 81"):
        observe_drive(scene, moved, 81)


def test_at_the_start_it_is_what_planners_are_shown() -> None:
    scene = replace(street(cars((40.0, -1.75, 6.0))), now=10)
    logged = scene.actors
    own = drive(scene, scene.ego[10:91])
    moved = replace(own.actors, box=logged.box[:, 10:91], velocity=logged.velocity[:, 10:91])
    own = replace(own, actors=moved)
    seen, shown = observe_drive(scene, own, 0), observe_start(scene)
    for name in ("ego", "ego_valid"):
        np.testing.assert_array_equal(getattr(seen, name), getattr(shown, name))
    for name in ("box", "velocity", "valid", "kind"):
        np.testing.assert_array_equal(getattr(seen.actors, name), getattr(shown.actors, name))
    assert (seen.command, seen.actors.token, seen.step) == (shown.command, shown.actors.token, 0)
