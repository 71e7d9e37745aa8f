"""Recipes load, survive their JSON, take typed overrides, and refuse fields that do not exist."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drive.cli import main
from drive.errors import UserError
from drive.experiment import Experiment, TrackExperiment
from drive.recipes import load_recipe, load_track_recipe, override

REPO = Path(__file__).resolve().parent.parent
NOT_RECIPES = {"__init__", "demo", "demo_full", "demo_planning", "real", "stages"}
TRACKERS = ("ab3dmot", "center_greedy", "sensor_loop", "simple_track", "stt_track")
NAMES = sorted(f"configs.{p.stem}" for p in (REPO / "configs").glob("*.py") if p.stem not in NOT_RECIPES)
TRACK_RECIPES = [name for name in NAMES if name.endswith(TRACKERS)]
RECIPES = [name for name in NAMES if name not in TRACK_RECIPES]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_its_file(name: str, tmp_path: Path) -> None:
    experiment = load_recipe(name)
    assert name.endswith(experiment.name)
    path = tmp_path / "config.json"
    path.write_text(experiment.to_json())
    back = Experiment.read(path)
    assert back.to_json() == experiment.to_json()
    assert back.hash() == experiment.hash()
    assert type(back.model) is type(experiment.model)


@pytest.mark.parametrize("name", TRACK_RECIPES)
def test_a_tracking_recipe_survives_its_file(name: str, tmp_path: Path) -> None:
    experiment = load_track_recipe(name)
    assert name.endswith(experiment.name)
    path = tmp_path / "config.json"
    path.write_text(experiment.to_json())
    back = TrackExperiment.read(path)
    assert back.hash() == experiment.hash()
    assert type(back.tracker) is type(experiment.tracker)


def test_a_recipe_of_the_other_kind() -> None:
    with pytest.raises(UserError, match="returned TrackExperiment; use it with `drive track`"):
        load_recipe("configs.kitti_ab3dmot")
    with pytest.raises(UserError, match="returned Experiment; use it with `drive train`"):
        load_track_recipe("configs.town_pillars")


def test_overrides_of_a_tracker_are_typed() -> None:
    changed = override(
        load_track_recipe("configs.kitti_ab3dmot"), ["--tracker.classes.0.max-age", "5", "--min-score", "1"]
    )
    assert (changed.tracker.classes[0].max_age, changed.min_score) == (5, 1.0)


def test_overrides_are_typed() -> None:
    experiment = load_recipe("configs.town_swformer")
    words = ["--train.steps", "5", "--model.backbone.channels=32", "--seed", "7", "--data.train-logs", "a", "b"]
    changed = override(experiment, words)
    assert (changed.train.steps, changed.model.backbone.channels, changed.seed) == (5, 32, 7)  # type: ignore[union-attr]
    assert changed.data.train_logs == ("a", "b")
    assert changed.hash() != experiment.hash()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--train.epohcs", "3"], r"--train.epohcs: .*did you mean --train.epochs"),
        (["--nothing.like", "3"], "no such field"),
        (["--train.steps", "many"], "does not fit"),
        (["--train.precision", "64"], "does not fit"),
        (["stray"], "does not fit"),
    ],
)
def test_overrides_that_cannot_be(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        override(load_recipe("configs.town_pillars"), words)


@pytest.mark.parametrize("name", ["configs.absent", "absent", "configs.stages"])
def test_recipes_that_are_none(name: str) -> None:
    with pytest.raises(UserError, match=name.split(".")[-1]):
        load_recipe(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["train"].update(wings=2), "no field 'wings'"),
        (lambda d: d["model"].update({"class": "os.system"}), "unknown class"),
        (lambda d: d.update(train=3), "expected the fields"),
    ],
)
def test_a_config_file_that_was_tampered_with(change, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    plain = json.loads(load_recipe("configs.town_swformer").to_json())
    change(plain)
    (tmp_path / "config.json").write_text(json.dumps(plain))
    with pytest.raises(UserError, match=message):
        Experiment.read(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        Experiment.read(tmp_path / "config.json")
    with pytest.raises(UserError, match="cannot be read"):
        Experiment.read(tmp_path / "absent.json")


def test_the_command_line_says_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert main(["train", "configs.absent"]) == 2
    assert main(["train", "configs.town_swformer", "--train.epohcs", "3"]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 3
    assert all(line.startswith("error: ") for line in errors)
    assert main([]) == 0
    assert "convert" in capsys.readouterr().out
