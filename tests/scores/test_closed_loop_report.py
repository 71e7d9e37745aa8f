"""The report of drives: who is ranked how, what is compared, what is listed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from drive.errors import UserError
from drive.rollouts.rollout import Rollout, not_simulated
from drive.samples.scene import Scene
from drive.scores.closed_loop import DriveScoreConfig
from drive.scores.closed_loop_report import ReportConfig, holm, score_planners
from drive.scores.pdm_config import PdmConfig
from drive.scores.significance import SignificanceConfig
from tests.scores.pdm_street import cars, going, street
from tests.scores.test_closed_loop import drive

VERSIONS = tuple(DriveScoreConfig(PdmConfig(version=v), seconds=8.0) for v in ("v1.1", "v2-fixed"))  # type: ignore[arg-type]
CONFIG = ReportConfig(VERSIONS, significance=SignificanceConfig(draws=300))


def scenes(count: int) -> dict[str, Scene]:
    """Two scenes of each log."""
    return {f"s@{i}": replace(street(cars()), name=f"s@{i}", log=f"log{i // 2}") for i in range(count)}


def drives(places: dict[str, Scene], planner: str, speeds: list[float]) -> list[Rollout]:
    pairs = zip(places.values(), speeds, strict=True)
    return [replace(drive(scene, going(speed)[:81]), planner=planner, log=scene.log) for scene, speed in pairs]


def test_ranking_pairs_and_drives() -> None:
    """Six scenes of three logs. `half` has 9.5 / 12 everywhere, `as_log` 1, `stop` 7 / 12."""
    places = scenes(6)
    found = score_planners(
        {"stop": [drives(places, "stop", [0.0] * 6)], "half": [drives(places, "half", [4.0] * 6)],
         "as_log": [drives(places, "as_log", [8.0] * 6)]},
        places.__getitem__, CONFIG,
    )  # fmt: skip
    assert list(found["planners"]) == ["as_log", "half", "stop"]
    means = [planner["pdms"]["mean"] for planner in found["planners"].values()]
    assert means == pytest.approx([1, 9.5 / 12, 7 / 12], abs=1e-6)
    assert found["planners"]["half"]["epdms"]["mean"] == pytest.approx(11.5 / 14, abs=1e-6)
    assert found["planners"]["half"]["nuplan"]["mean"] == pytest.approx(13.5 / 16, abs=1e-6)
    assert (found["scenes"], found["significance"]["units"], found["failed"], found["left_out"]) == (6, 3, [], [])
    first = found["pairs"][0]
    assert (first["a"], first["b"], first["score"]) == ("as_log", "half", "pdms")
    assert first["difference"] == pytest.approx(2.5 / 12, abs=1e-6)
    assert (first["better"], first["worse"], first["p_wilcoxon"]) == (3, 0, 0.25)  # logs; 2 of 8 signs
    assert {p["score"] for p in found["pairs"]} == {"pdms", "epdms", "nuplan"}
    assert len(found["drives"]) == 18
    assert [w["start_s"] for w in found["drives"][0]["pdms_windows"]] == [0.0, 2.0, 4.0]
    json.dumps(found, allow_nan=False)
    by_scene = score_planners({"half": [drives(places, "half", [4.0] * 6)]}, places.__getitem__,
                              replace(CONFIG, unit="scene"))  # fmt: skip
    assert (by_scene["significance"]["units"], by_scene["pairs"]) == (6, [])


def test_seeds_of_one_planner() -> None:
    """Two seeds, 1 and 9.5 / 12: the mean of both, and an interval that knows of them."""
    places = scenes(4)
    seeds = [drives(places, "mine", [v] * 4) for v in (8.0, 4.0)]
    mine = score_planners({"mine": seeds}, places.__getitem__, CONFIG)["planners"]["mine"]
    assert (mine["seeds"], mine["drives"]) == (2, 8)
    assert mine["pdms"]["of_seeds"] == pytest.approx([1, 9.5 / 12], abs=1e-6)
    assert mine["pdms"]["mean"] == pytest.approx(21.5 / 24, abs=1e-6)
    assert (mine["pdms"]["low"], mine["pdms"]["high"]) == pytest.approx((9.5 / 12, 1.0), abs=1e-6)


def test_failed_drives() -> None:
    """Of six one fails and one could not be made: both count 0."""
    places = scenes(5)
    own = drives(places, "mine", [8.0] * 5)
    own[1] = replace(own[1], end="planner failed", failure="raised ValueError")
    own.append(not_simulated("s@9", "log9", "mine", "no such log"))
    found = score_planners({"mine": [own]}, places.__getitem__, CONFIG)
    assert found["planners"]["mine"]["pdms"]["mean"] == pytest.approx(4 / 6, abs=1e-6)
    assert found["planners"]["mine"]["failed"] == 2
    assert [(f["scene"], f["why"]) for f in found["failed"]] == [("s@1", "raised ValueError"), ("s@9", "no such log")]


def test_what_cannot_be_compared() -> None:
    places = scenes(2)
    both, one = drives(places, "a", [8.0] * 2), drives(places, "b", [8.0] * 2)[:1]
    with pytest.raises(UserError, match="lacks 1 of 2 scenes"):
        score_planners({"a": [both], "b": [one]}, places.__getitem__, CONFIG)
    with pytest.raises(UserError, match="twice"):
        score_planners({"a": [[*both, both[0]]]}, places.__getitem__, CONFIG)
    with pytest.raises(UserError, match="there are none"):
        score_planners({"a": [[]]}, places.__getitem__, CONFIG)
    brief = replace(CONFIG, versions=(DriveScoreConfig(seconds=3.0),))
    with pytest.raises(UserError, match="as long as a window"):
        score_planners({"a": [[drive(s, going(8.0)[:31]) for s in places.values()]]}, places.__getitem__, brief)
    with pytest.raises(ValueError, match="at most"):
        score_planners({"a": [both]}, places.__getitem__, replace(CONFIG, versions=VERSIONS[:1] * 2))


def test_holm() -> None:
    """0.01 x 3, then the larger of it and 0.04 x 2, then 0.5 x 1."""
    assert holm([0.04, 0.01, 0.5]) == pytest.approx([0.08, 0.03, 0.5])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
