"""Drives as files, in batches and processes, from the command line."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from drive.cli import main
from drive.errors import UserError
from drive.geometry.rigid import quaternion_from_yaw
from drive.logs.writer import LogWriter
from drive.plans.baselines import ConstantVelocity, IdmLaneFollower
from drive.plans.by_name import find_planner
from drive.plans.plan import Modes, Plan
from drive.plans.planner import Observation
from drive.rollouts.config import SimulationConfig
from drive.rollouts.filters import SceneFilter
from drive.rollouts.many import KILLED, SceneSpec, SimulationWork, drive_all
from drive.rollouts.rollout import PlanRecord, Rollout, not_simulated
from drive.rollouts.rollout_file import read_rollouts, write_rollouts
from drive.rollouts.simulate import simulate
from drive.samples.scene import CYCLIST, HEADING, SceneMap, X, Y
from tests.samples.hand_made_scene import actors, drive, scene, straight_road

CRASH_IN = "boom@0"


class Crashes(ConstantVelocity):
    """Takes its whole process with it in one scene."""

    def plan(self, observation: Observation) -> Plan:
        if observation.scene == CRASH_IN:
            os._exit(3)
        return super().plan(observation)


def write_log(root: Path, name: str, frames: int = 31, lanes: bool = True) -> None:
    """10 Hz, 10 m/s eastwards behind a car that stands at x = 35."""
    with LogWriter(root, name, dataset="hand-made", source_version="1", licence="CC0-1.0") as log:
        for k in range(frames):
            frame = log.add_frame(
                100_000_000 * k, rows={}, pose_translation=np.array([1.0 * k, 0.0, 0.0]),
                pose_rotation=quaternion_from_yaw(0.0), source_timestamp=k,
            )  # fmt: skip
            box = np.array([[35.0 - k, 0.0, 0.8, 4.0, 2.0, 1.6, 0.0, 0.0, 0.0]])
            log.add_boxes(
                frame, box, ["vehicle.car"], ["standing"], velocity_valid=np.array([True]),
                source_translation=box[:, :3], source_rotation=quaternion_from_yaw(box[:, 6]), source_size=box[:, 3:6],
            )  # fmt: skip
        for feature in straight_road() if lanes else []:
            log.add_map_feature(
                feature.feature_id, feature.kind, feature.geometry, is_polygon=feature.is_polygon,
                attributes=feature.attributes, predecessors=feature.predecessors, successors=feature.successors,
            )  # fmt: skip


def same(a: Rollout, b: Rollout) -> None:
    assert (a.scene, a.log, a.planner, a.end, a.failure) == (b.scene, b.log, b.planner, b.end, b.failure)
    assert (a.vehicle, a.infractions, a.actors.token) == (b.vehicle, b.infractions, b.actors.token)
    assert (a.road_known, a.route_known) == (b.road_known, b.route_known)
    for name in ("timestamps_ns", "origin_xy", "ego", "off_road_m", "along_m", "aside_m"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for name in ("box", "velocity", "valid", "kind", "ground_z"):
        np.testing.assert_array_equal(getattr(a.actors, name), getattr(b.actors, name))
    for name in ("step", "offsets", "poses", "times_s", "mode_shape", "mode_poses", "mode_scores"):
        np.testing.assert_array_equal(getattr(a.plans, name), getattr(b.plans, name))


def test_drives_come_back_from_their_file(tmp_path: Path) -> None:
    hit = scene(drive(10.0), actors((30.0, 0.0, 0.0, 0.0), kind=CYCLIST), name="hit@0")
    lost = scene(around=SceneMap.empty(), name="lost@0")
    driven = [*simulate([hit, lost], IdmLaneFollower()), *simulate([hit], ConstantVelocity())]
    driven.append(not_simulated("gone@5", "gone", "idm", "no such log"))
    write_rollouts(tmp_path / "r.arrow", driven)
    back = read_rollouts(tmp_path / "r.arrow")
    assert len(back) == 4
    for a, b in zip(driven, back, strict=True):
        same(a, b)
    assert back[2].infractions[0].counterpart_kind == "cyclist"
    write_rollouts(tmp_path / "none.arrow", [])
    assert read_rollouts(tmp_path / "none.arrow") == []


class Chooses(ConstantVelocity):
    """Tells of three modes, but not at its first instant."""

    name = "chooses"

    def plan(self, observation: Observation) -> Plan:
        own = super().plan(observation)
        modes = np.stack([own.poses[:2] * [1, 0, 0] + [0, aside, 0] for aside in (-1.0, 0.0, 1.0)])
        return replace(own, modes=Modes(modes, np.array([0.1, 0.7, 0.2])) if observation.step else None)


def test_modes_are_kept_and_older_files_read(tmp_path: Path) -> None:
    turned = drive(10.0)
    turned[:, [X, Y]], turned[:, HEADING] = turned[:, [Y, X]], np.pi / 2
    driven = simulate([scene(turned, around=SceneMap.empty())], Chooses(), SimulationConfig(longest_s=1.0))
    path = tmp_path / "r.arrow"
    write_rollouts(path, driven)
    (back,) = read_rollouts(path)
    same(driven[0], back)
    assert back.plans.mode_shape.tolist() == [[0, 0], [3, 2]]
    assert back.plans.modes_of(0) is None
    modes = back.plans.modes_of(1)
    assert modes is not None
    # In the scene's frame: the ego drives along y at x = 0 and is at y = 5 after half a second.
    first = back.plans.poses[back.plans.offsets[1]]
    np.testing.assert_allclose(modes.poses[:, 0, :2], [[1.0, first[1]], [0.0, first[1]], [-1.0, first[1]]], atol=1e-9)
    assert modes.scores.tolist() == [0.1, 0.7, 0.2]
    # A file of version 1 has no columns for modes.
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    old = table.drop_columns([name for name in table.column_names if name.startswith("plan_mode_")])
    old = old.replace_schema_metadata({b"rollouts": b"1"})
    with pa.OSFile(str(tmp_path / "old.arrow"), "wb") as file, pa.ipc.new_file(file, old.schema) as writer:
        writer.write_table(old)
    (older,) = read_rollouts(tmp_path / "old.arrow")
    assert older.plans.modes_of(1) is None
    np.testing.assert_array_equal(older.plans.poses, back.plans.poses)


def test_modes_that_are_none() -> None:
    with pytest.raises(ValueError, match="modes need poses"):
        Modes(np.zeros((2, 4, 2)), np.zeros(2))
    with pytest.raises(ValueError, match="not finite"):
        Modes(np.full((1, 1, 3), np.nan), np.zeros(1))
    none = np.zeros(0)
    with pytest.raises(ValueError, match="3 poses of modes, not 4"):
        PlanRecord(
            np.zeros(1, np.int64), np.array([0, 0]), np.zeros((0, 3)), none, np.zeros(1), np.array([[2, 2]]),
            np.zeros((3, 3)), np.zeros(2),
        )  # fmt: skip


def test_what_is_no_file_of_drives(tmp_path: Path) -> None:
    path = tmp_path / "r.arrow"
    with pytest.raises(UserError, match="cannot be read"):
        read_rollouts(path)
    path.write_bytes(b"not arrow at all")
    with pytest.raises(UserError, match="cannot be read"):
        read_rollouts(path)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, pa.schema([("x", pa.int64())])):
        pass
    with pytest.raises(UserError, match="no file of drives"):
        read_rollouts(path)


def test_filters() -> None:
    standing, going = scene(drive(0.0), name="standing@0"), scene(drive(10.0), actors((30.0, 0, 0, 0)), name="going@0")
    assert SceneFilter().refuses(standing) == ""
    assert SceneFilter(least_way_m=5.0).refuses(standing) == "drives 0.0 m"
    assert SceneFilter(names="going*").refuses(standing) == "name"
    assert SceneFilter(least_seconds=9.0).refuses(going) == "lasts 8.0 s"
    assert SceneFilter(commands=("left",)).refuses(going) == "command straight"
    assert SceneFilter(least_actors=2).refuses(going) == "1 actors"
    nowhere = scene(around=SceneMap.empty())
    assert SceneFilter(with_route=True, with_road=True).refuses(nowhere) == "no route; no road in the map"
    kept = SceneFilter(least_way_m=70.0, commands=("straight",), with_route=True, with_road=True, least_actors=1)
    assert kept.refuses(going) == ""


def test_planners_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_planner_of_test_many.py").write_text(
        "class A:\n    name = 'a'\n    def plan(self, o): ...\nclass Up(A):\n    name = '../a'\nx = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_planner("idm").name == "idm"
    assert find_planner("pdm_closed").name == "pdm_closed"
    assert find_planner("my_planner_of_test_many:A").name == "a"
    assert find_planner("drive.plans.baselines:IdmLaneFollower").name == "idm"
    for name, why in (
        ("idn", "is none of log_replay, stop"),
        ("my_planner_of_test_many:B", "AttributeError"),
        ("my_planner_of_test_many:x", "is a int without"),
        ("no_such_module:A", "ModuleNotFoundError"),
        ("my_planner_of_test_many:Up", "cannot name a folder"),
    ):
        with pytest.raises(UserError, match=why):
            find_planner(name)


def test_a_renamed_log_is_driven_under_its_new_name(tmp_path: Path) -> None:
    write_log(tmp_path, "one")
    (tmp_path / "one").rename(tmp_path / "other")
    (drives,) = drive_all(SimulationWork("stop"), [SceneSpec(tmp_path / "other", 0.0)])
    assert [(r.scene, r.log, r.failed) for r in drives.rollouts] == [("other@0", "other", False)]


def test_batches_in_this_process(tmp_path: Path) -> None:
    write_log(tmp_path, "one")
    write_log(tmp_path, "two", lanes=False)
    specs = [SceneSpec(tmp_path / n, at) for n, at in (("one", 0.0), ("two", 0.5), ("one", 1.0), ("gone", 0.0))]
    specs.append(SceneSpec(tmp_path / "one", 9.0))
    work = SimulationWork("idm", filter=SceneFilter(names="*@?*"))
    one_by_one = [r for d in drive_all(work, specs, batch=1) for r in d.rollouts]
    together = [r for d in drive_all(work, specs) for r in d.rollouts]
    assert [r.scene for r in together] == ["one@0", "two@5", "one@10", "gone@0", "one@90"]
    for a, b in zip(one_by_one, together, strict=True):
        same(a, b)
    assert "needs a route" in together[1].failure
    assert "log.json" in together[3].failure
    assert "starts from 0 to 2.9 s" in together[4].failure
    (left,) = drive_all(replace(work, filter=SceneFilter(names="one*")), specs[:2])
    assert left.left_out == (("two@5", "name"),)
    assert list(drive_all(work, [])) == []


def test_a_process_that_dies_takes_one_scene_with_it(tmp_path: Path) -> None:
    for name in ("boom", "c"):
        write_log(tmp_path, name, frames=12)
    specs = [SceneSpec(tmp_path / n, 0.0) for n in ("boom", "c")]
    work = SimulationWork(f"{__name__}:Crashes", SimulationConfig(tracking="perfect"))
    done = {r.scene: r for d in drive_all(work, specs, jobs=2, batch=2) for r in d.rollouts}
    assert {name: r.failure for name, r in done.items()} == {"boom@0": KILLED, "c@0": ""}


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs, out = tmp_path / "logs", tmp_path / "out"
    write_log(logs, "one")
    write_log(logs, "two", lanes=False)
    words = ["simulate", str(logs), "--planner", "idm", "constant_velocity", "--out", str(out), "--seconds", "2"]
    assert main([*words, "--every", "0.5"]) == 1  # the log without lanes has no route for IDM
    said = capsys.readouterr().out
    assert "failed: idm in two@0: raised ValueError" in said
    results = json.loads((out / "infractions.json").read_text())
    idm, straight = (results["planners"][name] for name in ("idm", "constant_velocity"))
    # Starts at 0, 0.5 and 1 s, 2 s long. The bumper meets the tail where the axle is at 33 - 4.049 = 28.95: 2.9 s.
    assert [s["scene"] for s in idm["scenes"]] == [f"{n}@{t}" for n in ("one", "two") for t in (0, 10, 5)]
    assert (idm["drives"], idm["failed"], straight["failed"]) == (6, 3, 0)
    assert straight["infractions"] == {"collision": 2}
    hit = next(s for s in straight["scenes"] if s["scene"] == "one@10")
    assert hit["end"] == "collision"
    (found,) = hit["infractions"]
    assert (found["time_s"], found["what"], found["counterpart"]) == (1.9, "other standing", "standing")
    assert found["global_x"] == pytest.approx(29.0)
    assert [r.scene for r in read_rollouts(out / "idm" / "rollouts.arrow")] == [s["scene"] for s in idm["scenes"]]
    # One scene again, by its name.
    again = [*words[:-2], "--scene", "one@10", "--out", str(tmp_path / "again"), "--planner", "constant_velocity"]
    assert main(again) == 0
    assert len(read_rollouts(tmp_path / "again" / "constant_velocity" / "rollouts.arrow")) == 1


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--planner", "nobody"], "is none of log_replay"),
        (["--planner", "idm", "drive.plans.baselines:IdmLaneFollower"], "two planners of the same name"),
        (["--scene", "one@x"], "no log here has this scene"),
        (["--jobs", "0"], "at least 1"),
    ],
)
def test_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], why: str) -> None:
    write_log(tmp_path, "one", frames=3)
    assert main(["simulate", str(tmp_path), "--out", str(tmp_path / "out"), *words]) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", str(tmp_path)]) == 2
    assert "holds no finished log" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--seconds", "-3"], ["--seconds", "nan"], ["--every", "0", "--seconds", "4"], ["--jobs", "0"]]
)
def test_lengths_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    write_log(tmp_path, "one")
    assert main(["simulate", str(tmp_path / "one"), "--planner", "stop", "--out", str(tmp_path / "out"), *words]) == 2
    assert words[0] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_times_of_a_simulation_are_finite() -> None:
    for wrong in ({"latency_s": float("nan")}, {"replan_s": 0.0}, {"replan_s": float("inf")}, {"latency_s": -1.0}):
        with pytest.raises(ValueError, match="replan_s must be"):
            SimulationConfig(**wrong)
