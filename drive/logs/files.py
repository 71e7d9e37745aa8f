"""The files of finished logs: the manifest, the list of logs in a folder, maps of files into memory."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

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
        self._readers: OrderedDict[Path, pa.RecordBatchFileReader] = OrderedDict()

    def reader(self, path: Path) -> pa.RecordBatchFileReader:
        """The reader of an Arrow IPC file; UserError where it is missing or no such file."""
        with self._lock:
            if (reader := self._readers.get(path)) is not None:
                self._readers.move_to_end(path)
                return reader
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path), "r"))
        except FileNotFoundError as error:
            raise UserError(path, "the file is missing", "convert this log again") from error
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(path, f"not a readable Arrow file ({error})", "convert this log again") from error
        with self._lock:
            self._readers[path] = reader
            while len(self._readers) > self._limit:
                self._readers.popitem(last=False)
        return reader


OPEN = OpenFiles(limit=128)


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a log folder; UserError where it is missing, broken or of an unknown version."""
    file = Path(path) / schema.MANIFEST
    try:
        manifest = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(path, "not a log folder (log.json is missing)", "give a folder that drive convert wrote") from (
            error
        )
    except (OSError, ValueError) as error:
        raise UserError(file, f"not readable ({error})", "convert this log again") from error
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if version != schema.SCHEMA_VERSION:
        what = f"log format version {version!r}, this program reads {schema.SCHEMA_VERSION}"
        raise UserError(file, what, "convert this log again, or install the version that wrote it")
    missing = {"name", "dataset", "split", "location", "counts", "files"} - manifest.keys()
    if missing:
        raise UserError(file, f"lacks {', '.join(sorted(missing))}", "convert this log again")
    return manifest


def list_logs(root: Path) -> list[Path]:
    """Folders of finished logs directly in `root`, sorted; unfinished ones are hidden folders and never listed."""
    root = Path(root)
    if not root.is_dir():
        raise UserError(root, "no such folder", "give the folder that drive convert wrote")
    return sorted(p for p in root.iterdir() if not p.name.startswith(".") and (p / schema.MANIFEST).is_file())
