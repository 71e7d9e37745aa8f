"""Pixels in, plan out: what a planner that sees for itself is given in a drive, and a whole run from training on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from drive.cli import main
from drive.errors import UserError
from drive.experiment import Experiment
from drive.features.transfuser import TransFuserConfig
from drive.logs.store import Log
from drive.plan import load_planner
from drive.plans.learned import PlannerConfig
from drive.plans.mlp_head import MlpHeadConfig
from drive.plans.plan import Plan
from drive.plans.planner import HISTORY, Observation
from drive.plans.trunk_sensor import SensorTrunkConfig
from drive.rollouts.config import SimulationConfig
from drive.rollouts.planner_sensors import BesideRenderer, PlannerSensors, SeenByPlanner, instant_beside
from drive.rollouts.sensor_rig import SensorRig
from drive.rollouts.simulate import simulate
from drive.samples.plan_perturb import PerturbConfig
from drive.samples.plan_sample import PlanFeatures
from drive.samples.plan_sample_data import PlanDataConfig, PlanDataset
from drive.samples.plan_sample_raster import RasterGrid
from drive.samples.plan_sample_sensors import PlanSensorInput, PlanSensors, recorded_sensors
from drive.samples.scene import X
from drive.samples.scene_load import load_scene
from drive.train.config import TrainConfig
from drive.train.loop import train
from tests.rollouts.test_sensors import EGO_MPS, write_town
from tests.rollouts.test_simulate import Straight

SENSORS = PlanSensors(image=(32, 128), cell_m=1.0, semantic_cell_m=1.0)
FEATURES = PlanFeatures(raster=RasterGrid(cell_m=2.0), most_lines=8, sensors=SENSORS)
MISSING = ("front_left: no camera looks there", "front_right: no camera looks there")


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_town(tmp_path_factory.mktemp("town"), frames=51)


class Sees(Straight):
    """Drives straight on and keeps what it was told."""

    name = "sees"
    sensors = SENSORS

    def __init__(self) -> None:
        self.told: list[Observation] = []

    def plan(self, observation: Observation) -> Plan:
        self.told.append(observation)
        return super().plan(observation)


def seen(observation: Observation) -> PlanSensorInput:
    assert observation.sensors is not None
    return observation.sensors


def test_a_drive_on_what_is_rendered(street: Path, tmp_path: Path) -> None:
    log = Log.open(street)
    scene = load_scene(log, 1.0)
    planner = Sees()
    suite = PlannerSensors({log.name: SensorRig.of(log)}, SENSORS, images=tmp_path)
    (rollout,) = simulate([scene], planner, SimulationConfig(longest_s=1.0), suite)
    assert rollout.planner == "sees"  # there is no other drive of it
    assert [o.step for o in planner.told] == [0, 5]
    for o in planner.told:
        assert (len(o.actors), o.actors.valid.shape, o.route, o.map.lane_ids) == (0, (0, HISTORY), None, ())
        assert o.lights.state.shape == (HISTORY, 0)
        assert o.ego[-1, X] == pytest.approx(scene.ego[scene.now, X] + 0.1 * EGO_MPS * o.step, abs=0.3)
        assert seen(o).missing == MISSING
        assert seen(o).camera[:, 34:94].any()
        assert not seen(o).camera[:, :34].any()
        assert not seen(o).camera[:, 94:].any()
    # It starts where it was recorded: the recorded sweep (its own noise has the same seed), counted.
    recorded = recorded_sensors(log, log.frame(10), SENSORS)
    assert (recorded.lidar != seen(planner.told[0]).lidar).mean() < 0.002
    assert (recorded.lidar > 0).sum() > 100
    assert (seen(planner.told[1]).lidar != seen(planner.told[0]).lidar).mean() > 0.01
    assert suite.spent.looks == 2
    assert dict(suite.spent.missing) == dict.fromkeys(MISSING, 2)
    assert suite.spent.render_s > 0 < suite.spent.camera_s
    assert sorted(p.name for p in (tmp_path / scene.name).iterdir()) == ["000.jpg", "005.jpg"]
    assert suite.seen == []


def test_the_same_drive_again_sees_the_same(street: Path) -> None:
    log = Log.open(street)
    rigs = {log.name: SensorRig.of(log)}
    first, again, other = Sees(), Sees(), Sees()
    for planner, seed in ((first, 0), (again, 0), (other, 1)):
        suite = SeenByPlanner(SENSORS, seed).suite(rigs)
        simulate([load_scene(log, 1.0)], planner, SimulationConfig(longest_s=0.5), suite)
    np.testing.assert_array_equal(seen(first.told[0]).camera, seen(again.told[0]).camera)
    np.testing.assert_array_equal(seen(first.told[0]).lidar, seen(again.told[0]).lidar)
    assert (seen(first.told[0]).camera != seen(other.told[0]).camera).any()


def test_training_decisions_beside_the_drive_are_rendered(street: Path, tmp_path: Path) -> None:
    config = PlanDataConfig(features=replace(FEATURES, points=2), perturb=PerturbConfig(share=1.0, aside_m=1.0))
    dataset = PlanDataset.of(config, [street])
    dataset.render = BesideRenderer([street], SENSORS)
    moved = [s.sensed for s in dataset.samples if s.sensed is not None and s.sensed.moved]
    assert len(moved) == len(dataset) == 9
    where = moved[3]
    scene = load_scene(Log.open(street), 0.0)
    # Back where it was recorded it sees the recorded sweep.
    x, y, heading = scene.ego[where.at, :3]
    there = dataset.render(replace(where, pose=(x, y, heading), speed=EGO_MPS, yaw_rate=0.0))
    log = Log.open(street)
    recorded = recorded_sensors(log, log.frame(where.frame), SENSORS)
    assert (recorded.lidar != there.lidar).mean() < 0.002
    found = dataset.item(3).sensors
    assert found is not None
    assert (found.lidar != there.lidar).mean() > 0.005
    instant = instant_beside(scene, where)
    np.testing.assert_allclose(instant.ego[:2] - scene.origin_xy, where.pose[:2])
    assert instant.tokens == ("leader", "walker", "rider")
    older = write_town(tmp_path, "older", frames=3, keep=("scene_3d",))
    with pytest.raises(UserError, match="older than the shapes"):
        BesideRenderer([older], SENSORS)


def experiment(street: Path) -> Experiment:
    trunk = SensorTrunkConfig(
        transfuser=TransFuserConfig(
            backbone="plain", widths=(4, 8, 8, 12), image_tokens=(2, 8), lidar_tokens=(4, 4), layers=1, heads=2,
            ratio=2, dropout=0.0, map_channels=8, map_size=(16, 16),
        ),
        sensors=SENSORS, channels=16, layers=1, heads=2, ffn=32, agents=4,
    )  # fmt: skip
    return Experiment(
        name="tiny_sensors",
        model=PlannerConfig(trunk=trunk, head=MlpHeadConfig(points=4, hidden=16)),
        data=PlanDataConfig(
            train_logs=(str(street),), features=replace(FEATURES, points=4), batch_size=3, keep_sensors=True,
            perturb=PerturbConfig(share=0.5),
        ),
        train=TrainConfig(steps=3, learning_rate=1e-3, ema=0.0, device="cpu", log_every=1),
    )  # fmt: skip


def test_from_recorded_pixels_to_a_drive(
    street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    train(experiment(street), run)
    assert "front_left: no camera looks there in 7 of 7 decisions: black" in capsys.readouterr().out
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"semantic", "agent_class", "agent_box"} <= set(last)
    out = tmp_path / "out"
    words = ["simulate", str(street), "--planner", "stop", str(run), "--seconds", "1", "--out", str(out), "--no-report"]
    assert main(words) == 0
    told = json.loads((out / "infractions.json").read_text())["planners"]
    assert sorted(told) == ["stop", "tiny_sensors"]
    assert "sensors" not in told["stop"]
    assert told["tiny_sensors"]["failed"] == 0
    assert told["tiny_sensors"]["sensors"]["looks"] == 2
    assert told["tiny_sensors"]["sensors"]["missing"] == dict.fromkeys(MISSING, 2)
    assert not (out / "tiny_sensors" / "tracks.arrow").exists()
    assert f"missing in 2 looks: {MISSING[0]}" in capsys.readouterr().out
    assert main([*words, "--ego", "leader"]) == 2
    assert "mounted on the recording vehicle" in capsys.readouterr().err
    # Without sensors it fails, in a line.
    (rollout,) = simulate([load_scene(Log.open(street), 0.0)], load_planner(run), SimulationConfig(longest_s=0.5))
    assert rollout.failed
    assert "it needs cameras and lidar" in rollout.failure


def test_a_log_that_keeps_no_world(street: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = write_town(tmp_path / "plain", "plain", frames=15, keep=())
    run = tmp_path / "run"
    torch.manual_seed(0)
    train(experiment(street), run)
    out = str(tmp_path / "out")
    assert main(["simulate", str(plain), "--planner", str(run), "--seconds", "0.5", "--out", out, "--no-report"]) == 1
    assert "its sensors cannot be rendered again" in capsys.readouterr().out
