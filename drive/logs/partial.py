"""Folders that are being written: cleaning up after writers that died, syncing names to the disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def sweep_partials(root: Path) -> list[Path]:
    """Remove what dead writers left in `root`; folders of processes that live are left alone. Returns the removed."""
    removed = []
    for folder in sorted(Path(root).glob(".*.partial-*")):
        owner = folder.name.rpartition("-")[2]
        if owner.isdigit() and not _alive(int(owner)):
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
