"""Raw data in archives (.tar, .tar.gz, .tgz, .zip): what is asked for is unpacked beside the logs, within a bound.

Converters read random places of files and map them into memory, which no compressed archive allows; so the members
that the user's globs choose are unpacked once, checked before a byte is written: their size against the bound and the
free disk, their names against the folder, their kind (files and folders only).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO

from drive.errors import UserError
from drive.logs.partial import owner
from drive.logs.tables import disk_full

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
_AGAIN = "the archive was cut or damaged: get it again"
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Member:
    """A file in an archive; its name without ``./`` in front."""

    name: str
    bytes: int


def is_archive(path: Path) -> bool:
    """Whether a path is an archive by its name."""
    return path.is_file() and path.name.lower().endswith(SUFFIXES)


@contextlib.contextmanager
def unpacked(raw: Path, out: Path, members: Sequence[str] = (), limit_bytes: int = 50 << 30) -> Iterator[Path]:
    """The folder to convert: `raw` itself, or where the members of an archive were unpacked.

    They are unpacked into ``<out>/.raw-<name of the archive>`` and stay there where the block ends by an exception or
    a kill, so that the next run goes on with them.

    Args:
        members: Globs of the names that are wanted (``v1.0-mini/*``); empty = all.
        limit_bytes: What may be unpacked at most.

    Raises:
        UserError: damaged, too large for the bound or the disk, a member that leaves the folder or is no file.
    """
    if not is_archive(raw):
        yield raw
        return
    folder = out / f".raw-{raw.name}"
    done = folder / ".whole"
    wanted = f"{raw.stat().st_size} {raw.stat().st_mtime_ns} {sorted(members)}\n"
    if not done.exists() or done.read_text() != wanted:
        _unpack(raw, folder, members, limit_bytes)
        done.write_text(wanted)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _unpack(raw: Path, folder: Path, members: Sequence[str], limit_bytes: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    chosen = choose(raw, members)
    total = sum(member.bytes for member in chosen)
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free
    if total > min(limit_bytes, free):
        bound = f"{free / 1e9:.1f} are free" if free < limit_bytes else f"--scratch-gb allows {limit_bytes / 1e9:.1f}"
        what = f"the chosen members are {total / 1e9:.1f} GB, {bound}"
        raise UserError(raw, what, "choose fewer by --members, or unpack the archive yourself and give the folder")
    partial = folder.with_name(f"{folder.name}.partial-{owner()}")
    partial.mkdir()
    try:
        extract(raw, {member.name for member in chosen}, partial)
        os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def choose(raw: Path, members: Sequence[str] = ()) -> list[Member]:
    """The files of an archive that any of the globs `members` names (all where there is none)."""
    chosen = [m for m in list_members(raw) if not members or any(fnmatchcase(m.name, glob) for glob in members)]
    if not chosen:
        raise UserError(raw, f"has no member {' or '.join(members) or 'at all'}", "see its list of names")
    return chosen


def extract(raw: Path, names: set[str], folder: Path) -> None:
    """Write the members of these names below `folder`. Names and sizes are checked by `choose` before.

    Raises:
        UserError: damaged, or the disk is full.
    """
    try:
        for member, file in _read(raw, names):
            target = folder / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(raw, member, file, target)
    except OSError as error:
        raise disk_full(folder, error) or UserError(raw, f"cannot be unpacked ({error})", _AGAIN) from error
    except _DAMAGED as error:
        raise UserError(raw, f"cannot be unpacked ({error})", _AGAIN) from error


def outline(raw: Path, members: Sequence[Member], folder: Path) -> None:
    """Files of the members' names and sizes below `folder`, without content: they take no room on the disk.

    Raises:
        UserError: names that cannot be files of one folder, a size that no file can have.
    """
    try:
        for parent in sorted({(folder / member.name).parent for member in members}):
            parent.mkdir(parents=True, exist_ok=True)
        for member in members:
            with open(folder / member.name, "wb") as file:
                file.truncate(member.bytes)
    except (OSError, ValueError, OverflowError) as error:
        full = disk_full(folder, error) if isinstance(error, OSError) else None
        raise full or UserError(raw, f"cannot be unpacked ({error})", _AGAIN) from error


def list_members(raw: Path) -> list[Member]:
    """All files of an archive. UserError: damaged; a link, a device, a name that leads out of the folder."""
    try:
        if zipfile.is_zipfile(raw):
            with zipfile.ZipFile(raw) as archive:
                # Not ZipInfo.is_dir, which fails on a member without a name.
                files = [info for info in archive.infolist() if not info.filename.endswith("/")]
                found = [Member(_clean(info.filename), info.file_size) for info in files]
        else:
            with tarfile.open(raw) as archive:
                found = []
                for info in archive:
                    if info.isdir():
                        continue
                    if not info.isfile():
                        raise UserError(raw, f"member {info.name!r} is a link or device", "unpack it yourself")
                    found.append(Member(_clean(info.name), info.size))
    except (OSError, *_DAMAGED) as error:
        raise UserError(raw, f"not a readable archive ({error})", _AGAIN) from error
    for member in found:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name or not path.parts:
            raise UserError(raw, f"member {member.name!r} would be written outside the folder", "unpack it yourself")
    return found


def _clean(name: str) -> str:
    """``./a//b`` as ``a/b``: tar writes the one, users and converters say the other."""
    return str(PurePosixPath(name))


def _read(raw: Path, names: set[str]) -> Iterator[tuple[Member, IO[bytes]]]:
    """(member, its open file) of the wanted names, in the archive's order."""
    if zipfile.is_zipfile(raw):
        with zipfile.ZipFile(raw) as archive:
            for info in archive.infolist():
                if _clean(info.filename) in names and not info.is_dir():
                    with archive.open(info) as file:
                        yield Member(_clean(info.filename), info.file_size), file
        return
    with tarfile.open(raw) as tape:
        for entry in tape:
            if entry.isfile() and _clean(entry.name) in names and (stream := tape.extractfile(entry)) is not None:
                with stream:
                    yield Member(_clean(entry.name), entry.size), stream


def _copy(raw: Path, member: Member, file: IO[bytes], target: Path) -> None:
    """Write a member, never more than its declared size (a zip bomb declares little)."""
    left = member.bytes
    with open(target, "wb") as sink:
        while chunk := file.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise UserError(raw, f"member {member.name!r} is larger than the {member.bytes} bytes it says", _AGAIN)
            sink.write(chunk)
    if left:
        raise UserError(raw, f"member {member.name!r} ends {left} bytes early", _AGAIN)
