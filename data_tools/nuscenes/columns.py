"""The whole data set's large tables as columns: read once from the JSON, then mapped from one Arrow file.

For whoever asks about all scenes at once (statistics, splits, samplers); the converter divides by scene without it.
Tokens are 64-bit keys (data_tools.nuscenes.tables), links between tables are rows.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_tools.nuscenes import tables
from data_tools.nuscenes.scan import Columns, scan
from drive.errors import UserError
from drive.logs.json_layout import NotFlatError

WANTED = {
    "sample_data": {
        "token": "token", "sample_token": "token", "ego_pose_token": "token", "calibrated_sensor_token": "token",
        "timestamp": "whole", "is_key_frame": "flag", "width": "whole", "height": "whole", "filename": "text",
        "prev": "link", "next": "link",
    },
    "ego_pose": {"token": "token", "timestamp": "whole", "translation": "real3", "rotation": "real4"},
    "sample": {"token": "token", "scene_token": "token", "timestamp": "whole", "prev": "link", "next": "link"},
    "instance": {"token": "token", "category_token": "token", "nbr_annotations": "whole"},
    "sample_annotation": {
        "token": "token", "sample_token": "token", "instance_token": "token", "translation": "real3", "size": "real3",
        "rotation": "real4", "num_lidar_pts": "whole", "num_radar_pts": "whole", "prev": "link", "next": "link",
    },
}  # fmt: skip
LINKS = {
    "sample_data": {"sample_token": "sample", "ego_pose_token": "ego_pose"},
    "sample_annotation": {"sample_token": "sample", "instance_token": "instance"},
}


@dataclass(frozen=True)
class OpenTables:
    """Columns by table and field, as data_tools.nuscenes.scan.Columns; ``<field>_row`` int32 beside every link.

    Also ``start`` and ``end``, the byte offsets of each record in its file, for what is not a column.
    """

    folder: Path
    columns: dict[str, dict[str, np.ndarray]]

    def records(self, table: str, rows: np.ndarray) -> list[dict[str, object]]:
        """Whole records of a table, read and parsed now."""
        columns = self.columns[table]
        return tables.Records(table, columns["start"][rows], columns["end"][rows]).read(self.folder)


def open_tables(folder: Path, cache: Path | None = None) -> OpenTables:
    """Tables of ``<folder>/*.json``; with `cache`, mapped from that file if it is of these very tables, else written.

    Raises:
        UserError: a table is missing, broken, or does not fit the others.
    """
    folder = Path(folder)
    stamp = _stamp(folder)
    if cache is not None and (found := _load(Path(cache), stamp)) is not None:
        return OpenTables(folder, found)
    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:  # tables side by side; on many cores the large ones in parts as well
        read = list(pool.map(lambda name: _read(folder, name, max(1, cores // 2)), WANTED))
    columns = {
        name: {"start": found.starts, "end": found.ends, **found.values}
        for name, found in zip(WANTED, read, strict=True)
    }
    for name, links in LINKS.items():
        for field, target in links.items():
            rows, there = tables.rows_of(columns[name][field], columns[target]["token"], folder / f"{target}.json")
            if not there.all():
                what = f"record {int(np.flatnonzero(~there)[0])} refers by {field} to nothing"
                raise UserError(folder / f"{name}.json", what, tables.NO_FIT)
            columns[name][f"{field.removesuffix('_token')}_row"] = rows.astype(np.int32)
    if cache is not None:
        _save(Path(cache), columns, stamp)
    return OpenTables(folder, columns)


def _read(folder: Path, name: str, threads: int) -> Columns:
    try:
        return scan(folder / f"{name}.json", WANTED[name], threads=threads)
    except NotFlatError:
        return _by_hand(folder, name, WANTED[name])


def _by_hand(folder: Path, name: str, wanted: dict[str, str]) -> Columns:
    """The same columns by the standard library, which also says where a broken file breaks."""
    found, _ = tables.index_table(folder, name, ("token",))
    records, path = found.read(folder), folder / f"{name}.json"
    values: dict[str, np.ndarray] = {}
    for field, kind in wanted.items():
        if kind in ("token", "link"):
            texts = tables.texts(records, field, path)
            keys = [int(tables.token_keys([text.encode()])[0]) if text else 0 for text in texts]
            values[field] = np.array(keys, np.uint64)
        elif kind == "whole":
            values[field] = tables.numbers(records, field, 1, path, whole=True)
        elif kind.startswith("real"):
            values[field] = tables.numbers(records, field, int(kind[4:] or 1), path)
        elif kind == "flag":
            if bad := [r for r in records if not isinstance(r.get(field), bool)]:
                raise UserError(path, f"record {bad[0].get('token')!r} has no {field}", tables.WRONG_SHAPE)
            values[field] = np.array([record[field] for record in records], bool)
        else:
            values[field] = _places(path, found, tables.texts(records, field, path))
    return Columns(found.starts, found.ends, values)


def _places(path: Path, records: tables.Records, texts: list[str]) -> np.ndarray:
    """Byte offsets int64 [N, 2] of texts in their records; UserError where one is written with escapes."""
    places = np.zeros((len(texts), 2), np.int64)
    with open(path, "rb") as file:
        for i, (start, end) in enumerate(zip(records.starts.tolist(), records.ends.tolist(), strict=True)):
            file.seek(start)
            wanted = texts[i].encode()
            at = file.read(end - start).find(b'"' + wanted + b'"')
            if at < 0:
                raise UserError(path, f"{texts[i]!r} is written with escapes", "write file names in ASCII")
            places[i] = start + at + 1, start + at + 1 + len(wanted)
    return places


def _stamp(folder: Path) -> str:
    """What a cache must agree with: size and time of every table."""
    found = {}
    for name in WANTED:
        path = folder / f"{name}.json"
        try:
            state = path.stat()
        except FileNotFoundError as error:
            raise UserError(path, "the table is missing", tables.GIVE_ROOT) from error
        found[name] = [state.st_size, state.st_mtime_ns]
    return json.dumps({"format": 1, "tables": found})


def _save(cache: Path, columns: dict[str, dict[str, np.ndarray]], stamp: str) -> None:
    """One Arrow file: a record batch of one row, each column a list, so that a map of it copies nothing."""
    names, arrays = [], []
    for table, fields in columns.items():
        for field, values in fields.items():
            width = values.shape[1] if values.ndim == 2 else 0
            flat = values.view(np.uint8) if values.dtype == bool else values
            item = pa.array(np.ascontiguousarray(flat).reshape(-1))
            names.append(f"{table}/{field}/{width}/{values.dtype.name}")
            arrays.append(pa.LargeListArray.from_arrays(pa.array([0, len(item)], pa.int64()), item))
    schema = pa.schema([(n, a.type) for n, a in zip(names, arrays, strict=True)], metadata={"stamp": stamp})
    partial = cache.with_name(f".{cache.name}.partial-{os.getpid()}")
    try:
        with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            writer.write_batch(pa.record_batch(arrays, schema=schema))
        os.replace(partial, cache)
    except OSError as error:
        raise UserError(cache, f"cannot write ({error.strerror or error})", "give another place") from error
    finally:
        partial.unlink(missing_ok=True)


def _load(cache: Path, stamp: str) -> dict[str, dict[str, np.ndarray]] | None:
    """Columns of a cache of these tables; None where it is of others, older, damaged or not there."""
    try:
        with pa.memory_map(str(cache)) as source:
            batch = pa.ipc.open_file(source).get_batch(0)
    except (OSError, pa.ArrowInvalid, IndexError):
        return None
    if (batch.schema.metadata or {}).get(b"stamp") != stamp.encode():
        return None
    found: dict[str, dict[str, np.ndarray]] = {}
    for i, name in enumerate(batch.schema.names):
        table, field, width, dtype = name.split("/")
        column = batch.column(i).values
        # Not to_numpy: it imports pandas where that is installed, for a second.
        values = np.frombuffer(column.buffers()[1], dtype, len(column), column.offset * np.dtype(dtype).itemsize)
        found.setdefault(table, {})[field] = values.reshape(-1, int(width)) if int(width) else values
    return found
