"""Folders that are being written: cleaning up after writers that died, syncing names to the disk."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa

from drive.errors import UserError
from drive.logs.schema import MANIFEST
from drive.logs.tables import HashingFile, TableFile, disk_full


class PartialFolder:
    """``<root>/.<name>.partial-<host>-<pid>``, which becomes ``<root>/<name>`` when it is complete and on the disk.

    `files` = {file: {bytes, sha256}} of what was written so far.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.path = root, root / name
        self.partial = root / f".{name}.partial-{owner()}"
        self.files: dict[str, dict[str, Any]] = {}

    def create(self) -> None:
        """Make the folder; UserError where the finished one exists, or where we cannot write."""
        if self.path.exists():
            raise UserError(self.path, "the log is already there", "remove it or convert into another folder")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if self.partial.exists():
                shutil.rmtree(self.partial)
            self.partial.mkdir()
        except OSError as error:
            raise disk_full(self.partial, error) or UserError(
                self.root, f"cannot write here ({error.strerror})", "give a folder that you may write to"
            ) from error

    def remove(self) -> None:
        """Remove it; nothing happens once it is published."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a whole Arrow file; ValueError if the name was used."""
        if name in self.files:
            raise ValueError(f"{name} is written twice")
        file = TableFile(self.partial / name, table.schema)
        try:
            file.write_table(table)
            self.files[name] = file.finish()
        finally:
            file.abandon()

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a file as it is; ValueError if the name was used."""
        if name in self.files:
            raise ValueError(f"{name} is written twice")
        (self.partial / name).parent.mkdir(exist_ok=True)
        with contextlib.closing(HashingFile(self.partial / name)) as sink:
            sink.write(data)
        self.files[name] = {"bytes": sink.size, "sha256": sink.digest()}

    def publish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest with the list of files, sync, give the folder its name; UserError if that is taken."""
        text = json.dumps({**manifest, "files": dict(sorted(self.files.items()))}, indent=1) + "\n"
        self.write_bytes(MANIFEST, text.encode())
        for folder in sorted({(self.partial / name).parent for name in self.files}):
            sync_folder(folder)
        try:
            os.rename(self.partial, self.path)
        except OSError as error:
            what = f"cannot name the finished log ({error.strerror})"
            raise UserError(self.path, what, "remove what is there") from error
        sync_folder(self.root)


def owner() -> str:
    """``<host>-<pid>`` of this process: several hosts may write into one folder."""
    return f"{re.sub('[^A-Za-z0-9]', '_', platform.node())}-{os.getpid()}"


def sweep_partials(root: Path) -> list[Path]:
    """Remove what dead writers of this host left in `root`; what others write is left alone. Returns the removed."""
    here = owner().rpartition("-")[0]
    removed = []
    for folder in sorted(Path(root).glob(".*.partial-*")):
        host, _, pid = folder.name.rpartition(".partial-")[2].rpartition("-")
        if host == here and pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
    return removed


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's process
        return True
    return True


def sync_folder(folder: Path) -> None:
    """Write a folder's list of names to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
