"""The files of finished logs: the manifest, the list of logs in a folder, maps of files into memory."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from drive.errors import UserError
from drive.logs import schema


class OpenFiles:
    """The process's open maps, least recently used closed first: 850 logs of 12 files exceed the usual 1024 handles.

    A map stays alive as long as an array points into it; what is dropped here is only our own reference.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._readers: OrderedDict[tuple[Path, tuple[int, ...]], pa.RecordBatchFileReader] = OrderedDict()
        self._views: OrderedDict[Path, dict[int, np.ndarray]] = OrderedDict()

    def reader(self, path: Path, fields: tuple[int, ...] = ()) -> pa.RecordBatchFileReader:
        """The reader of an Arrow IPC file or some of its fields; UserError where it is missing or no such file."""
        key = path, fields
        with self._lock:
            if (reader := self._readers.get(key)) is not None:
                self._readers.move_to_end(key)
                return reader
        # One thread: a loader has a process for every core.
        options = pa.ipc.IpcReadOptions(included_fields=list(fields), use_threads=False)
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path), "r"), options=options)
        except FileNotFoundError as error:
            raise UserError(path, "the file is missing", "convert this log again") from error
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise UserError(path, f"not a readable Arrow file ({error})", "convert this log again") from error
        with self._lock:
            self._readers[key] = reader
            while len(self._readers) > self._limit:
                self._readers.popitem(last=False)
        return reader

    def views(self, path: Path) -> dict[int, np.ndarray]:
        """{row: view into the file} of a payload file, for its reader to fill; forgotten as readers are."""
        with self._lock:
            views = self._views.setdefault(path, {})
            self._views.move_to_end(path)
            while len(self._views) > self._limit:
                self._views.popitem(last=False)
        return views

    def forget(self, folder: Path) -> None:
        """Drop the maps of a folder's files, before it is replaced or removed."""
        with self._lock:
            for key in [key for key in self._readers if key[0].is_relative_to(folder)]:
                del self._readers[key]
            for path in [path for path in self._views if path.is_relative_to(folder)]:
                del self._views[path]


OPEN = OpenFiles(limit=128)


def read_table(path: Path, reader: pa.RecordBatchFileReader) -> pa.Table:
    """A whole table, checked: buffers, text, and that a table of `schema.TABLES` has its columns; else UserError."""
    try:
        table = reader.read_all()
        # Lengths, offsets and text: what is wrong there would be read from beyond a buffer's end.
        table.validate(full=True)
        table = table.combine_chunks()
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise UserError(path, f"damaged ({error})", "convert this log again") from error
    for field in schema.TABLES.get(path.name, ()):
        there = table.schema.field(field.name).type if field.name in table.column_names else None
        if there != field.type:
            what = f"column {field.name} is {'missing' if there is None else there}, expected {field.type}"
            raise UserError(path, what, "convert this log again")
    return table


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a log folder; UserError where it is missing, broken or of an unknown version."""
    file = Path(path) / schema.MANIFEST
    try:
        data = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(path, "not a log folder (log.json is missing)", "give a folder that drive convert wrote") from (
            error
        )
    except OSError as error:
        raise UserError(file, f"not readable ({error})", "convert this log again") from error
    return check_manifest(file, data)


def check_manifest(file: str | Path, data: bytes) -> dict[str, Any]:
    """The manifest in the bytes of `file`; UserError where it is broken or of an unknown version."""
    try:
        manifest = json.loads(data)
    except ValueError as error:
        raise UserError(file, f"not readable ({error})", "convert this log again") from error
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if version != schema.SCHEMA_VERSION:
        what = f"log format version {version!r}, this program reads {schema.SCHEMA_VERSION}"
        mend = "drive convert --migrate brings older logs up to date; newer ones need the version that wrote them"
        raise UserError(file, what, mend)
    if (wrong := _wrong_shape(manifest)) is not None:
        raise UserError(file, wrong, "convert this log again")
    return manifest


def _wrong_shape(manifest: dict[str, Any]) -> str | None:
    """What a manifest lacks or has of another type; None where all is there."""
    kinds = {"name": str, "dataset": str, "split": str, "location": str, "counts": dict, "files": dict}
    if missing := sorted(kinds.keys() - manifest.keys()):
        return f"lacks {', '.join(missing)}"
    if wrong := sorted(name for name, kind in kinds.items() if not isinstance(manifest[name], kind)):
        return f"has {wrong[0]} = {manifest[wrong[0]]!r}"
    for name, entry in manifest["files"].items():
        whole = isinstance(entry, dict) and isinstance(entry.get("bytes"), int) and isinstance(entry.get("sha256"), str)
        if not whole or "\0" in name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            return f"lists {name!r} as {entry!r}"
    if not isinstance(manifest["counts"].get("frames"), int):
        return f"counts {manifest['counts'].get('frames')!r} frames"
    if absent := sorted(schema.TABLES.keys() - manifest["files"].keys()):
        return f"does not list {absent[0]}"
    return None


def list_logs(root: Path) -> list[Path]:
    """Folders of finished logs directly in `root`, sorted; unfinished ones are hidden folders and never listed."""
    root = Path(root)
    if not root.is_dir():
        raise UserError(root, "no such folder", "give the folder that drive convert wrote")
    return sorted(p for p in root.iterdir() if not p.name.startswith(".") and (p / schema.MANIFEST).is_file())
