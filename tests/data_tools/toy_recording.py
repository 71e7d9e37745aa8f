"""A data set with something of everything, made from the names of its logs: for tests of what all converters share.

RAW holds one folder a log with the images of its camera and a file ``deed`` that may make trouble. A lidar at 10 Hz, a
camera at 2 Hz 30 ms later, frames at 2 Hz with one box of a track each; time starts at 5 s.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from drive.errors import UserError
from drive.logs.standard import STANDARD_TABLES
from drive.logs.writer import LogWriter

START_NS, SWEEP_NS = 5_000_000_000, 100_000_000
IDENTITY = [1.0, 0.0, 0.0, 0.0]


@dataclass(frozen=True)
class Options:
    """Toy recordings."""

    content: ClassVar[tuple[str, ...]] = ("sweeps", "size")
    sweeps: int = 10
    """sweeps a log"""
    size: int = 50
    """points a sweep"""


@dataclass(frozen=True)
class Spec:
    name: str


def make_raw(root: Path, names: Iterable[str] = "abc", images: int = 2, deed: str = "") -> Path:
    """Write RAW."""
    for name in names:
        (root / f"log-{name}").mkdir(parents=True)
        (root / f"log-{name}" / "deed").write_text(deed)
        for i in range(images):
            (root / f"log-{name}" / f"{i}.jpg").write_bytes(b"\xff\xd8\xff" + f"{name}{i}".encode() * 10 + b"\xff\xd9")
    return root


def list_logs(raw: Path, options: Options) -> list[Spec]:
    return [Spec(path.name) for path in sorted(raw.iterdir()) if path.is_dir()]


def log_files(raw: Path, spec: Spec) -> list[Path]:
    return [raw / spec.name]


def convert_log(raw: Path, spec: Spec, out_root: Path, options: Options) -> None:
    rng = np.random.default_rng(zlib.crc32(spec.name.encode()))
    deed = (raw / spec.name / "deed").read_text()
    with LogWriter(out_root, spec.name, dataset="toy", source_version="1", licence="none") as log:
        log.add_sensor("LIDAR", "lidar", [0, 0, 0], IDENTITY, columns=("x", "y", "z", "intensity"), intensity_max=1.0)
        log.add_sensor("RADAR", "radar", [0, 0, 0], IDENTITY, columns=("x", "y", "z"))
        log.add_sensor("CAM", "camera", [0, 0, 0], IDENTITY, width=4, height=3)
        for i in range(options.sweeps):
            keys = {"is_key_frame": i % 5 == 0, "source_timestamp": i, "source_name": f"{i}"}
            stamp = START_NS + i * SWEEP_NS
            points = rng.normal(0, 30, (options.size, 4)).astype(np.float32)
            extra = {"ring": np.arange(options.size, dtype=np.uint8)}
            log.add_sweep("LIDAR", stamp, points, [i, 0, 0], IDENTITY, extra=extra, **keys)
            log.add_sweep("RADAR", stamp, points[: i % 3, :3], [i, 0, 0], IDENTITY, **keys)
            if deed == "slow":
                time.sleep(0.02)
            if deed == "user error":
                raise UserError("file.bin", "is bad", "mend it")
            if deed == "die":
                os._exit(9)
        files = sorted((raw / spec.name).glob("*.jpg"))
        for i, file in enumerate(files):
            stamp = START_NS + 5 * i * SWEEP_NS + 30_000_000
            keys = {"is_key_frame": True, "source_timestamp": i, "source_name": file.name}
            log.add_image("CAM", stamp, file.read_bytes(), 4, 3, [5 * i, 0, 0], IDENTITY, file=file, **keys)
        for i in range(0, options.sweeps, 5):
            rows = {"LIDAR": i, "RADAR": i} | ({"CAM": i // 5} if i // 5 < len(files) else {})
            frame = log.add_frame(
                START_NS + i * SWEEP_NS, rows=rows, pose_translation=[i, 0, 0], pose_rotation=IDENTITY,
                source_timestamp=i, source_token=f"frame{i}",
            )  # fmt: skip
            box = np.array([[float(i), 1, 0.5, 4, 2, 1.5, 0.1, 0, 0]])
            log.add_boxes(
                frame, box, ["car"], [f"track{i}"], velocity_valid=np.array([True]), source_translation=box[:, :3],
                source_rotation=np.array([IDENTITY]), source_size=box[:, 3:6],
            )  # fmt: skip
        _add_tables(log, options)


def _add_tables(log: LogWriter, options: Options) -> None:
    key = list(range(0, options.sweeps, 5))
    lights = {"frame": list(range(len(key))), "feature_id": ["1"] * len(key), "state": ["red"] * len(key)}
    lights |= {"stop_point": [[0.0, 0, 0]] * len(key), "source_state": [str(i) for i in key]}
    roles = {"track": [f"track{i}" for i in key], "role": ["focal"] * len(key), "difficulty": key}
    labels = {
        "sensor": ["LIDAR"] * len(key),
        "row": key,
        "semantic": [[i] for i in key],
        "instance": [[i] for i in key],
    }
    stamps = [START_NS + i * SWEEP_NS for i in range(options.sweeps)]
    ego = {"timestamp_ns": stamps} | {n: [0.0] * len(stamps) for n in STANDARD_TABLES["ego"].names[1:]}
    for name, columns in (("lights", lights), ("track_roles", roles), ("point_labels", labels), ("ego", ego)):
        log.add_table(name, pa.table(columns, schema=STANDARD_TABLES[name]))
