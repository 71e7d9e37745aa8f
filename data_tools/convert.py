"""``drive convert DATASET RAW OUT``: raw recordings to logs, in parallel, resumable.

A data set is a module ``data_tools.<dataset>`` with four names:

``Options``
    A frozen dataclass; its fields become command line flags (tyro), its docstring their help. ``content`` (a
    ``ClassVar[tuple[str, ...]]``, default none) lists the fields that change what is written into a log (as opposed
    to which logs are written): a folder once begun with other values of these is refused, not mixed.
    ``images_in_records`` (``ClassVar[bool]``, default False): images are no files that a log could refer to.
    ``listing`` (as content): globs of the files that list_logs or log_files open, for a dry run of an archive.
``list_logs(raw: Path, options: Options) -> list[Spec]``
    What is to be converted, sorted. A spec is any picklable object with a ``name: str``, the name of the log folder;
    it should be light, everything heavy is read in convert_log. Raises UserError where RAW is not this data set.
``log_files(raw: Path, spec: Spec) -> list[Path]``
    Raw files and folders that this log needs and not all do; more than one log may name the same.
``convert_log(raw: Path, spec: Spec, out_root: Path, options: Options) -> None``
    Writes ``out_root / spec.name`` with drive.logs.writer.LogWriter. Called in a spawned process, one log at a time.
    Raises UserError for bad input: it becomes one line, the log is left out, the other logs are kept.

What every data set has in common is done here, not in the converters: choosing logs by name, sensors, a range of time
and the form of points and images (drive.logs.choice), raw data in archives (data_tools.archive), the pool of processes
or a Ray cluster (data_tools.pool), a dry run (data_tools.dry_run), older logs (data_tools.migrate).

Finished logs (their manifest opens and their file sizes are right) are skipped, so the same command goes on after
a kill. Exit code: 0 all done, 1 some logs failed, 2 wrong usage, a folder that is not ours, or not one log of RAW can
be converted (it is other data, most often; OUT is then free for the next try).
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from data_tools import archive, archive_plan, claim, dry_run, pool
from data_tools.claim import MARKER
from drive.errors import UserError
from drive.logs.choice import Choice

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["DATASETS", "MARKER", "Choice", "Converter", "Report", "Spec", "convert", "load", "main", "plan"]

DATASETS = {
    "nuscenes": "data_tools.nuscenes",
    "kitti": "data_tools.kitti",
    "kitti_tracking": "data_tools.kitti_tracking",
    "view_of_delft": "data_tools.view_of_delft",
    "nuplan": "data_tools.nuplan",
    "navsim": "data_tools.navsim",
    "d123": "data_tools.d123",
    "dgp": "data_tools.dgp",
    "lyft": "data_tools.lyft",
    "av2": "data_tools.av2",
    "av2_motion": "data_tools.av2_motion",
    "waymo": "data_tools.waymo_perception",
    "scenarionet": "data_tools.scenarionet",
    "waymo_motion": "data_tools.waymo_motion",
    "waymo_e2e": "data_tools.waymo_e2e",
}


class Spec(Protocol):
    """One log to be converted."""

    @property
    def name(self) -> str:
        """Name of the log's folder."""


class Converter(Protocol):
    """What a module ``data_tools.<dataset>`` offers; see the module's docstring above."""

    Options: type[Any]

    def list_logs(self, raw: Path, options: Any) -> list[Any]:
        """All logs that the options select."""

    def log_files(self, raw: Path, spec: Any) -> list[Path]:
        """Raw files and folders of one log."""

    def convert_log(self, raw: Path, spec: Any, out_root: Path, options: Any) -> None:
        """Write one log."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What a run did: names of logs converted now, skipped because finished before, and one line a failed one."""

    converted: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()


def load(dataset: str) -> Converter:
    """The module of a data set; UserError for a name that we do not know."""
    if dataset not in DATASETS:
        known = ", ".join(DATASETS)
        raise UserError("drive convert", f"no data set is called {dataset!r}", f"the known ones are {known}")
    module: Any = importlib.import_module(DATASETS[dataset])
    return module


def convert(
    dataset: str,
    raw: Path,
    out: Path,
    options: Any = None,
    *,
    workers: int = 1,
    console: Console | None = None,
    choice: Choice = Choice(),  # noqa: B008 (frozen)
    logs: Sequence[str] = (),
    ray: str = "",
    members: Sequence[str] = (),
    scratch_bytes: int = 50 << 30,
) -> Report:
    """Convert every log that `options` and `logs` select from `raw` into folder `out`; finished ones are skipped.

    Args:
        raw: root folder of the raw data, or an archive of it (.tar, .tar.gz, .tgz, .zip).
        options: an instance of the data set's Options; None = its defaults.
        workers: processes; with 1 everything happens in this one.
        console: where progress is shown; None = nowhere.
        choice: sensors, range of time, form of points and images.
        logs: names or globs of logs; empty = all.
        ray: address of a Ray cluster instead of the local pool; "local" starts one.
        members, scratch_bytes: of an archive: globs of what is unpacked, and how much at most.

    Raises:
        UserError: `raw` is not this data set, `out` is a folder of somebody else, no log is selected. A log that
            fails is no exception: it is in the report.
    """
    # Here and not above: every worker process imports this module, and none draws bars or parses arguments.
    import rich.console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    raw, out = Path(raw), Path(out)
    options = load(dataset).Options() if options is None else options
    _check(dataset, raw, out, options, choice)
    with archive.unpacked(_there(dataset, raw), out, members, scratch_bytes) as folder:
        _, specs = _specs(dataset, folder, options, logs)
        claimed = claim.claim(out, dataset, options, choice)
        skipped = [spec.name for spec in specs if claim.is_finished(out / spec.name)]
        todo = [spec for spec in specs if spec.name not in set(skipped)]
        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failed]}"),
            console=console or rich.console.Console(quiet=True),
        )
        work = pool.Work(DATASETS[dataset], folder, out, options, choice)
        outcomes = (
            pool.run_ray(work, todo, ray, workers) if ray else pool.run(work, todo, max(1, min(workers, len(todo))))
        )
        converted, failed = [], []
        with progress:
            task = progress.add_task(f"converting {dataset}", total=len(specs), completed=len(skipped), failed="")
            for name, error in outcomes:
                if error is None:
                    converted.append(name)
                else:
                    failed.append((name, error))
                    progress.update(task, failed=f"{len(failed)} failed")
                progress.advance(task)
    if claimed and not converted and not skipped:
        claim.release(out)
    return Report(tuple(sorted(converted)), tuple(skipped), tuple(sorted(failed)))


def plan(
    dataset: str,
    raw: Path,
    out: Path,
    options: Any = None,
    *,
    choice: Choice = Choice(),  # noqa: B008 (frozen)
    logs: Sequence[str] = (),
    members: Sequence[str] = (),
    scratch_bytes: int = 50 << 30,
) -> dry_run.Plan:
    """What `convert` would do with the same arguments; `out` stays as it is. UserError as there."""
    raw, out = Path(raw), Path(out)
    options = load(dataset).Options() if options is None else options
    _check(dataset, raw, out, options, choice)
    work = pool.Work(DATASETS[dataset], _there(dataset, raw), out, options, choice)
    if archive.is_archive(raw):
        return archive_plan.plan_archive(
            work, lambda folder: _specs(dataset, folder, options, logs), members, scratch_bytes
        )
    _, specs = _specs(dataset, raw, options, logs)
    todo = [spec for spec in specs if not claim.is_finished(out / spec.name)]
    return dry_run.plan(work, todo, len(specs) - len(todo))


def _check(dataset: str, raw: Path, out: Path, options: Any, choice: Choice) -> None:
    """UserError where `out` is not for these logs, or there will be no image files to refer to."""
    claim.check(out, dataset, options, choice)
    if choice.reference_images and archive.is_archive(raw):
        what = f"the images of {raw} are unpacked for as long as the conversion takes"
        raise UserError("--reference-images", what, "copy them (leave it out), or unpack it and give the folder")
    if choice.reference_images and getattr(options, "images_in_records", False) and options.images:
        what = f"the images of {dataset} lie inside records: there is no file to refer to"
        raise UserError("--reference-images", what, "copy them (leave it out), or leave images out (--no-images)")


def _there(dataset: str, raw: Path) -> Path:
    if not raw.is_dir() and not archive.is_archive(raw):
        suffixes = ", ".join(archive.SUFFIXES)
        what = f"is a file, and no archive ({suffixes})" if raw.is_file() else "no such folder"
        raise UserError(raw, what, f"give the root folder of the raw {dataset} data, or an archive of it")
    return raw


def _specs(dataset: str, raw: Path, options: Any, logs: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """(What is there, what is to be converted); UserError where nothing is selected, or a glob selects nothing."""
    specs = load(dataset).list_logs(raw, options)
    if not specs:
        raise UserError(raw, "holds no log that the options select", "check the version, split and names asked for")
    for glob in logs:
        if not any(fnmatchcase(spec.name, glob) for spec in specs):
            names = ", ".join(spec.name for spec in specs[:5]) + (", ..." if len(specs) > 5 else "")
            raise UserError(raw, f"has no log {glob!r}", f"its logs are {names}")
    return specs, [spec for spec in specs if not logs or any(fnmatchcase(spec.name, glob) for glob in logs)]


def main(argv: Sequence[str]) -> int:
    """``drive convert DATASET RAW OUT [--workers N] [options of the data set]``. Returns the exit code."""
    from data_tools.convert_command import main as command

    return command(argv)
