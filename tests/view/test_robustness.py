"""The page's part on failing sensors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drive.errors import UserError
from drive.scores.robustness import Robustness
from drive.view.robustness import ROBUSTNESS, read_robustness, robustness_part

FUSED = Robustness(
    figures=("NDS", "mAP"),
    clean={"NDS": 0.5, "mAP": 0.25},
    cells={"fog": {1: {"NDS": 0.4, "mAP": 0.2}, 3: {"NDS": 0.25, "mAP": None}}},
    not_recorded={"time_shift": {1: "the logs have no images 0.1 s older"}},
)
LIDAR = Robustness(("NDS", "mAP"), {"NDS": 0.4, "mAP": None}, {}, untouched={"fog": "said for the test"})


def test_bars_scores_and_notes() -> None:
    part = robustness_part(["<fused>", "lidar"], [FUSED, LIDAR])
    assert "<fused>" not in part
    assert "&lt;fused&gt;</b>: NDS 0.500 with working sensors, mRA NDS 0.650, mAP 0.800" in part
    assert '<div class="bar run0"><i style="width:156px"></i><span>0.650</span></div>' in part
    assert '<div class="bar run1"><small>does not touch it</small></div>' in part
    assert "0.400 / 0.250<br>–" in part
    assert "the logs have no images 0.1 s older" in part


def test_runs_that_were_not_scored_so() -> None:
    assert "Not scored with failing sensors" in robustness_part(["a"], [None])
    one = robustness_part(["a", "b"], [None, FUSED])
    assert "run1" in one
    assert "run0" not in one


def test_the_file_of_a_run(tmp_path: Path) -> None:
    assert read_robustness(tmp_path) is None
    (tmp_path / ROBUSTNESS).write_text(json.dumps(FUSED.to_dict()))
    assert read_robustness(tmp_path) == FUSED
    for broken in ("{", "[]", '{"figures": []}'):
        (tmp_path / ROBUSTNESS).write_text(broken)
        with pytest.raises(UserError, match="no scores under corruptions"):
            read_robustness(tmp_path)
