"""What studies of many stages share: each stage is made once, by whichever process comes first, and kept in a file."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from drive.errors import UserError


@contextmanager
def claimed(path: Path, wait: bool = False) -> Iterator[bool]:
    """Whether what is to be made at a path is ours to make: one process at a time. A dead process claims nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def run_stages(stages: dict[Path, Callable[[], dict[str, Any]]]) -> list[dict[str, Any]]:
    """What each stage found, read from its file; made first where nobody has made it.

    Raises:
        UserError: another process is still at one of them.
    """
    for file, make in stages.items():
        with claimed(file) as own:
            if own and not file.is_file():
                found = make()
                write(file, found)
                print(file.stem, found, flush=True)
    missing = [file for file in stages if not file.is_file()]
    if missing:
        what = f"{len(missing)} stages are missing, another process has them"
        raise UserError(missing[0], what, "run this again when that one has ended")
    return [json.loads(file.read_text()) for file in stages]


def write(path: Path, document: dict[str, Any]) -> None:
    """A JSON file, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1) + "\n")
    partial.replace(path)


def machine() -> dict[str, Any]:
    """Where a study ran."""
    return {"processor": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}


def run(main: Callable[[], None]) -> None:
    """A study as a command: what a user can mend is one line and a non-zero exit."""
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
