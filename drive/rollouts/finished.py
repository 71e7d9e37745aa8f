"""Finished batches of drives on disk while a run goes on: a run that is killed goes on from them.

FOLDER/.finished/<what was asked for>/<batch>/: rollouts.arrow, tracks-*.arrow (with sensors), and drives.json, which is
written last. "What was asked for" is a digest of the planner, its files, the configuration, the logs and this program:
where any of them changed, everything is driven again, and what an older run left is removed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import drive
from drive.boxes.table_file import whole_file
from drive.errors import UserError
from drive.rollouts.cluster import drive_on_ray
from drive.rollouts.many import Drives, SceneSpec, SimulationWork, drive_all
from drive.rollouts.rollout_file import read_rollouts, write_rollouts
from drive.rollouts.sensor_loop import Spent
from drive.tracks.sequence import read_tracks, write_tracks

FINISHED, DONE, ROLLOUTS = ".finished", "drives.json", "rollouts.arrow"


def drive_keeping(
    folder: Path, work: SimulationWork, specs: Sequence[SceneSpec], *, jobs: int = 1, batch: int = 32, ray: str = ""
) -> Iterator[Drives]:
    """`drive_all` (or `drive_on_ray` where `ray` names a cluster), each batch written into ``folder`` before it is
    yielded; what a run before, asked for the same, has finished comes from there. `forget` it when all is done.

    Raises:
        UserError: a batch cannot be written; Ray is not there.
    """
    place = folder / FINISHED / digest(work, specs)
    for old in (folder / FINISHED).glob("*"):
        if old != place:
            shutil.rmtree(old, ignore_errors=True)
    done: set[str] = set()
    for part in sorted(place.glob("*")):
        drives = _read(part)
        if drives is None:
            shutil.rmtree(part)
            continue
        done |= _scenes(drives)
        yield drives
    rest = [spec for spec in specs if spec.name not in done]
    going = drive_on_ray(work, rest, ray, jobs, batch=batch) if ray else drive_all(work, rest, jobs=jobs, batch=batch)
    for drives in going:
        _write(place, drives)
        yield drives


def forget(folder: Path) -> None:
    """Remove the finished batches: the whole is written."""
    shutil.rmtree(folder / FINISHED, ignore_errors=True)


def digest(work: SimulationWork, specs: Sequence[SceneSpec]) -> str:
    """What was asked for, of what, by which program: 16 hexadecimal digits. Not in which batches."""
    told = [repr(work), *(spec.name for spec in specs)]
    told += [_state_of(path) for path in sorted({spec.log / "log.json" for spec in specs})]
    parts = {} if work.sensing is None else vars(work.sensing)
    for name in (work.planner, *parts.values()):
        if isinstance(name, str | Path) and name and Path(name).is_dir():  # the run of a learned planner, a detector
            told += [_state_of(path) for path in sorted(Path(name).rglob("*")) if path.is_file()]
        if isinstance(name, str) and (source := _source(name.partition(":")[0])):  # a planner of yours, a recipe
            told.append(_state_of(source))
    told += [_state_of(path) for path in sorted(Path(drive.__file__).parent.rglob("*.py"))]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def _source(module: str) -> Path | None:
    """The file of a module; None where no module is called so."""
    try:
        spec = importlib.util.find_spec(module) if all(part.isidentifier() for part in module.split(".")) else None
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


def _state_of(path: Path) -> str:
    if not path.exists():
        return f"{path.resolve()} missing"
    state = path.stat()
    return f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"


def _scenes(drives: Drives) -> set[str]:
    return {rollout.scene for rollout in drives.rollouts} | {name for name, _ in drives.left_out}


def _write(place: Path, drives: Drives) -> None:
    name = hashlib.sha256("\n".join(sorted(_scenes(drives))).encode()).hexdigest()[:16]
    part = place / name
    part.mkdir(parents=True, exist_ok=True)
    write_rollouts(part / ROLLOUTS, drives.rollouts)
    for n, tracks in enumerate(drives.tracks):
        write_tracks(part / f"tracks-{n}.arrow", tracks)
    spent = None if drives.spent is None else asdict(drives.spent)
    with whole_file(part / DONE) as file:
        file.write(json.dumps({"left_out": drives.left_out, "tracks": len(drives.tracks), "spent": spent}).encode())


def _read(part: Path) -> Drives | None:
    """A batch, or None where its writing was cut off or its files are damaged."""
    try:
        said = json.loads((part / DONE).read_text())
        return Drives(
            tuple(read_rollouts(part / ROLLOUTS)),
            tuple((name, why) for name, why in said["left_out"]),
            tuple(read_tracks(part / f"tracks-{n}.arrow") for n in range(said["tracks"])),
            None if said["spent"] is None else Spent(**said["spent"]),
        )
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return None
