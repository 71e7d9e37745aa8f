"""A run that is killed goes on; the same drives from a pool, from Ray and from this process."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from drive.cli import main
from drive.errors import UserError
from drive.plans.baselines import ConstantVelocity
from drive.plans.plan import Plan
from drive.plans.planner import Observation
from drive.rollouts.cluster import drive_on_ray
from drive.rollouts.config import SimulationConfig
from drive.rollouts.filters import SceneFilter
from drive.rollouts.finished import DONE, FINISHED, digest, drive_keeping, forget
from drive.rollouts.many import KILLED, SceneSpec, SimulationWork, drive_all
from drive.rollouts.rollout_file import read_rollouts
from drive.sensor_run import SensorRun
from tests.rollouts.test_many import Crashes, same, write_log

RAY = importlib.util.find_spec("ray") is not None


class Counts(ConstantVelocity):
    """Notes every scene that it begins to drive in a file."""

    def plan(self, observation: Observation) -> Plan:
        if observation.step == 0:
            with Path(os.environ["DRIVE_TEST_COUNTS"]).open("a") as file:
                file.write(observation.scene + "\n")
            if observation.scene == os.environ.get("DRIVE_TEST_WAITS_IN"):
                time.sleep(600)
        return super().plan(observation)


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "notes"
    path.touch()
    monkeypatch.setenv("DRIVE_TEST_COUNTS", str(path))
    return path


def specs_of(root: Path, names: str = "abc") -> list[SceneSpec]:
    for name in names:
        write_log(root, name, frames=12)
    return [SceneSpec(root / name, 0.0) for name in names]


def test_goes_on_where_it_was_stopped(tmp_path: Path, notes: Path) -> None:
    specs = specs_of(tmp_path)
    work = SimulationWork(f"{__name__}:Counts", filter=SceneFilter(names="[ab]@*"))
    out = tmp_path / "out"
    going = drive_keeping(out, work, specs, batch=1)
    first = next(going)
    going.close()
    assert [r.scene for r in first.rollouts] == ["a@0"]
    again = list(drive_keeping(out, work, specs, batch=2))
    assert notes.read_text().split() == ["a@0", "b@0"]
    drives = {r.scene: r for d in again for r in d.rollouts}
    assert [pair for d in again for pair in d.left_out] == [("c@0", "name")]
    for whole in drive_all(work, specs):
        for rollout in whole.rollouts:
            same(drives[rollout.scene], rollout)
    # All is there: nothing is driven. A part that was cut off is driven again, and what was damaged.
    assert len(list(drive_keeping(out, work, specs))) == 2
    (part,) = (p for p in out.rglob("rollouts.arrow") if [r.scene for r in read_rollouts(p)] == ["b@0"])
    (part.parent / DONE).unlink()
    list(drive_keeping(out, work, specs))
    assert notes.read_text().split()[-1] == "b@0"
    part.write_bytes(b"cut off")
    list(drive_keeping(out, work, specs))
    assert notes.read_text().split()[-2:] == ["b@0", "b@0"]
    forget(out)
    assert not (out / FINISHED).exists()
    assert list(drive_keeping(out, work, [])) == []


def test_what_was_asked_for_otherwise_is_driven_again(tmp_path: Path, notes: Path) -> None:
    specs = specs_of(tmp_path, "a")
    work = SimulationWork(f"{__name__}:Counts")
    list(drive_keeping(tmp_path, work, specs))
    other = replace(work, simulation=SimulationConfig(latency_s=0.1))
    list(drive_keeping(tmp_path, other, specs))
    assert notes.read_text().split() == ["a@0", "a@0"]
    assert len(list((tmp_path / FINISHED).iterdir())) == 1  # the first one's are gone
    before = digest(work, specs)
    assert before != digest(work, [])
    os.utime(tmp_path / "a" / "log.json", ns=(1, 1))
    assert digest(work, specs) != before


def test_an_edited_recipe_of_the_tracker_is_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "recipe_of_test_finished.py"
    recipe.write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    work = SimulationWork("stop", sensing=SensorRun("true", "recipe_of_test_finished"))
    before = digest(work, [])
    os.utime(recipe, ns=(1, 1))
    assert digest(work, []) != before


def test_the_command_goes_on_after_ctrl_c(tmp_path: Path, notes: Path) -> None:
    specs_of(tmp_path / "logs")
    words = ["simulate", str(tmp_path / "logs"), "--planner", f"{__name__}:Counts", "--batch", "1"]
    words += ["--out", str(tmp_path / "out")]
    # Who starts the tests in the background makes them and their children deaf to Ctrl-C.
    hears = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{hears}; from drive.cli import main; sys.exit(main({words!r}))"
    waits = os.environ | {"DRIVE_TEST_WAITS_IN": "b@0"}
    with subprocess.Popen([sys.executable, "-c", code], env=waits, stderr=subprocess.PIPE, text=True) as run:
        try:
            limit = time.monotonic() + 300
            while "b@0" not in notes.read_text() and time.monotonic() < limit:
                time.sleep(0.05)
            run.send_signal(signal.SIGINT)
            said = run.communicate(timeout=120)[1]
        finally:
            run.kill()
    assert (run.returncode, "goes on" in said) == (130, True)
    assert main(words) == 0
    assert notes.read_text().split() == ["a@0", "b@0", "b@0", "c@0"]
    assert [r.scene for r in read_rollouts(tmp_path / "out" / "constant_velocity" / "rollouts.arrow")] == [
        "a@0", "b@0", "c@0",
    ]  # fmt: skip
    assert not (tmp_path / "out" / "constant_velocity" / FINISHED).exists()


@pytest.mark.skipif(RAY, reason="Ray is installed")
def test_ray_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Ray is not installed"):
        list(drive_on_ray(SimulationWork("stop"), specs_of(tmp_path, "a"), "local"))


@pytest.mark.skipif(not RAY, reason="Ray is not installed (extra cluster)")
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_drives_the_same(tmp_path: Path) -> None:
    specs = [*specs_of(tmp_path, "ac"), *specs_of(tmp_path, ["boom"])]  # type: ignore[arg-type]
    work = SimulationWork(f"{Crashes.__module__}:Crashes", SimulationConfig(tracking="perfect"))
    found = {r.scene: r for d in drive_on_ray(work, specs, "local", 2, batch=3) for r in d.rollouts}
    assert {name: r.failure for name, r in found.items()} == {"boom@0": KILLED, "a@0": "", "c@0": ""}
    for drives in drive_all(work, specs[:2]):
        for rollout in drives.rollouts:
            same(found[rollout.scene], rollout)
    assert list(drive_on_ray(work, [], "local")) == []
