"""Damaged log folders: one line that names the file, or a log; never anything else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fuzzing import check_reader

from data_tools.verify import verify_log
from drive.errors import UserError
from drive.logs.choice import Choice, PointCoding, choosing
from drive.logs.files import OPEN
from drive.logs.store import Log
from drive.logs.writer import LogWriter


def use_everything(path: Path) -> None:
    """Read all that a log holds. OPEN forgets the maps of the last case's files, which bore the same names."""
    OPEN.forget(path)
    log = Log.open(path)
    for frame in range(log.num_frames):
        with np.errstate(all="ignore"):
            log.frame(frame)
        log.boxes(frame)
    for name, sensor in log.sensors.items():
        for row in range(log.num_sweeps(name)):
            with np.errstate(all="ignore"):  # any four numbers are stored as a quaternion; verify judges them
                log.image(name, row) if sensor.modality == "camera" else log.sweep(name, row)
    log.map_features()
    log.table("can_pose")


def test_logs(small_log: Log) -> None:
    files = sorted(p for p in small_log.path.iterdir() if p.is_file())
    use_everything(small_log.path)
    assert check_reader(use_everything, files, root=small_log.path) > 50


def test_logs_with_the_right_size(small_log: Log) -> None:
    """Damage that keeps a file's size reaches the Arrow reader; the manifest stands for it here."""

    def read(path: Path) -> None:
        manifest = json.loads((path / "log.json").read_bytes())
        for name, entry in manifest["files"].items():
            entry["bytes"] = (path / name).stat().st_size
        (path / "log.json").write_text(json.dumps(manifest))
        use_everything(path)

    check_reader(read, sorted(small_log.path.glob("*.arrow")), root=small_log.path)


@pytest.mark.parametrize("points", ["lz4", "quantised"])
def test_packed_points(tmp_path: Path, points: PointCoding) -> None:
    """A compressed buffer says how long it will be: that number may be anything."""
    rng = np.random.default_rng(0)
    none = [0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]
    with choosing(Choice(points=points)), LogWriter(
        tmp_path, "log", dataset="toy", source_version="", licence=""
    ) as log:  # fmt: skip
        log.add_sensor("L", "lidar", *none, columns=("x", "y", "z", "i"))
        for i in range(3):
            cloud = rng.integers(-100, 100, (200, 4)).astype(np.float32)
            log.add_sweep(
                "L", i, cloud, *none, extra={"n": np.zeros(200, np.uint8)}, is_key_frame=True, source_timestamp=i,
                source_name=str(i),
            )  # fmt: skip

    def read(path: Path) -> None:
        manifest = json.loads((path / "log.json").read_bytes())
        manifest["files"]["lidar_L.arrow"]["bytes"] = (path / "lidar_L.arrow").stat().st_size
        (path / "log.json").write_text(json.dumps(manifest))
        OPEN.forget(path)
        damaged = Log.open(path)
        for row in range(3):
            damaged.points("L", row)
            damaged.sweep("L", row)

    check_reader(read, tmp_path / "log" / "lidar_L.arrow", root=tmp_path / "log")


def test_verify_says_what_is_wrong(small_log: Log) -> None:
    def read(path: Path) -> None:
        OPEN.forget(path)
        result = verify_log(path)
        if result.problems:
            raise UserError(path, result.problems[0], "")

    files = sorted(p for p in small_log.path.iterdir() if p.is_file())
    assert check_reader(read, files, root=small_log.path, cases=60) > 50
