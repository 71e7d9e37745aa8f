"""What the comparisons hold figures together with: a difference must never pass as equality."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.official import exchange, run


def test_distance() -> None:
    a = np.array([1.0, 2.0], np.float32)
    assert exchange.distance(a, a) == 0
    assert exchange.distance(a + 0.5, a) == 0.5
    assert exchange.distance(None, a) == exchange.distance(a[:1], a) == float("inf")
    assert exchange.distance(np.array([1.0, np.nan]), np.array([1.0, 2.0])) == float("inf")
    assert exchange.distance(np.array([1.0, np.nan]), np.array([1.5, np.nan])) == 0.5
    assert exchange.distance(a[:0], a[:0]) == 0


def test_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert exchange.report("t", 3, [(1e-7, 4, "ap")], 1e-5) == 0
    assert exchange.report("t", 3, [(1e-3, 4, "ap"), (0.0, 1, "aph")], 1e-5) == 1
    assert "ap: largest difference 0.001 (scene 4)" in capsys.readouterr().out


def test_run_says_which_comparison_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "compare_good.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "compare_bad.py").write_text("raise SystemExit(1)\n")
    (tmp_path / "other.py").write_text("raise SystemExit(1)\n")
    monkeypatch.setattr(run, "HERE", tmp_path)
    assert run.main([]) == 1
    assert "1 of 2 comparisons differ: compare_bad" in capfd.readouterr().err
    assert run.main(["good"]) == 0
    assert run.main(["absent"]) == 2
