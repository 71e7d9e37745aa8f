"""Every rule-based planner through recorded drives; log replay is the measure of the simulation itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drive.cli import main
from drive.logs.store import Log
from drive.plans.baselines import BASELINES, LogReplay
from drive.rollouts.config import ActorConfig, SimulationConfig
from drive.rollouts.ground import ground_of, places_off_road
from drive.rollouts.simulate import simulate
from drive.samples.scene import HEADING, Scene, X, Y
from drive.samples.scene_load import load_scene


@pytest.fixture(scope="module")
def scenes(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """All 7 nuScenes drives, 8 Waymo scenarios that know their ego, 2 Argoverse 2 logs."""
    root = tmp_path_factory.mktemp("logs")
    found = []
    for dataset, folder in (
        ("scenarionet", "nuscenes/scenarionet"),
        ("scenarionet", "waymo/motion/scenarionet"),
        ("waymo_motion", "waymo/motion/scenario"),
        ("waymo_motion", "waymo/motion/scenario_json"),
        ("av2", "av2/sensor"),
        ("av2", "av2/scenario_mining"),
    ):
        out = root / folder.replace("/", "_")
        assert main(["convert", dataset, str(real_data / folder), str(out), "--workers", "1"]) == 0
        logs = [Log.open(p) for p in sorted(out.iterdir()) if p.is_dir()]
        found += [load_scene(log, 0.0) for log in logs if not log.name.endswith("2bd577a009790706")]  # names no ego
    return found


def test_log_replay_shows_what_the_logs_show(scenes: list[Scene]) -> None:
    """No contact anywhere. Followed exactly, no drive leaves the road; as a vehicle follows it, one cuts a tight curve
    by a hand (the tracker is up to a metre beside its plan there)."""
    assert len(scenes) >= 15
    exact = simulate(scenes, LogReplay(), SimulationConfig(tracking="perfect"))
    assert [r.scene for r in exact if r.infractions or r.failed or r.end != "end of the log"] == []
    for given, done in zip(scenes, exact, strict=True):
        np.testing.assert_allclose(done.ego[:, [X, Y]], given.ego[:, [X, Y]], atol=1e-6)
    tracked = simulate(scenes, LogReplay())
    wrong = [(r.scene[-12:], i.kind, round(i.amount, 1)) for r in tracked for i in r.infractions]
    assert wrong == [("scene-1094@0", "off_road", 0.3)]


def test_recorded_drives_are_on_the_left_of_their_road_edges(scenes: list[Scene]) -> None:
    """What Waymo's maps promise: the left of a road edge is road."""
    edged = [s for s in scenes if s.map.drivable_from == "road edges"]
    assert len(edged) >= 6
    ground = ground_of(edged)
    for number, given in enumerate(edged):
        ego, v = given.ego[given.ego_valid], given.vehicle
        ahead = np.stack([np.cos(ego[:, HEADING]), np.sin(ego[:, HEADING])], axis=1)
        left = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1)
        for along in (v.front, -v.rear):
            for side in (v.width / 2, -v.width / 2):
                corner = ego[:, [X, Y]] + along * ahead + side * left
                off = places_off_road(ground, np.full(len(ego), number), corner, given.ego_z[given.ego_valid])
                assert off.max() < 0


@pytest.mark.parametrize("mode", ["log", "idm", "idm_behind"])
def test_every_planner_drives_in_every_scene(scenes: list[Scene], mode: str) -> None:
    for planner in BASELINES.values():
        config = SimulationConfig(actors=ActorConfig(mode=mode))  # type: ignore[arg-type]
        done = simulate(scenes, planner, config)
        assert [r.failure for r in done if r.failed] == []
        assert all(np.isfinite(r.ego).all() and np.isfinite(r.actors.box).all() for r in done)


def test_traffic_that_answers_is_hit_by_less(scenes: list[Scene]) -> None:
    """An ego that stops is run into from behind by recorded traffic; traffic that sees it is not."""

    def hits(mode: str) -> int:
        config = SimulationConfig(actors=ActorConfig(mode=mode))  # type: ignore[arg-type]
        done = simulate(scenes, BASELINES["stop"], config)
        return sum(i.kind == "collision" and not i.at_fault for r in done for i in r.infractions)

    assert hits("log") > 5
    assert hits("idm") <= 2
