"""kill -9 of the driver or of a worker, at random moments: nothing is lost, and the result is the same to the bit."""

from __future__ import annotations

import sys
from pathlib import Path

import kills
import pytest
import toy_recording

from data_tools import convert as module
from data_tools.convert import convert
from drive.logs.partial import sweep_partials

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds worker processes in /proc")


def test_random_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.DATASETS, "toy", "toy_recording")
    raw = toy_recording.make_raw(tmp_path / "raw", [f"{i:03d}" for i in range(3 * kills.KILLS)], deed="slow")
    assert not convert("toy", raw, tmp_path / "quiet", workers=2).failed
    drivers, hands = kills.torment(raw, tmp_path / "out", kills.KILLS, seed=3)
    assert min(drivers, hands) > 0
    assert drivers + hands > kills.KILLS // 2  # most kills met somebody at work
    assert kills.checksums(tmp_path / "out") == kills.checksums(tmp_path / "quiet")


def test_other_hosts_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".a.partial-other_host-1").mkdir()
    assert sweep_partials(tmp_path) == []
    assert (tmp_path / ".a.partial-other_host-1").is_dir()


def test_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same work on a Ray cluster: failures in the report, a worker that dies takes only its own log with it."""
    pytest.importorskip("ray", reason="Ray is not installed (extra cluster)")
    raw = toy_recording.make_raw(tmp_path / "raw", "abcd")
    monkeypatch.setitem(module.DATASETS, "toy", "toy_recording")
    convert("toy", raw, tmp_path / "quiet")
    (raw / "log-b" / "deed").write_text("die")
    (raw / "log-c" / "deed").write_text("user error")
    assert kills.start(raw, tmp_path / "out", 2, "local").wait(120) == 1
    (raw / "log-b" / "deed").write_text("")
    (raw / "log-c" / "deed").write_text("")
    assert kills.start(raw, tmp_path / "out", 2, "local").wait(120) == 0
    assert kills.checksums(tmp_path / "out") == kills.checksums(tmp_path / "quiet")


def test_ray_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(module.DATASETS, "toy", "toy_recording")
    raw = toy_recording.make_raw(tmp_path / "raw", "a")
    with pytest.raises(module.UserError, match=r"--ray: Ray is not installed; pip install 'drivewright\[cluster\]'"):
        convert("toy", raw, tmp_path / "out", ray="local")
