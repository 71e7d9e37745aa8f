"""Runs the same commands that a user would type, one after another, and keeps their times: for demo and real."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import tyro

from drive.errors import UserError

Arguments = TypeVar("Arguments")


@dataclass
class Stages:
    """The figures of a chain of commands: flat, dotted keys, written to ``summary.json`` after every stage."""

    out: Path
    figures: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def run(self, name: str, command: Sequence[object]) -> None:
        """One command of ours (``drive ...`` or ``data_tools.town ...``); its time goes to ``seconds.<name>``.

        Raises:
            UserError: the command failed; what it printed stands above.
        """
        words = [str(word) for word in command]
        shown = "drive " + " ".join(words[1:]) if words[0] == "drive" else "python -m " + " ".join(words)
        print(f"\n$ {shown}", flush=True)
        began = time.monotonic()
        status = subprocess.run([sys.executable, "-m", *words], check=False).returncode
        self.add({f"seconds.{name}": round(time.monotonic() - began, 2)})
        if status != 0:
            raise UserError(shown, f"ended with status {status}", "see its message above; the same command goes on")

    def add(self, figures: dict[str, Any]) -> None:
        """Take figures up and write the summary, at once and whole."""
        self.figures |= figures
        self.figures["seconds.total"] = round(time.monotonic() - self.started, 2)
        # Linux counts in KiB, macOS in bytes; the largest single process of the chain.
        unit = 1024 if sys.platform != "darwin" else 1
        peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF))
        self.figures["memory.peak_process_gb"] = round(peak * unit / 1e9, 3)
        self.out.mkdir(parents=True, exist_ok=True)
        partial = self.out / ".summary.json.partial"
        partial.write_text(json.dumps(self.figures, indent=1, sort_keys=True) + "\n")
        partial.replace(self.out / "summary.json")


def run_command(
    arguments: type[Arguments], work: Callable[[Arguments], None], argv: Sequence[str] | None, program: str
) -> int:
    """Parse ``arguments``, do ``work``. Exit status 0; 2 where a step failed or an input is missing, said in a line."""
    try:
        work(tyro.cli(arguments, args=argv, prog=program))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
