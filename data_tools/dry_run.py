"""``drive convert ... --dry-run``: which logs there would be, how large, and whether the disk holds them.

What a log will weigh depends on the data set and on every option, so one log is converted and weighed, in a hidden
folder that is removed again; the others count as much. That takes the time of one log and gives the time of all.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_tools.pool import Work
from drive.errors import UserError


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a conversion would do.

    Attributes:
        names: Logs that would be written; there: number of those finished before.
        measured: Name of the log that was converted to weigh it ("" where there is nothing to do).
        log_bytes, log_seconds: Its size and the time that it took.
        free_bytes: Of the disk that OUT is on.
    """

    names: tuple[str, ...]
    there: int
    measured: str
    log_bytes: int
    log_seconds: float
    free_bytes: int

    @property
    def expected_bytes(self) -> int:
        """Size of all logs that would be written, as if each were like the measured one."""
        return self.log_bytes * len(self.names)

    @property
    def fits(self) -> bool:
        """Whether the disk holds them."""
        return self.expected_bytes < self.free_bytes

    def lines(self, workers: int) -> list[str]:
        """The plan in words."""
        shown = [*self.names[:10], *(["..."] if len(self.names) > 10 else [])]
        out = [f"{len(self.names)} logs to convert ({', '.join(shown)}), {self.there} are there already"]
        if self.measured:
            minutes = self.log_seconds * len(self.names) / workers / 60
            out.append(f"{self.measured}: {_size(self.log_bytes)} in {self.log_seconds:.1f} s")
            out.append(f"expected: {_size(self.expected_bytes)}, {minutes:.1f} minutes with {workers} workers")
        enough = "" if self.fits else ": NOT ENOUGH"
        return [*out, f"free on this disk: {_size(self.free_bytes)}{enough}"]


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def plan(work: Work, todo: Sequence[Any], there: int) -> Plan:
    """Convert and weigh the middle one of `todo` (the first and last of a data set are often short).

    Raises:
        UserError: that log cannot be converted.
    """
    beside = next(folder for folder in (work.out, *work.out.absolute().parents) if folder.is_dir())
    size, seconds, name = 0, 0.0, ""
    if todo:
        spec = todo[len(todo) // 2]
        with tempfile.TemporaryDirectory(prefix=".dry-run-", dir=beside) as scratch:
            begin = time.perf_counter()
            error = dataclasses.replace(work, out=Path(scratch))(spec)
            seconds = time.perf_counter() - begin
            if error is not None:
                raise UserError("dry run", error, "mend it, or choose other logs")
            name, size = spec.name, sum(p.stat().st_size for p in Path(scratch).rglob("*") if p.is_file())
    return Plan(tuple(spec.name for spec in todo), there, name, size, seconds, shutil.disk_usage(beside).free)
