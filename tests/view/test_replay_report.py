"""The closed loop's page: what is in it, that it decodes to what was driven, and that names cannot inject."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drive.cli import main
from drive.errors import UserError
from drive.plans.baselines import ConstantVelocity, IdmLaneFollower
from drive.plans.plan import Modes, Plan
from drive.plans.planner import Observation
from drive.rollouts import infractions
from drive.rollouts.config import SimulationConfig
from drive.rollouts.rollout import not_simulated
from drive.rollouts.rollout_file import read_rollouts, write_rollouts
from drive.rollouts.run_folder import SUMMARY, read_run_folder
from drive.rollouts.simulate import simulate
from drive.samples.scene import Lights, SceneMap
from drive.view import replay_report
from drive.view.replay import KINDS, Replay, replays, wrong
from drive.view.replay_code import differences, replay_document, thinned
from drive.view.replay_picture import MARKS
from drive.view.replay_report import write_replay_report
from drive.view.replay_script import DRAW
from tests.rollouts.test_many import write_log
from tests.samples.hand_made_scene import actors, drive, scene

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """constant_velocity and idm in three logs; one has no lanes, so that idm fails there, one a hostile name."""
    root = tmp_path_factory.mktemp("driven")
    for name in ("one", "mine", "two"):
        write_log(root / "logs", name, frames=31 if name == "one" else 16, lanes=name != "two")
    words = ["simulate", str(root / "logs"), "--planner", "idm", "constant_velocity", "--out", str(root / "out")]
    assert main(words) == 1
    assert "one@0" in (root / "out" / "report.html").read_text()
    # No log of ours is called that; somebody else's folder may say so.
    for name in ("idm", "constant_velocity"):
        file = root / "out" / name / "rollouts.arrow"
        write_rollouts(file, [replace(r, scene=r.scene.replace("mine", HOSTILE)) for r in read_rollouts(file)])
    return root / "out"


@pytest.fixture
def run(driven: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(driven, tmp_path / "out", ignore=shutil.ignore_patterns("report*")))


def index_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="index">(.*?)</script>', page, re.S)
    assert found
    index: dict[str, Any] = json.loads(found[1])
    return index


def unpacked(text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(text)))
    return document


def scene_of(page: str, number: int) -> dict[str, Any]:
    found = re.search(rf'id="s{number}">(.*?)</script>', page)
    assert found
    return unpacked(found[1])


def places(flat: list[int], width: int) -> np.ndarray:
    return np.cumsum(np.array(flat).reshape(-1, width), axis=0)


def test_the_page(run: Path) -> None:
    page = write_replay_report(read_run_folder(run)).read_text()
    index = index_of(page)
    assert index["planners"] == ["idm", "constant_velocity"]
    assert [s["name"] for s in index["scenes"]] == [f"{HOSTILE}@0", "one@0", "two@0"]
    # end, failure, score, counts by kind, seconds, planner
    idm, straight = index["scenes"][1]["drives"]
    assert idm == ["end of the log", "", None, [0] * len(KINDS), 3.0, 0]
    assert straight == ["collision", "", None, [0, 1, *[0] * (len(KINDS) - 2)], 2.9, 1]
    failed = index["scenes"][2]["drives"][0]
    assert (failed[0], failed[3]) == ("planner failed", [1, *[0] * (len(KINDS) - 1)])
    assert "IDM" in failed[1]
    assert f"<td>two@0</td><td>idm</td><td>{failed[1]}</td>" in page
    assert "<td>idm</td><td>3</td><td>1</td>" in page  # drives, failed
    assert "No scores yet: run drive score" in page
    # Nothing from outside, and no name that is markup.
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", page)
    assert "<img" not in page
    # What is drawn is what was driven, to a centimetre.
    own = scene_of(page, 1)
    rollouts = {r.planner: r for name in ("idm", "constant_velocity") for r in read_run_folder(run).drives[name][1:2]}
    for coded, name in zip(own["drives"], ("idm", "constant_velocity"), strict=True):
        ego = places(coded["ego"], 4) / [100, 100, 1000, 100]
        np.testing.assert_allclose(ego, rollouts[name].ego[:, [0, 1, 2, 3]], atol=0.0051)
    assert own["recorded"] is not None
    assert len(own["map"]["lanes"]) == 4  # those within 75 m
    assert own["map"]["route"]
    (kind, length, width, token, stretches), *_ = own["actors"]
    assert (kind, length, width, token, stretches[0][0]) == (0, 400, 200, "standing", 0)
    (hit,) = own["drives"][1]["infractions"]
    assert (hit["kind"], hit["step"], hit["who"], hit["at"]) == ("collision", 29, 0, [2900, 0])


def test_scores_of_nobody_and_logs_that_are_gone(run: Path, tmp_path: Path) -> None:
    folder = read_run_folder(run)
    folder = replace(folder, logs={name: tmp_path / "gone" for name in folder.logs})
    page = write_replay_report(folder, tmp_path / "elsewhere" / "page.html").read_text()
    own = scene_of(page, 1)
    assert "is not there" in own["missing"]
    assert own["map"]["areas"] == []
    assert len(own["drives"][0]["ego"]) == 4 * 31
    assert len(own["actors"]) == 1  # as they moved in the longest drive
    empty = replace(folder, drives={name: [] for name in folder.drives})
    page = write_replay_report(empty, tmp_path / "page.html").read_text()
    assert index_of(page)["scenes"] == []
    assert write_replay_report(replace(folder, drives={}), tmp_path / "none.html").is_file()


def test_large_pages_keep_scenes_beside_them(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = read_run_folder(run)
    one = scene_of(write_replay_report(folder).read_text(), 1)
    assert not (run / "report_scenes").exists()
    monkeypatch.setattr(replay_report, "MAX_BYTES", 1500)
    (run / "report_scenes").mkdir()
    for old in ("00000-00000000.js", "mine.js"):
        (run / "report_scenes" / old).write_text("")
    page = write_replay_report(folder).read_text()
    files = [s["file"] for s in index_of(page)["scenes"]]
    assert sorted(f"report_scenes/{p.name}" for p in (run / "report_scenes").iterdir()) == [
        *files,
        "report_scenes/mine.js",  # not ours
    ]
    called = re.fullmatch(r'replay\(1,"([A-Za-z0-9+/=]+)"\)', (run / files[1]).read_text())
    assert called
    assert unpacked(called[1]) == one
    assert 'id="s1"' not in page
    # Small again: nothing is left of it.
    monkeypatch.setattr(replay_report, "MAX_BYTES", 10**7)
    write_replay_report(folder)
    assert [p.name for p in (run / "report_scenes").iterdir()] == ["mine.js"]


def test_a_page_that_cannot_be_written(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_replay_report(read_run_folder(run), tmp_path / "file" / "page.html")


def test_scores_of_drive_score(run: Path) -> None:
    # two@0 is too short for a window of 4 s, and so are the others: written by hand, as `drive score` writes it.
    folder = read_run_folder(run)
    drives = [r for own in folder.drives.values() for r in own]
    figures = {"mean": 0.25, "low": 0.125, "high": 0.5}
    planner = {"pdms": figures | {"sub_scores": {"nc": 0.75, "comfort": 1.0}}, "nuplan": figures}
    pair = {"a": "idm", "b": "constant_velocity", "score": "pdms", "difference": 0.1, "low": -0.1, "high": 0.2}
    pair |= {"p_permutation": 0.5, "p_wilcoxon": 0.25, "p_holm": 0.5, "better": 1, "worse": 2, "equal": 0}
    document = {
        "versions": {"pdms": "PDMS <v1.1>"},
        "planners": {"idm": planner},
        "pairs": [pair],
        "left_out": ["two@0"],
        "scenes": 2,
        "significance": {"units": 2, "unit": "log"},
        "drives": [
            {"planner": r.planner, "seed": 0, "scene": r.scene, "end": r.end, "failure": r.failure, "pdms": k / 8}
            for k, r in enumerate(drives)
        ],
    }
    (run / "scores.json").write_text(json.dumps(document))
    page = write_replay_report(folder).read_text()
    assert "<td>idm</td><td>0.250 [0.125, 0.500]</td><td>0.750</td><td>1.000</td><td>0.250 [0.125, 0.500]</td>" in page
    assert "<td>constant_velocity</td><td>–</td>" in page
    assert "<td>+0.100 [-0.100, +0.200]</td><td>1/2/0</td><td>0.5000</td>" in page
    assert "PDMS &lt;v1.1&gt;" in page
    assert "Too short to be scored: two@0." in page
    found = {(s["name"], d[5]): d[2] for s in index_of(page)["scenes"] for d in s["drives"]}
    assert [found["one@0", 0], found["one@0", 1], found["two@0", 1]] == [1 / 8, 4 / 8, None]
    # Drives made again since: their scores are not those.
    document["drives"][1]["end"] = "collision"  # type: ignore[index]
    (run / "scores.json").write_text(json.dumps(document))
    page = write_replay_report(folder).read_text()
    assert "The scores are older than the drives (idm in one@0 differs)" in page
    assert index_of(page)["scenes"][1]["drives"][0][2] is None
    for damaged, why in (("{", "cannot be read"), ("{}", "is not what drive score writes")):
        (run / "scores.json").write_text(damaged)
        with pytest.raises(UserError, match=why):
            write_replay_report(folder)


class Chooses(ConstantVelocity):
    """Tells of two modes, one to each side of its plan."""

    def plan(self, observation: Observation) -> Plan:
        own = super().plan(observation)
        modes = np.stack([own.poses + np.array([0.0, aside, 0.0]) for aside in (-1.0, 1.0)])
        return replace(own, modes=Modes(modes, np.array([0.123456, -2.0])))


def test_the_coding_of_a_replay() -> None:
    lights = Lights(np.array([[1, 0]] * 3 + [[3, 0]] * 78, np.int8), np.array([1, -1]), np.array([[90.0, 0], [0, 0]]))
    others = actors((40.0, 3.5, 0.0, 5.0), (20.0, 3.5, np.pi, 0.0), (0.0, 300.0, 0.0, 0.0))
    others.valid[1, 3:5] = False
    street = scene(drive(10.0), others, lights=lights)
    (first,) = simulate([street], Chooses(), SimulationConfig(longest_s=2.0))
    away = others.box.copy()
    away[0, 5:, 1] += 1.0  # that one steps aside in the other drive
    other = replace(street, actors=replace(others, box=away))
    (second,) = simulate([other], Chooses(), SimulationConfig(longest_s=1.0))
    replay = Replay("road@0", (first, second), street)
    coded = replay_document(replay, {"constant_velocity": 0})
    assert coded["steps"] == 20
    # The third one is 300 m away. The second is gone for a moment.
    assert [a[3] for a in coded["actors"]] == ["car-0", "car-1"]
    assert [(start, len(flat) // 3) for start, flat in coded["actors"][1][4]] == [(0, 3), (5, 16)]
    assert coded["actors"][0][4] == [[0, [4000, 350, 0, *[50, 0, 0] * 20]]]
    assert coded["drives"][0]["moved"] == []
    ((number, stretches),) = coded["drives"][1]["moved"]
    assert number == 0
    assert places(stretches[0][1], 3)[:, 1].tolist() == [350] * 5 + [450] * 6
    assert coded["lights"] == [[9000, 0, 1, [1, 3, 3, 18]]]  # the other one never shows anything
    step, line, _, points, scores, modes = coded["drives"][0]["plans"][1]
    assert (step, points, scores) == (5, 8, [0.123, -2.0])
    assert places(line, 2)[0].tolist() == [1000, 0]
    assert places(modes, 2)[[0, 8]].tolist() == [[1000, -100], [1000, 100]]
    assert coded["recorded"][:3] == [0, 0, 0]


def test_empty_replays() -> None:
    lost = not_simulated("gone@5", "gone", "idm", "no such log")
    coded = replay_document(Replay("gone@5", (lost,), None, "no such log"), {"idm": 0})
    assert (coded["steps"], coded["drives"][0]["ego"], coded["actors"]) == (0, [], [])
    assert coded["drives"][0]["failure"] == "no such log"
    bare = scene(around=SceneMap.empty())
    (alone,) = simulate([bare], ConstantVelocity())
    coded = replay_document(Replay("road@0", (alone,), bare), {"constant_velocity": 3})
    assert coded["map"] == {"areas": [], "lanes": [], "edges": [], "route": None}
    assert replay_document(Replay("x", (), None), {})["drives"] == []
    assert differences(np.zeros((0, 3))) == []
    assert thinned(np.zeros(0)).tolist() == []
    assert thinned(np.arange(1, 12) * 0.1).tolist() == [4, 9, 10]


def test_what_went_wrong_is_counted() -> None:
    into = scene(drive(10.0), actors((30.0, 0.0, 0.0, 0.0)))
    (hit,) = simulate([into], ConstantVelocity())
    assert dict(zip(KINDS, wrong(hit), strict=True)) == dict.fromkeys(KINDS, 0) | {"collision": 1}
    (kept,) = simulate([into], IdmLaneFollower())
    assert not any(wrong(kept))


def test_every_infraction_is_counted_and_has_its_colour() -> None:
    into = scene(drive(10.0), actors((30.0, 0.0, 0.0, 0.0)))
    (hit,) = simulate([into], ConstantVelocity())
    for kind in infractions.KINDS:
        one = replace(hit, infractions=(replace(hit.infractions[0], kind=kind),))
        assert dict(zip(KINDS, wrong(one), strict=True)) == dict.fromkeys(KINDS, 0) | {kind: 1}
        assert kind in MARKS
        assert f' {kind}: "#' in DRAW


def test_names_that_are_not_there(run: Path) -> None:
    folder = read_run_folder(run)
    with pytest.raises(UserError, match="nobody drove in it"):
        list(replays(folder, ["three@0"]))
    with pytest.raises(UserError, match="choose one of idm, constant_velocity"):
        list(replays(folder, planners=["stop"]))
    assert [(r.name, len(r.drives)) for r in replays(folder, ["one@0"], ["idm"])] == [("one@0", 1)]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium to run the page's script")
def test_the_script_runs(run: Path) -> None:
    page = write_replay_report(read_run_folder(run))
    words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000", "--dump-dom"]
    done = subprocess.run([*words, f"{page.as_uri()}#one@0:29"], capture_output=True, text=True, timeout=120)
    shown = done.stdout
    assert '<h2 id="title">one@0</h2>' in shown
    assert "2.9 of 3.0 s" in shown
    assert '<button class="on">2.9 s  collision with a vehicle, other standing, 10 m/s, at 29, 0</button>' in shown
    # Worst first: the failed one, then the collision; the hostile name is text.
    rows = re.findall(r'<button aria-label="[^"]*">(.*?)</button>', shown)
    assert rows == ["two@0", "one@0", HOSTILE.replace("<", "&lt;").replace(">", "&gt;") + "@0"]
    assert SUMMARY not in shown
