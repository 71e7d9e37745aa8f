"""``drive convert DATASET RAW OUT``: raw recordings to logs, in parallel, resumable.

A data set is a module ``data_tools.<dataset>`` with three names:

``Options``
    A frozen dataclass; its fields become command line flags (tyro), its docstring their help. ``content`` (a
    ``ClassVar[tuple[str, ...]]``, default none) lists the fields that change what is written into a log (as opposed
    to which logs are written): a folder once begun with other values of these is refused, not mixed.
``list_logs(raw: Path, options: Options) -> list[Spec]``
    What is to be converted, sorted. A spec is any picklable object with a ``name: str``, the name of the log folder;
    it should be light, everything heavy is read in convert_log. Raises UserError where RAW is not this data set.
``convert_log(raw: Path, spec: Spec, out_root: Path, options: Options) -> None``
    Writes ``out_root / spec.name`` with drive.logs.writer.LogWriter. Called in a spawned process, one log at a time.
    Raises UserError for bad input: it becomes one line, the log is left out, the other logs are kept.

Finished logs (their manifest opens and their file sizes are right) are skipped, so the same command goes on after
a kill. Exit code: 0 all done, 1 some logs failed, 2 wrong usage or a folder that is not ours.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import multiprocessing
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from drive.errors import UserError
from drive.logs.partial import sweep_partials
from drive.logs.schema import SCHEMA_VERSION
from drive.logs.store import Log
from drive.logs.tables import disk_full

if TYPE_CHECKING:
    from rich.console import Console

DATASETS = {
    "nuscenes": "data_tools.nuscenes",
    "kitti": "data_tools.kitti",
    "kitti_tracking": "data_tools.kitti_tracking",
    "view_of_delft": "data_tools.view_of_delft",
    "av2": "data_tools.av2",
    "waymo": "data_tools.waymo_perception",
    "scenarionet": "data_tools.scenarionet",
}

# What makes a folder ours: written into OUT before the first log, with the options that shape the logs' content.
MARKER = "logs.json"


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
    dataset: str, raw: Path, out: Path, options: Any = None, *, workers: int = 1, console: Console | None = None
) -> Report:
    """Convert every log that `options` selects from folder `raw` into folder `out`; finished ones are skipped.

    Args:
        options: an instance of the data set's Options; None = its defaults.
        workers: processes; with 1 everything happens in this one.
        console: where progress is shown; None = nowhere.

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

    converter = load(dataset)
    options = converter.Options() if options is None else options
    raw, out = Path(raw), Path(out)
    if not raw.is_dir():
        raise UserError(raw, "no such folder", f"give the root folder of the raw {dataset} data")
    specs = converter.list_logs(raw, options)
    if not specs:
        raise UserError(raw, "holds no log that the options select", "check the version, split and names asked for")
    _claim(out, dataset, options)
    skipped = [spec.name for spec in specs if _finished(out / spec.name)]
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
    converted, failed = [], []
    with progress:
        task = progress.add_task(f"converting {dataset}", total=len(specs), completed=len(skipped), failed="")
        for name, error in _run(DATASETS[dataset], raw, todo, out, options, max(1, min(workers, len(todo)))):
            if error is None:
                converted.append(name)
            else:
                failed.append((name, error))
                progress.update(task, failed=f"{len(failed)} failed")
            progress.advance(task)
    return Report(tuple(sorted(converted)), tuple(skipped), tuple(sorted(failed)))


def _claim(out: Path, dataset: str, options: Any) -> None:
    """Make `out` ours, or refuse a folder that somebody else filled or that other options shaped."""
    marker = out / MARKER
    content = {name: getattr(options, name) for name in getattr(options, "content", ())}
    wanted = json.loads(json.dumps({"schema_version": SCHEMA_VERSION, "dataset": dataset, "options": content}))
    if out.exists() and not out.is_dir():
        raise UserError(out, "is a file", "give a folder for the logs")
    if marker.exists():
        try:
            found = json.loads(marker.read_bytes())
        except ValueError as error:
            raise UserError(marker, f"not readable ({error})", "give an empty folder") from error
        if found != wanted:
            what = f"this folder was begun with {json.dumps(found)}, now asked: {json.dumps(wanted)}"
            raise UserError(out, what, "give another folder, or convert with the same options")
    elif out.exists() and any(not p.name.startswith(".") for p in out.iterdir()):
        raise UserError(out, "is not empty and not a folder that drive convert wrote", "give an empty or new folder")
    else:
        try:
            out.mkdir(parents=True, exist_ok=True)
            partial = out / f".{MARKER}.{os.getpid()}"
            partial.write_text(json.dumps(wanted, indent=1) + "\n")
            os.replace(partial, marker)
        except OSError as error:
            mend = "give a folder that you may write to"
            raise disk_full(out, error) or UserError(out, f"cannot write here ({error.strerror})", mend) from error
    sweep_partials(out)


def _finished(path: Path) -> bool:
    """Whether a log is there and whole. One that is damaged is an error: we delete nothing that we finished."""
    if not path.exists():
        return False
    try:
        Log.open(path)
    except UserError as error:
        raise UserError(error.place, error.what, f"remove {path} and start again") from error
    return True


def _convert_one(module: str, raw: Path, spec: Any, out: Path, options: Any) -> str | None:
    """Convert one log by a converter module's name; the error as one line, or None."""
    try:
        if not _finished(out / spec.name):  # it may be: a process that died after the log was whole
            importlib.import_module(module).convert_log(raw, spec, out, options)
    except UserError as error:
        return str(error)
    except OSError as error:
        return str(disk_full(out, error) or f"{error.filename or spec.name}: {error.strerror or error}")
    except Exception as error:  # a log that trips our own code must not stop the others: name the place, go on
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        return f"{spec.name}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''} ({place})"
    return None


def _run(
    module: str, raw: Path, specs: Sequence[Any], out: Path, options: Any, workers: int
) -> Iterator[tuple[str, str | None]]:
    """Yield (name, error or None) as logs end. A process that dies takes only its own log with it."""
    if workers == 1:
        for spec in specs:
            yield spec.name, _convert_one(module, raw, spec, out, options)
        return
    waiting: list[Any] = list(reversed(specs))
    suspects: list[Any] = []
    while waiting or suspects:
        # After a death nobody knows whose log it was: those in flight run again one by one.
        alone = not waiting
        with ProcessPoolExecutor(1 if alone else workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            flying: dict[Future[str | None], Any] = {}
            try:
                while waiting or flying or (alone and suspects):
                    queue = suspects if alone else waiting
                    while queue and len(flying) < (1 if alone else workers):
                        spec = queue.pop()
                        flying[pool.submit(_convert_one, module, raw, spec, out, options)] = spec
                    done, _ = wait(flying, return_when=FIRST_COMPLETED)
                    for future in done:
                        error = future.result()
                        yield flying.pop(future).name, error
            except BrokenProcessPool:
                if alone:
                    (spec,) = flying.values()
                    yield spec.name, f"{spec.name}: the converting process was killed (out of memory?)"
                else:
                    suspects.extend(flying.values())
        sweep_partials(out)


def main(argv: Sequence[str]) -> int:
    """``drive convert DATASET RAW OUT [--workers N] [options of the data set]``. Returns the exit code."""
    import rich.console
    import tyro

    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: drive convert {{{','.join(DATASETS)}}} RAW OUT [options]\n\nsee drive convert DATASET --help")
        return 0 if argv else 2
    dataset = argv[0]
    try:
        converter = load(dataset)
        fields: list[Any] = [
            ("raw", Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="root folder of the raw data")]),
            ("out", Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="folder for the logs")]),
            ("options", converter.Options),
            ("workers", Annotated[int, tyro.conf.arg(help="processes")], dataclasses.field(default=2)),
        ]
        command: Any = dataclasses.make_dataclass("Command", fields, frozen=True)
        prog, text = f"drive convert {dataset}", converter.Options.__doc__
        args: Any = tyro.cli(
            command, args=list(argv[1:]), prog=prog, description=text, config=(tyro.conf.OmitArgPrefixes,)
        )
        console = rich.console.Console(stderr=True)
        report = convert(dataset, args.raw, args.out, args.options, workers=args.workers, console=console)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {len(report.converted)} logs converted, {len(report.skipped)} were there already")
    for _, line in report.failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if report.failed else 0
