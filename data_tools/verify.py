"""``drive verify LOGS``: is every log whole, consistent and plausible?

Checked for each log: manifest and schema version, file sizes, SHA-256 of every file, files that nobody lists, lengths
and counts of tables against each other, order of time, finite numbers, unit quaternions, positive sizes, yaw range,
track and frame references, every sweep's points, every image's first bytes. Then the frame doctor looks at the lidar
points inside the boxes (:mod:`data_tools.frame_doctor`). One line a problem; exit code 1 if there is any.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import tyro
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from data_tools.frame_doctor import diagnose_logs
from drive.errors import UserError
from drive.logs import schema
from drive.logs.files import read_table
from drive.logs.store import Log, list_logs

_IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


@dataclass(frozen=True)
class Options:
    """Check logs: counts, checksums, order of time, numbers, and the frames' conventions."""

    logs: Annotated[Path, tyro.conf.Positional]
    """folder of logs that drive convert wrote, or one log"""
    fast: bool = False
    """leave out what reads every byte: checksums, points and images"""
    doctor: bool = True
    """let the frame doctor look at points and boxes"""
    workers: int = 0
    """logs checked at once; 0 = one a processor"""


@dataclass
class Result:
    """What one log holds and what is wrong with it."""

    path: Path
    counts: dict[str, int] = field(default_factory=dict)
    dataset: str = ""
    problems: list[str] = field(default_factory=list)


def verify_log(path: Path, fast: bool = False) -> Result:
    """Check one log folder. Problems are collected, not raised."""
    result = Result(Path(path))
    try:
        log = Log.open(path)
        result.dataset = log.dataset
        result.problems.extend(_check_files(log, fast))
        with np.errstate(all="ignore"):  # what is no number is reported, not warned of
            rows = _check_sweeps(log, result)
            _check_frames(log, result, rows)
            _check_boxes(log, result)
            _check_map(log, result)
            if not fast:
                _check_payloads(log, result)
    except UserError as error:
        result.problems.append(str(error))
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        # The tables contradict their schema so much that they cannot be read at all.
        result.problems.append(f"{path}: cannot be read as a log ({type(error).__name__}: {error}); convert it again")
    return result


def _check_files(log: Log, fast: bool) -> Iterator[str]:
    listed = log.manifest["files"]
    for path in sorted(log.path.rglob("*")):
        name = path.relative_to(log.path).as_posix()
        if path.is_file() and name not in listed and name not in (schema.MANIFEST, schema.ADDRESS):
            yield f"{path}: the manifest does not list this file; remove it"
    for name, entry in listed.items():
        if fast:
            break
        with open(log.local_path(name), "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                yield f"{log.path / name}: its SHA-256 is not the manifest's; it was changed: convert this log again"


def _table(log: Log, name: str) -> pa.Table:
    # Checked as a reader checks it: Arrow's own functions end the process on buffers that are too short.
    return read_table(log.path / name, pa.ipc.open_file(pa.memory_map(str(log.local_path(name)), "r")))


def _matrix(table: pa.Table, name: str, width: int) -> np.ndarray:
    column = table[name].combine_chunks()
    return column.flatten().to_numpy(zero_copy_only=False).astype(np.float64).reshape(-1, width)


def _say(result: Result, file: str, what: str, mend: str = "convert this log again") -> None:
    result.problems.append(f"{result.path / file}: {what}; {mend}")


def _check_poses(result: Result, file: str, table: pa.Table) -> None:
    translation, rotation = _matrix(table, "pose_translation", 3), _matrix(table, "pose_rotation", 4)
    bad = ~np.isfinite(translation).all(axis=1) | ~(np.abs(np.linalg.norm(rotation, axis=1) - 1) < 1e-3)
    if bad.any():
        _say(result, file, f"row {int(np.flatnonzero(bad)[0])}: {int(bad.sum())} poses are not finite or not rotations")


def _check_sweeps(log: Log, result: Result) -> dict[str, int]:
    """Order of time and poses of every sensor; returns the number of rows by sensor."""
    table = _table(log, "sweeps.arrow")
    _check_poses(result, "sweeps.arrow", table)
    names = list(log.sensors)
    sensor, stamps = table["sensor"].to_numpy(), table["timestamp_ns"].to_numpy()
    if len(sensor) and not (sensor.min() >= 0 and sensor.max() < len(names) and (np.diff(sensor) >= 0).all()):
        _say(result, "sweeps.arrow", "sensor column is not sorted or names a sensor that is not there")
        return {}
    rows = {}
    for index, name in enumerate(names):
        own = stamps[sensor == index]
        rows[name] = len(own)
        back = np.flatnonzero(np.diff(own) < 0)
        if len(back):
            _say(result, "sweeps.arrow", f"{name} row {int(back[0]) + 1}: time goes back")
        pose = log.sensors[name].ego_from_sensor
        if not np.isfinite(pose).all() or np.abs(pose[:3, :3] @ pose[:3, :3].T - np.eye(3)).max() > 1e-3:
            _say(result, "sensors.arrow", f"{name}: ego_from_sensor is not a rigid motion")
        elif np.linalg.det(pose[:3, :3]) < 0:
            _say(result, "sensors.arrow", f"{name}: ego_from_sensor mirrors (left-handed axes)")
    kinds = {name: log.sensors[name].modality for name in names}
    result.counts["sweeps"] = sum(n for name, n in rows.items() if kinds[name] != "camera")
    result.counts["images"] = sum(n for name, n in rows.items() if kinds[name] == "camera")
    _compare(log, result, "rows", rows)
    return rows


def _compare(log: Log, result: Result, name: str, found: int | dict[str, int]) -> None:
    stated = log.manifest["counts"].get(name)
    if stated != found:
        _say(result, schema.MANIFEST, f"counts.{name} says {stated}, the tables hold {found}")


def _check_frames(log: Log, result: Result, rows: dict[str, int]) -> None:
    table = _table(log, "frames.arrow")
    _check_poses(result, "frames.arrow", table)
    result.counts["frames"] = table.num_rows
    _compare(log, result, "frames", table.num_rows)
    back = np.flatnonzero(np.diff(table["timestamp_ns"].to_numpy()) <= 0)
    if len(back):
        _say(result, "frames.arrow", f"frame {int(back[0]) + 1}: time does not increase")
    for name, count in rows.items():
        used = table[f"row_{name}"].drop_null().to_numpy()
        if len(used) and not (used.min() >= 0 and used.max() < count):
            _say(result, "frames.arrow", f"row_{name} points beyond the {count} rows of {name}")


def _check_boxes(log: Log, result: Result) -> None:
    table, tracks = _table(log, "boxes.arrow"), _table(log, "tracks.arrow")
    result.counts["boxes"], result.counts["tracks"] = table.num_rows, tracks.num_rows
    _compare(log, result, "boxes", table.num_rows)
    _compare(log, result, "tracks", tracks.num_rows)
    frame, track_rows, boxes = table["frame"].to_numpy(), table["track"].to_numpy(), _matrix(table, "box", 9)
    finite = np.isfinite(boxes).all(axis=1)
    faults = {
        "number is not finite": ~finite,
        "size is not positive": finite & ~(boxes[:, 3:6] > 0).all(axis=1),
        "yaw is outside (-pi, pi]": finite & ~((boxes[:, 6] > -np.pi) & (boxes[:, 6] <= np.pi)),
        "velocity is masked but not 0": ~table["velocity_valid"].to_numpy(zero_copy_only=False)
        & (boxes[:, 7:] != 0).any(axis=1),
        "frame does not exist": (frame < 0) | (frame >= result.counts["frames"]),
        "track does not exist": (track_rows < 0) | (track_rows >= tracks.num_rows),
        "source numbers are not finite": ~np.isfinite(
            np.concatenate([_matrix(table, "source_translation", 3), _matrix(table, "source_size", 3)], axis=1)
        ).all(axis=1),
    }
    for what, bad in faults.items():
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            where = f"frame {frame[row]}, row {row} ({table['category'][row]})"
            _say(
                result, "boxes.arrow", f"{where}: {what} ({int(bad.sum())} such boxes)", "mend the source or converter"
            )
    if (np.diff(frame) < 0).any():
        _say(result, "boxes.arrow", "rows are not sorted by frame")
    elif not faults["track does not exist"].any():
        counted = np.bincount(track_rows, minlength=tracks.num_rows)
        if not np.array_equal(counted, tracks["num_boxes"].to_numpy()):
            _say(result, "tracks.arrow", "num_boxes does not agree with boxes.arrow")


def _check_map(log: Log, result: Result) -> None:
    features = log.map_features()
    result.counts["map"] = len(features)
    _compare(log, result, "map_features", len(features))
    for feature in features:
        if len(feature.geometry) == 0 or not np.isfinite(feature.geometry).all():
            _say(result, "map.arrow", f"{feature.kind} {feature.feature_id} is empty or not finite")
            break


def _check_payloads(log: Log, result: Result) -> None:
    points: dict[str, int] = {}
    for name, sensor in log.sensors.items():
        file = schema.payload_file(sensor.modality, name)
        batches = pa.ipc.open_file(pa.memory_map(str(log.local_path(file)), "r")).num_record_batches
        if batches != log.num_sweeps(name):
            _say(result, file, f"{batches} payloads for {log.num_sweeps(name)} rows")
            continue
        for row in range(batches):
            if sensor.modality == "camera":
                image = log.image(name, row)
                if not image.data.startswith(_IMAGE_STARTS) or image.width <= 0 or image.height <= 0:
                    _say(result, file, f"row {row} ({image.source_name}) is not a JPEG or PNG image")
                continue
            sweep = log.sweep(name, row)
            points[name] = points.get(name, 0) + len(sweep.points)
            # Intensities and radar codes may be anything; places may not.
            if not np.isfinite(sweep.points[:, :3]).all():
                _say(result, file, f"row {row} ({sweep.source_name}): points are not finite", "mend the source")
            short = [column for column, values in sweep.extra.items() if len(values) != len(sweep.points)]
            if short:
                _say(result, file, f"row {row}: {', '.join(short)} is not as long as the points")
        if sensor.modality != "camera":
            points.setdefault(name, 0)
    result.counts["points"] = sum(points.values())
    _compare(log, result, "points", points)


def verify(options: Options, console: Console) -> list[Result]:
    """Check a folder of logs (or one log) with a progress bar; results in the order of the logs' names."""
    root = options.logs
    paths = [root] if (root / schema.MANIFEST).is_file() else list_logs(root)
    if not paths:
        raise UserError(root, "holds no finished log", "give the folder that drive convert wrote")
    with ThreadPoolExecutor(options.workers or os.cpu_count() or 1) as pool:
        work = pool.map(lambda path: verify_log(path, options.fast), paths)
        return list(track(work, "verifying", total=len(paths), console=console, transient=True))


_COLUMNS = ("frames", "boxes", "tracks", "sweeps", "images", "points", "map")
_MAX_ROWS = 60


def print_table(results: Sequence[Result], console: Console) -> None:
    """A row a log and their sum; of very many logs those with problems come first and the rest is only summed."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("log", overflow="fold", min_width=12)
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    shown = sorted(results, key=lambda result: not result.problems)[:_MAX_ROWS] if len(results) > _MAX_ROWS else results
    for result in shown:
        cells = [f"{result.counts[name]:,}" if name in result.counts else "-" for name in _COLUMNS]
        state = f"[red]{len(result.problems)} bad" if result.problems else "[green]ok"
        table.add_row(result.path.name, *cells, state)
    if len(results) > 1:
        known = [[result.counts[name] for result in results if name in result.counts] for name in _COLUMNS]
        sums = [f"{sum(values):,}" if values else "-" for values in known]
        table.add_section()
        table.add_row(f"all {len(results)}", *sums, f"{sum(bool(result.problems) for result in results)} bad")
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """``drive verify``. Exit code 0 = nothing found, 1 = problems were printed, one a line."""
    options = tyro.cli(Options, args=None if argv is None else list(argv), prog="drive verify")
    console = Console()
    results = verify(options, console)
    print_table(results, console)
    problems = [problem for result in results for problem in result.problems]
    if options.doctor:
        sound = [result.path for result in results if not result.problems]
        for dataset, diagnoses in diagnose_logs(sound).items():
            problems += [f"{dataset}: frame doctor: {d.code}: {d}" for d in diagnoses]
    for problem in problems:
        print(f"problem: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
