"""A conversion that is killed again and again, at random moments; what stands in the end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from drive.logs.store import Log, list_logs

KILLS = 5
"""Kills of the tests; tests/soak.py raises it."""

REPO = Path(__file__).resolve().parents[2]

DRIVER = """
import sys
from pathlib import Path
from data_tools import convert as module
if __name__ == "__main__":
    module.DATASETS["toy"] = "toy_recording"
    report = module.convert("toy", Path(sys.argv[1]), Path(sys.argv[2]), workers=int(sys.argv[3]), ray=sys.argv[4])
    sys.exit(1 if report.failed else 0)
"""


def start(raw: Path, out: Path, workers: int, ray: str = "") -> subprocess.Popen[bytes]:
    """A converter in a session of its own."""
    script = out.parent / "driver.py"
    script.write_text(DRIVER)
    paths = os.pathsep.join([str(REPO), str(Path(__file__).parent)])
    command = [sys.executable, str(script), str(raw), str(out), str(workers), ray]
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.Popen(command, cwd=REPO, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)


def workers_of(parent: int) -> list[int]:
    """Pool workers of a process (its resource tracker is none)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(stat[1]) == parent and b"spawn_main" in command:
            found.append(int(folder.name))
    return found


def at_work(out: Path, driver: int) -> bool:
    """Whether a worker of this driver is writing a log (folders of dead ones lie about as well)."""
    writers = {folder.name.rpartition("-")[2] for folder in out.glob(".*.partial-*")}
    return any(str(pid) in writers for pid in workers_of(driver))


def torment(raw: Path, out: Path, kills: int, seed: int, workers: int = 2) -> tuple[int, int]:
    """Kill drivers and workers of one conversion `kills` times, then let it end.

    Returns (kills of drivers, kills of workers) that met a process at work.
    """
    rng = random.Random(seed)
    drivers = hands = 0
    child = start(raw, out, workers)
    for _ in range(kills):
        deadline = time.monotonic() + 60
        while not at_work(out, child.pid) and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.2))
        if child.poll() is None:
            victims = workers_of(child.pid)
            if victims and rng.random() < 0.5:
                os.kill(rng.choice(victims), signal.SIGKILL)
                hands += 1
                continue
            child.kill()
            child.wait()
            drivers += 1
            orphans_end(victims)
        for path in list_logs(out):
            Log.open(path).verify_checksums()  # whole at any moment
        child = start(raw, out, workers)
    assert child.wait(120) == 0, "the last run reports failures"
    return drivers, hands


def orphans_end(pids: list[int]) -> None:
    """Workers whose driver was killed end by themselves."""
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "workers outlive their driver"
        time.sleep(0.01)


def checksums(out: Path) -> dict[str, bytes]:
    """Every byte of a folder of logs: manifests hold the SHA-256 of all files, verified here."""
    for path in list_logs(out):
        Log.open(path).verify_checksums()
    assert not list(out.glob(".*")), "something was left behind"
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*.json"))}
