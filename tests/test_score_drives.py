"""``drive score`` on folders of ``drive simulate``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drive.cli import main
from drive.plans.baselines import ConstantVelocity
from drive.plans.plan import Plan
from drive.plans.planner import Observation
from tests.rollouts.test_many import write_log

BRIEF = ["--significance.draws", "200"]


class GivesUp:
    """Goes straight on, and fails in its second scene."""

    name = "gives_up"

    def plan(self, observation: Observation) -> Plan:
        if observation.scene == "one@10":
            raise RuntimeError("no idea")
        return ConstantVelocity().plan(observation)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drives")
    write_log(root / "logs", "one", frames=61)
    planners = ["stop", "constant_velocity", "tests.test_score_drives:GivesUp"]
    for name, words in (("a", planners), ("b", planners[:1])):
        main(["simulate", str(root / "logs"), "--planner", *words, "--seconds", "4", "--every", "1",
              "--out", str(root / name)])  # fmt: skip
    return root


def test_scores_of_a_folder(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three scenes of one log. The failed drive is listed, counts 0, and is the exit status."""
    assert main(["score", str(runs / "a"), *BRIEF]) == 1
    text = capsys.readouterr().out
    assert "failed: gives_up in one@10: raised RuntimeError" in text
    assert "constant_velocity" in text
    scores = json.loads((runs / "a" / "scores.json").read_text())
    assert (scores["scenes"], scores["significance"]["units"]) == (3, 1)
    assert set(scores["planners"]) == {"stop", "constant_velocity", "gives_up"}
    assert set(scores["versions"]) == {"pdms", "epdms"}
    drives = {(d["planner"], d["scene"]): d for d in scores["drives"]}
    assert len(drives) == 9
    assert drives["gives_up", "one@10"]["pdms"] == 0.0
    # 10 m/s towards a car that stands 35 m ahead.
    assert drives["constant_velocity", "one@0"]["end"] == "collision"
    assert drives["constant_velocity", "one@0"]["metrics"]["collisions_at_fault"] == 1.0


def test_versions_seeds_and_units(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine.json"
    words = [
        "--version",
        "v2-fixed",
        "--parity",
        "corrected",
        "--unit",
        "scene",
        "--seeds",
        "both=stop,constant_velocity",
    ]
    assert main(["score", str(runs / "a"), "--out", str(out), *words, *BRIEF]) == 1
    scores = json.loads(out.read_text())
    label = "EPDMS v2-fixed (corrected) of drives, 4 s every 2 s, progress against human"
    assert scores["versions"] == {"epdms": label}
    assert scores["planners"]["both"]["seeds"] == 2
    assert scores["significance"]["units"] == 3
    # The same planner in two folders is two seeds of it.
    assert main(["score", str(runs / "b"), str(runs / "b"), "--out", str(out), *BRIEF]) == 0
    assert json.loads(out.read_text())["planners"]["stop"]["seeds"] == 2
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "x=nobody"], "does not name planners"),
        (["--version", "v2-fixed", "v2-legacy"], "at most"),
        (["c"], "lacks 1 of 4 scenes"),
        (["logs"], "cannot be read"),
    ],
)
def test_what_cannot_be_scored(runs: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    if words == ["c"]:
        # Two folders of different scenes.
        main(["simulate", str(runs / "logs"), "--planner", "idm", "--seconds", "4", "--scene", "one@5",
              "--out", str(runs / "c")])  # fmt: skip
    given = [str(runs / w) if w in ("logs", "c") else w for w in words]
    assert main(["score", str(runs / "b"), *given, *BRIEF]) == 2
    assert said in capsys.readouterr().err


def test_moved_logs(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenes are made again of the logs: where those are gone, the folder can be named."""
    write_log(tmp_path / "logs", "one", frames=61)
    main(["simulate", str(tmp_path / "logs"), "--planner", "stop", "--seconds", "4", "--out", str(tmp_path / "run")])
    (tmp_path / "logs").rename(tmp_path / "moved")
    assert main(["score", str(tmp_path / "run"), *BRIEF]) == 2
    assert "is not there" in capsys.readouterr().err
    assert main(["score", str(tmp_path / "run"), "--logs", str(tmp_path / "moved"), *BRIEF]) == 0
    capsys.readouterr()
