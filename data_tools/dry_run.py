"""``drive convert ... --dry-run``: which logs there would be, how large, and whether the disk holds them.

What a log will weigh depends on the data set and on every option, so one log is converted and weighed, in a hidden
folder that is removed again. From a folder, the others count as much: that takes the time of one log and gives the time
of all. From an archive (data_tools.archive_plan) only the files of that one log are unpacked.
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
        measured: Name of the log that was converted to weigh it ("" where none was).
        log_bytes, log_seconds: Its size and the time that it took.
        free_bytes: Of the disk that OUT is on.
        log_count: How many logs like the measured one all of them are (a fraction where sizes are known).
        estimate: Where nothing was measured: size of all logs.
        unpacked_bytes: What lies unpacked beside the logs meanwhile, where RAW is an archive; limit_bytes: at most.
        notes: What is estimated, and how.
    """

    names: tuple[str, ...]
    there: int
    measured: str
    log_bytes: int
    log_seconds: float
    free_bytes: int
    log_count: float
    estimate: int = 0
    unpacked_bytes: int = 0
    limit_bytes: int = 0
    notes: tuple[str, ...] = ()

    @property
    def expected_bytes(self) -> int:
        """Size of all logs that would be written."""
        return round(self.log_bytes * self.log_count) if self.measured else self.estimate

    @property
    def fits(self) -> bool:
        """Whether the disk holds them, and the user's bound what is unpacked."""
        room = self.expected_bytes + self.unpacked_bytes < self.free_bytes
        return room and self.unpacked_bytes <= self.limit_bytes

    def lines(self, workers: int) -> list[str]:
        """The plan in words."""
        shown = [*self.names[:10], *(["..."] if len(self.names) > 10 else [])]
        out = [f"{len(self.names)} logs to convert ({', '.join(shown)}), {self.there} are there already", *self.notes]
        if self.measured:
            minutes = self.log_seconds * self.log_count / workers / 60
            out.append(f"{self.measured}: {size_text(self.log_bytes)} in {self.log_seconds:.1f} s")
            out.append(f"expected: {size_text(self.expected_bytes)}, {minutes:.1f} minutes with {workers} workers")
        elif self.names:
            out.append(f"expected: {size_text(self.expected_bytes)}")
        if self.unpacked_bytes:
            bound = "" if self.unpacked_bytes <= self.limit_bytes else ": MORE THAN --scratch-gb ALLOWS"
            out.append(f"unpacked beside the logs until they are done: {size_text(self.unpacked_bytes)}{bound}")
        room = self.expected_bytes + self.unpacked_bytes < self.free_bytes
        return [*out, f"free on this disk: {size_text(self.free_bytes)}{'' if room else ': NOT ENOUGH'}"]


def size_text(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def nearest_folder(out: Path) -> Path:
    """`out`, or the first folder above it that is there: on the disk that the logs will be on."""
    return next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())


def middle(todo: Sequence[Any]) -> Any:
    """The log to weigh: the first and last of a data set are often short."""
    return todo[len(todo) // 2]


def weigh(work: Work, spec: Any, scratch: Path) -> tuple[int, float]:
    """Bytes and seconds of one log, converted into the folder `scratch`. UserError: it cannot be converted."""
    begin = time.perf_counter()
    error = dataclasses.replace(work, out=scratch)(spec)
    seconds = time.perf_counter() - begin
    if error is not None:
        raise UserError("dry run", error, "mend it, or choose other logs")
    return sum(p.stat().st_size for p in scratch.rglob("*") if p.is_file()), seconds


def plan(work: Work, todo: Sequence[Any], there: int) -> Plan:
    """Convert and weigh the middle one of `todo`.

    Raises:
        UserError: that log cannot be converted.
    """
    beside = nearest_folder(work.out)
    size, seconds, name = 0, 0.0, ""
    if todo:
        with tempfile.TemporaryDirectory(prefix=".dry-run-", dir=beside) as scratch:
            name = middle(todo).name
            size, seconds = weigh(work, middle(todo), Path(scratch))
    names = tuple(spec.name for spec in todo)
    return Plan(names, there, name, size, seconds, shutil.disk_usage(beside).free, len(names))
