"""``drive convert --migrate LOGS``: logs of an older schema version to the present one, without the raw data.

A step leads from version N to N + 1. Files that it does not touch are linked, not copied; a log is exchanged for its
successor by renaming, so that a kill at any moment leaves the old one, the new one, or the old one under a hidden name
that the next run puts back.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_tools.claim import MARKER
from drive.errors import UserError
from drive.logs.files import OPEN
from drive.logs.partial import PartialFolder, sweep_partials, sync_folder
from drive.logs.schema import MANIFEST, SCHEMA_VERSION
from drive.logs.store import Log

Tables = Callable[[str], pa.Table]
"""Gives a table of the old log by its file name."""

Step = Callable[[dict[str, Any], Tables], tuple[dict[str, Any], dict[str, pa.Table | None]]]
"""(old manifest, its tables) -> (new head of the manifest, {file: new table, None = the file is dropped})."""

# From version N to N + 1. Version 1 is the first.
STEPS: Mapping[int, Step] = {}


def migrate(root: Path, steps: Mapping[int, Step] = STEPS) -> list[str]:
    """Bring all logs of a folder to the present version; returns the names of those that were changed.

    Raises:
        UserError: not a folder of logs, a damaged log, a version without a step (newer, or unknown).
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(root, "no such folder", "give the folder that drive convert wrote")
    for left in sorted(root.glob(".*.old")):  # killed between the two renames, or just after them
        name = left.name[1:-4]
        if (root / name).exists():
            shutil.rmtree(left)
        else:
            os.rename(left, root / name)
    sweep_partials(root)
    logs = sorted(path for path in root.iterdir() if not path.name.startswith(".") and (path / MANIFEST).is_file())
    changed = [path.name for path in logs if _migrate_log(path, steps)]
    marker = root / MARKER
    if marker.exists():
        head = json.loads(marker.read_bytes())
        if head.get("schema_version") != SCHEMA_VERSION:
            partial = root / f".{MARKER}.new"
            partial.write_text(json.dumps({**head, "schema_version": SCHEMA_VERSION}, indent=1) + "\n")
            os.replace(partial, marker)
    return changed


def _migrate_log(path: Path, steps: Mapping[int, Step]) -> bool:
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        version = manifest["schema_version"]
        files = dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(path / MANIFEST, f"not a manifest ({error})", "convert this log again") from error
    if version == SCHEMA_VERSION:
        return False
    new = PartialFolder(path.parent, path.name)
    new.path = path.with_name(f".{path.name}.new")
    shutil.rmtree(new.path, ignore_errors=True)
    new.create()
    try:
        tables: dict[str, pa.Table] = {}

        def table_of(name: str) -> pa.Table:
            return tables[name] if name in tables else _read(path / name)

        dropped: set[str] = set()
        while version != SCHEMA_VERSION:
            if version not in steps:
                what = f"log format version {version!r}, no step leads from it to {SCHEMA_VERSION}"
                raise UserError(path / MANIFEST, what, "convert this log again, or install the version that wrote it")
            manifest, changes = steps[version](manifest, table_of)
            tables.update({name: table for name, table in changes.items() if table is not None})
            dropped |= {name for name, table in changes.items() if table is None}
            version += 1
        for name, entry in files.items():
            if name not in tables and name not in dropped:
                (new.partial / name).parent.mkdir(exist_ok=True)
                os.link(path / name, new.partial / name)
                new.files[name] = entry
        for name, table in tables.items():
            new.write_table(name, table)
        new.publish({**{k: v for k, v in manifest.items() if k != "files"}, "schema_version": SCHEMA_VERSION})
    finally:
        new.remove()
    Log.open(new.path)
    old = path.with_name(f".{path.name}.old")
    os.rename(path, old)
    os.rename(new.path, path)
    sync_folder(path.parent)
    shutil.rmtree(old)
    OPEN.forget(path)
    return True


def _read(path: Path) -> pa.Table:
    try:
        with pa.ipc.open_file(str(path)) as reader:
            return reader.read_all()
    except (OSError, pa.ArrowException) as error:
        raise UserError(path, f"damaged ({error})", "convert this log again") from error
