"""``drive view RUN`` for a folder of ``drive simulate``: the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from drive.rollouts.run_folder import is_run_folder, read_run_folder
from drive.samples.frame_dataset import find_logs
from drive.view.replay_report import REPORT, write_replay_report


@dataclass(frozen=True)
class ViewDrivesArguments:
    """Drives of `drive simulate` to look at: the page with every scene as a replay."""

    run: Annotated[Path, tyro.conf.Positional]
    """A folder that `drive simulate` wrote."""
    logs: tuple[Path, ...] = ()
    """Folders of the logs, if they were moved since."""
    out: Path | None = None
    """The page (RUN/report.html unless given; a folder gets report.html)."""


def names_a_run(argv: Sequence[str]) -> bool:
    """Whether a word of the command line is a folder of `drive simulate`."""
    return any(not word.startswith("-") and is_run_folder(Path(word)) for word in argv)


def view_drives_command(argv: Sequence[str]) -> int:
    """``drive view`` of a folder of drives."""
    arguments = tyro.cli(ViewDrivesArguments, args=list(argv), prog="drive view")
    run = read_run_folder(arguments.run)
    if arguments.logs:
        run = run.moved(find_logs(list(arguments.logs)))
    page = arguments.out
    if page is not None and page.suffix != ".html":
        page = page / REPORT
    print(write_replay_report(run, page))
    return 0
