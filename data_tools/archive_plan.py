"""A dry run of raw data in an archive, without unpacking all of it.

The archive's list of names and sizes becomes a folder of files without content (they take no room), of which only those
are filled that a data set reads to list its logs (``Options.listing``) and then those that one log needs: its own ones
(``log_files``) and the ones that belong to no log (maps, tables, calibrations). That log is converted and weighed; the
others are estimated by the sizes of their own files against its own.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import importlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from data_tools import archive
from data_tools.archive import Member
from data_tools.claim import is_finished
from data_tools.dry_run import Plan, middle, nearest_folder, size_text, weigh
from data_tools.pool import Work
from drive.errors import UserError

Specs = tuple[Sequence[Any], Sequence[Any]]


def plan_archive(work: Work, list_specs: Callable[[Path], Specs], members: Sequence[str], limit_bytes: int) -> Plan:
    """What converting the archive ``work.raw`` would do.

    Args:
        list_specs: of a folder: (all logs of the data set there, those that the user chose).
        members, limit_bytes: globs of what is unpacked, and how much at most.

    Raises:
        UserError: damaged, not this data set, more to read than `limit_bytes` or the disk allow, a log that fails.
    """
    chosen = archive.choose(work.raw, members)
    beside = nearest_folder(work.out)
    with tempfile.TemporaryDirectory(prefix=".dry-run-", dir=beside) as name:
        folder, scratch = Path(name).resolve() / "raw", Path(name).resolve() / "logs"
        with _named_after(work.raw, folder):
            return _plan(work, list_specs, chosen, limit_bytes, folder, scratch)


@contextlib.contextmanager
def _named_after(raw: Path, folder: Path) -> Iterator[None]:
    """Errors about files of the outline name the archive: the outline is gone when one reads them."""
    try:
        yield
    except UserError as error:
        what, mend = (text.replace(str(folder), str(raw)) for text in (error.what, error.mend))
        place = str(error.place).replace(str(folder), str(raw))
        raise UserError(place if str(raw) in place else f"{raw}, {place}", what, mend) from error


def _plan(
    work: Work, list_specs: Callable[[Path], Specs], chosen: Sequence[Member], limit_bytes: int, folder: Path,
    scratch: Path,
) -> Plan:  # fmt: skip
    beside = nearest_folder(work.out)
    archive.outline(work.raw, chosen, folder)
    filled = _Filler(work.raw, folder, {m.name: m.bytes for m in chosen}, min(limit_bytes, _free(beside)))
    listing = getattr(work.options, "listing", ())
    filled.fill(m.name for m in chosen if any(fnmatchcase(m.name, glob) for glob in listing))
    known, wanted = list_specs(folder)
    todo = [spec for spec in wanted if not is_finished(work.out / spec.name)]
    own = _own_files(work.module, folder, known, chosen)
    claims = Counter(name for names in own.values() for name in names)
    weight = {log: sum(filled.sizes[n] / claims[n] for n in names) for log, names in own.items()}
    plan = Plan(
        tuple(spec.name for spec in todo), len(wanted) - len(todo), "", 0, 0.0, _free(beside), len(todo),
        unpacked_bytes=sum(m.bytes for m in chosen), limit_bytes=limit_bytes,
    )  # fmt: skip
    if not todo:
        return dataclasses.replace(plan, unpacked_bytes=0)
    one = middle(todo)
    needed = {*own[one.name], *(m.name for m in chosen if m.name not in claims)}
    if not filled.may(needed):
        note = f"{one.name} needs more than may be unpacked: estimated as large as the files in the archive"
        raw_bytes = sum(weight[name] for name in plan.names) + sum(
            m.bytes for m in chosen if m.name not in claims
        ) * len(todo) / len(known)
        return dataclasses.replace(plan, estimate=round(raw_bytes), notes=(note,))
    filled.fill(needed)
    scratch.mkdir()
    size, seconds = weigh(dataclasses.replace(work, raw=folder), one, scratch)
    notes = [f"{size_text(filled.bytes)} of {size_text(plan.unpacked_bytes)} were unpacked to weigh one log"]
    if all(weight[name] > 0 for name in plan.names):
        count = sum(weight[name] for name in plan.names) / weight[one.name]
        notes.append("the others are estimated by the sizes of their files in the archive")
    else:
        count = float(len(todo))
        notes.append("the others are estimated to be as large (no files in the archive are theirs alone)")
    return dataclasses.replace(
        plan, measured=one.name, log_bytes=size, log_seconds=seconds, log_count=count, notes=tuple(notes)
    )


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


class _Filler:
    """Unpacks members into an outline, each once, within a bound."""

    def __init__(self, raw: Path, folder: Path, sizes: dict[str, int], limit_bytes: int) -> None:
        self.raw, self.folder, self.sizes, self.limit_bytes = raw, folder, sizes, limit_bytes
        self.done: set[str] = set()
        self.bytes = 0

    def may(self, names: Iterable[str]) -> bool:
        return self.bytes + sum(self.sizes[name] for name in set(names) - self.done) <= self.limit_bytes

    def fill(self, names: Iterable[str]) -> None:
        new = set(names) - self.done
        if not self.may(new):
            what = "what must be read to list its logs is more than --scratch-gb or the disk allow"
            raise UserError(self.raw, what, "choose fewer by --members, or unpack the archive yourself")
        if new:
            archive.extract(self.raw, new, self.folder)
        self.done |= new
        self.bytes += sum(self.sizes[name] for name in new)


def _own_files(module: str, folder: Path, specs: Sequence[Any], members: Sequence[Member]) -> dict[str, list[str]]:
    """Names of the members that belong to each log: those that ``log_files`` gives, or that lie below them."""
    names = sorted(member.name for member in members)
    log_files = importlib.import_module(module).log_files
    found: dict[str, list[str]] = {}
    for spec in specs:
        own: set[str] = set()
        for path in log_files(folder, spec):
            if not path.is_relative_to(folder):
                continue  # of a folder that an option names, beside the archive
            name = path.relative_to(folder).as_posix()
            at = bisect.bisect_left(names, name)
            if at < len(names) and names[at] == name:
                own.add(name)
            own.update(names[bisect.bisect_left(names, f"{name}/") : bisect.bisect_left(names, f"{name}0")])
        found[spec.name] = sorted(own)
    return found
