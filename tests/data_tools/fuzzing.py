"""Damaged files for every reader: bits flipped, bytes cut, repeated and zeroed at random places.

A reader has two honest answers to a damaged file: a UserError that names it, or a result (much damage is invisible:
another coordinate is a coordinate). Any other exception, more time or more memory than promised is a defect.
"""

from __future__ import annotations

import faulthandler
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from drive.errors import UserError

CASES = 200
"""Damaged copies a format where a test does not say; tests/soak.py raises it."""

MEMORY_BYTES = 2 << 30
"""What a reader may take for a damaged file on top of what the process holds."""


class TooSlowError(Exception):
    """A reader did not come back in its time."""


def mutation(data: bytes, seed: int, case: int) -> bytes:
    """Damaged copy number `case` of `data`: one to three of flip, cut, repeat, zero."""
    rng = np.random.default_rng([seed, case])
    out = bytearray(data)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        kind = rng.choice(["flip", "cut", "repeat", "zero"])
        start = _place(rng, len(out))
        length = int(min(len(out) - start, 2 ** rng.uniform(0, 12)))
        if kind == "flip":
            for at in {start, *(_place(rng, len(out)) for _ in range(int(rng.integers(0, 4))))}:
                if at < len(out):
                    out[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == "cut":
            del out[start : start + length if rng.random() < 0.5 else len(out)]
        elif kind == "repeat":
            out[start:start] = out[start : start + length] * int(rng.integers(1, 4))
        else:
            out[start : start + length] = bytes(length)
    return bytes(out)


def _place(rng: np.random.Generator, length: int) -> int:
    """Anywhere, but half of the time near the beginning or the end, where headers and footers are."""
    if length < 2:
        return 0
    edge = int(min(length - 1, 2 ** rng.uniform(0, 10)))
    return int(rng.choice([rng.integers(0, length), rng.integers(0, length), edge, length - 1 - edge]))


def mutations(data: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` damaged copies of `data`, the same for the same seed."""
    return (mutation(data, seed, case) for case in range(count))


def check_reader(
    read: Callable[[Path], object],
    paths: Sequence[Path] | Path,
    *,
    root: Path | None = None,
    error: type[Exception] = UserError,
    cases: int | None = None,
    seed: int = 0,
    seconds_each: float = 5.0,
    memory_bytes: int = MEMORY_BYTES,
) -> int:
    """Let `read` read damaged copies of files, each in this process; returns how many were refused.

    Args:
        read: Called with the path of a damaged copy that has the name of the original. It may assert that what it
            reads is right; its assertions come out.
        paths: Files to damage, in turn.
        root: Folder that `read` needs whole: it is copied, the file inside the copy damaged, and `read` called with
            the COPY OF THE FOLDER. `paths` lie inside it.
        error: What `read` raises for bad input; its text must name the file (with `root`: a path in the folder).
        cases: Damaged copies of all paths together where `CASES` is 200, else in proportion; None = 200.
        seconds_each: A case that takes more of the processor's time fails (or ten times that on the clock).
        memory_bytes: Address space that a case may take on top of what is there (Linux; more is refused by the
            system, which makes the reader fail).

    Raises:
        AssertionError: naming file, seed and case: another exception, no name in the error, too slow.
    """
    files = [paths] if isinstance(paths, Path) else list(paths)
    originals = [file.read_bytes() for file in files]
    refused = 0
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch) / "damaged" if root is None else Path(shutil.copytree(root, Path(scratch) / "damaged"))
        base.mkdir(exist_ok=True)
        for case in range(CASES if cases is None else max(1, cases * CASES // 200)):
            which = case % len(files)
            copy = base / (files[which].name if root is None else files[which].relative_to(root))
            # A new file each time: readers may keep the map of an old one.
            copy.unlink(missing_ok=True)
            copy.write_bytes(mutation(originals[which], seed, case))
            place = f"{files[which].name}, seed {seed}, case {case}"
            try:
                with _bounds(seconds_each, memory_bytes):
                    read(copy if root is None else base)
            except error as refusal:
                named = copy.name if root is None else str(base)
                if named not in str(refusal):
                    raise AssertionError(f"{place}: the error does not name {named}: {refusal}") from refusal
                refused += 1
            except AssertionError:
                raise
            except Exception as other:
                raise AssertionError(f"{place}: {type(other).__name__}: {other}") from other
            if root is not None:
                copy.unlink()
                copy.write_bytes(originals[which])
    return refused


@contextmanager
def _bounds(seconds: float, memory_bytes: int) -> Iterator[None]:
    """Interrupt Python code after `seconds` of the processor's time, or ten times that on the clock (a reader that
    waits); end the process where compiled code does not let itself be interrupted. The clock alone would blame a reader
    for whatever else the machine does."""

    def interrupt(number: int, frame: object) -> None:
        clock = "the processor" if number == signal.SIGPROF else "the clock"
        raise TooSlowError(f"took more than {seconds if number == signal.SIGPROF else 10 * seconds} s of {clock}")

    before = [signal.signal(which, interrupt) for which in (signal.SIGPROF, signal.SIGALRM)]
    limits = resource.getrlimit(resource.RLIMIT_AS)
    statm = Path("/proc/self/statm")
    if statm.exists():
        held = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + memory_bytes, limits[1]))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, 10 * seconds)
    faulthandler.dump_traceback_later(20 * seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for which, handler in zip((signal.SIGPROF, signal.SIGALRM), before, strict=True):
            signal.signal(which, handler)
        resource.setrlimit(resource.RLIMIT_AS, limits)
