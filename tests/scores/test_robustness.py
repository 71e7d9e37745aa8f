"""Resistance figures, worked out by hand."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from drive.scores.robustness import Robustness

FUSED = Robustness(
    figures=("NDS", "mAP"),
    clean={"NDS": 0.5, "mAP": 0.4},
    cells={
        "fog": {1: {"NDS": 0.4, "mAP": 0.4}, 2: {"NDS": 0.3, "mAP": 0.2}, 3: {"NDS": 0.2, "mAP": 0.0}},
        "dark": {1: {"NDS": 0.5, "mAP": None}},
    },
    published=frozenset({"fog", "dark"}),
    not_recorded={"time_shift": {1: "no images"}},
)
LIDAR = Robustness(
    figures=("NDS", "mAP"),
    clean={"NDS": 0.45, "mAP": 0.3},
    cells={"fog": {s: {"NDS": 0.3, "mAP": 0.0} for s in (1, 2, 3)}},
    untouched={"dark": "it touches the camera"},
)


def test_resistance() -> None:
    assert FUSED.ra("fog", "NDS") == pytest.approx((0.8 + 0.6 + 0.4) / 3)
    assert FUSED.ra("fog", "mAP") == pytest.approx(0.5)
    assert FUSED.ra("dark", "NDS") == 1.0
    assert FUSED.ra("dark", "mAP") is None  # not defined there
    assert FUSED.ra("time_shift", "NDS") is None
    assert FUSED.mra("NDS") == pytest.approx(0.8)
    assert FUSED.mra("mAP") == pytest.approx(0.5)
    assert Robustness(("NDS",), {"NDS": 0.0}, {"fog": {1: {"NDS": 0.0}}}).ra("fog", "NDS") is None
    assert Robustness(("NDS",), {"NDS": 0.3}, {}).mra("NDS") is None


def test_what_cannot_touch_a_detector_counts_only_where_declared() -> None:
    assert LIDAR.ra("dark", "NDS") is None
    assert LIDAR.mra("NDS") == pytest.approx(2 / 3)
    declared = Robustness.of_dict(LIDAR.to_dict() | {"untouched_as_one": True})
    assert declared.ra("dark", "NDS") == 1.0
    assert declared.mra("NDS") == pytest.approx(5 / 6)


def test_resistance_against_a_baseline() -> None:
    assert FUSED.rra(LIDAR, "fog", "NDS") == pytest.approx(0.9 / 0.9 - 1)
    # The baseline keeps its clean score where nothing touches it, and scores nothing in fog by mAP.
    assert FUSED.rra(LIDAR, "dark", "NDS") == pytest.approx(0.5 / 0.45 - 1)
    assert LIDAR.rra(FUSED, "dark", "NDS") == pytest.approx(0.45 / 0.5 - 1)
    assert FUSED.rra(LIDAR, "fog", "mAP") is None
    assert LIDAR.rra(LIDAR, "dark", "NDS") == 0.0
    assert FUSED.rra(LIDAR, "time_shift", "NDS") is None
    assert FUSED.mrra(LIDAR, "NDS") == pytest.approx((0.0 + 0.5 / 0.45 - 1) / 2)


def test_there_and_back_and_on_paper() -> None:
    data = json.loads(json.dumps(FUSED.to_dict(LIDAR)))
    assert Robustness.of_dict(data, FUSED.published) == FUSED
    assert data["mRA"]["NDS"] == {"all": pytest.approx(0.8), "multicorrupt": pytest.approx(0.8), "ours": None}
    assert data["RRA"]["NDS"]["time_shift"] is None
    out = io.StringIO()
    LIDAR.print(FUSED, Console(file=out, width=80))
    text = out.getvalue()
    assert "n/a" in text
    assert "…" not in text  # fits a terminal
    assert "left out of mRA: dark" in text
    FUSED.print(console=Console(file=out, width=80))
    assert "time_shift, severity 1: no images" in out.getvalue()
