"""The command line of data_tools.convert: the options of every data set and those of one, in one command."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import rich.console
import tyro

from data_tools.convert import DATASETS, convert, load, plan
from data_tools.kitti_tracking.detection_set import command as stored_detections
from data_tools.migrate import migrate
from drive.errors import UserError
from drive.logs.choice import Choice

# (name, type, default, help). A data set whose own Options have one of these names does it itself.
COMMON: list[tuple[str, Any, Any, str]] = [
    ("workers", int, 2, "processes"),
    ("logs", tuple[str, ...], (), "names or globs of logs, e.g. scene-00*; all if left out"),
    ("sensors", tuple[str, ...], (), "names or globs of sensors, e.g. LIDAR_TOP CAM_*; all if left out"),
    ("start_s", float, 0.0, "leave out what is earlier, seconds after each log's beginning"),
    ("end_s", float | None, None, "leave out what is later, seconds after each log's beginning"),
    ("points", Literal["raw", "lz4", "quantised"], "raw", "raw (fastest), lz4 (same numbers), quantised (1 mm)"),
    ("reference_images", bool, False, "hold the paths of images instead of copying them"),
    ("dry_run", bool, False, "say which logs, how large, how long; write nothing"),
    ("ray", str, "", "address of a Ray cluster instead of the local pool; local starts one"),
    ("members", tuple[str, ...], (), "where RAW is an archive: globs of what to unpack"),
    ("scratch_gb", float, 50.0, "where RAW is an archive: unpack at most so much"),
]


def main(argv: Sequence[str]) -> int:
    """``drive convert DATASET RAW OUT [options]`` or one of the two other forms. Returns the exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        usage = f"usage: drive convert {{{','.join(DATASETS)}}} RAW OUT [options]"
        other = "       drive convert --migrate LOGS\n       drive convert ab3dmot_detections FOLDER OUT --logs LOGS"
        print(f"{usage}\n{other}\n\nsee drive convert DATASET --help")
        return 0 if argv else 2
    try:
        if argv[0] == "--migrate":
            return _migrate(argv[1:])
        if argv[0] == "ab3dmot_detections":  # no logs, but what belongs to logs
            return stored_detections(argv[1:])
        return _convert(argv[0], argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _migrate(argv: Sequence[str]) -> int:
    if len(argv) != 1:
        raise UserError("drive convert --migrate", "takes one folder of logs", "drive convert --migrate LOGS")
    changed = migrate(Path(argv[0]))
    print(f"{argv[0]}: {len(changed)} logs brought up to date")
    return 0


def _convert(dataset: str, argv: Sequence[str]) -> int:
    args = parse(dataset, argv)
    # A data set's own option of the same name is in its Options: ours stays at its default then.
    common = {name: getattr(args, name, default) for name, _, default, _ in COMMON}
    choice = Choice(
        sensors=common["sensors"],
        start_s=common["start_s"],
        end_s=common["end_s"],
        reference_images=common["reference_images"],
        points=common["points"],
    )
    if common["dry_run"]:
        planned = plan(
            dataset, args.raw, args.out, args.options, choice=choice, logs=common["logs"], members=common["members"],
            scratch_bytes=int(common["scratch_gb"] * 1e9),
        )  # fmt: skip
        print("\n".join(planned.lines(common["workers"])))
        return 0 if planned.fits else 1
    report = convert(
        dataset,
        args.raw,
        args.out,
        args.options,
        workers=common["workers"],
        console=rich.console.Console(stderr=True),
        choice=choice,
        logs=common["logs"],
        ray=common["ray"],
        members=common["members"],
        scratch_bytes=int(common["scratch_gb"] * 1e9),
    )
    if report.failed and not report.converted and not report.skipped:
        count, (_, first) = len(report.failed), report.failed[0]
        those = "its only log" if count == 1 else f"none of its {count} logs"
        what = f"{those} can{'not' if count == 1 else ''} be converted as {dataset} (is it that data set?)"
        print(f"error: {args.raw}: {what}{'' if count == 1 else '; the first'}: {first}", file=sys.stderr)
        return 2
    print(f"{args.out}: {len(report.converted)} logs converted, {len(report.skipped)} were there already")
    for _, line in report.failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if report.failed else 0


def parse(dataset: str, argv: Sequence[str]) -> Any:
    """The arguments of one data set's command: raw, out, options (its Options), and the fields of `COMMON`."""
    options = load(dataset).Options
    own = {field.name for field in dataclasses.fields(options)}
    raw_help = "root folder of the raw data, or an archive of it"
    fields: list[Any] = [
        ("raw", Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help=raw_help)]),
        ("out", Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="folder for the logs")]),
        ("options", options),
    ]
    fields += [
        (name, Annotated[kind, tyro.conf.arg(help=text)], dataclasses.field(default=default))
        for name, kind, default, text in COMMON
        if name not in own
    ]
    command: Any = dataclasses.make_dataclass("Command", fields, frozen=True)
    return tyro.cli(
        command,
        args=list(argv),
        prog=f"drive convert {dataset}",
        description=options.__doc__,
        config=(tyro.conf.OmitArgPrefixes,),
    )
