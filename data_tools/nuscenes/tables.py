"""The JSON tables of nuScenes, read into Arrow columns without building a Python object a record.

The official devkit parses every table into dictionaries (35 s and more than 8 GB for trainval). Here a table streams
through Arrow's JSON parser, which keeps only the columns that we ask for. That parser wants one record after another
without commas between them, so the list's brackets and the commas after records are blanked in passing. Records of the
tables read this way are flat, and no name in them holds a closing brace; a file that is otherwise goes through the
standard library's parser, which also says where a broken file breaks.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from drive.errors import UserError

_CHUNK = 1 << 22

TOKEN = pa.string()
NUMBERS = pa.list_(pa.float64())

SAMPLE = pa.schema([("token", TOKEN), ("timestamp", pa.int64()), ("scene_token", TOKEN)])
SAMPLE_DATA = pa.schema(
    [
        ("token", TOKEN),
        ("sample_token", TOKEN),
        ("ego_pose_token", TOKEN),
        ("calibrated_sensor_token", TOKEN),
        ("timestamp", pa.int64()),
        ("is_key_frame", pa.bool_()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("filename", pa.string()),
    ]
)
EGO_POSE = pa.schema([("token", TOKEN), ("timestamp", pa.int64()), ("rotation", NUMBERS), ("translation", NUMBERS)])
SAMPLE_ANNOTATION = pa.schema(
    [
        ("token", TOKEN),
        ("sample_token", TOKEN),
        ("instance_token", TOKEN),
        ("visibility_token", pa.string()),
        ("attribute_tokens", pa.list_(TOKEN)),
        ("translation", NUMBERS),
        ("size", NUMBERS),
        ("rotation", NUMBERS),
        ("prev", TOKEN),
        ("next", TOKEN),
        ("num_lidar_pts", pa.int64()),
        ("num_radar_pts", pa.int64()),
    ]
)
INSTANCE = pa.schema([("token", TOKEN), ("category_token", TOKEN)])


class _Records(io.RawIOBase):
    """A file object that yields the records of a JSON list, one a line, without the list's punctuation."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._next = file.read(_CHUNK)
        self._buffer = memoryview(b"")
        self._first = True
        self._carry = b""

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        if not len(self._buffer):
            self._buffer = memoryview(self._chunk())
        count = min(len(target), len(self._buffer))
        target[:count] = self._buffer[:count]
        self._buffer = self._buffer[count:]
        return count

    def _chunk(self) -> bytes:
        # Line ends are legal only between tokens in JSON, so they may all go; then "}," is what separates records.
        while self._next:
            data = self._carry + self._next.translate(None, b"\r\n")
            self._next = self._file.read(_CHUNK)
            if self._first:
                data = data.lstrip()
                if not data.startswith(b"["):
                    raise ValueError("the table does not begin with [")
                data, self._first = data[1:], False
            if self._next:
                # A chunk may end between the brace and its comma: hold everything after the last comma.
                cut = data.rfind(b"},") + 2
                self._carry = data[cut:] if cut > 1 else data
                data = data[:cut] if cut > 1 else b""
            else:
                data, self._carry = data.rstrip(), b""
                if not data.endswith(b"]"):
                    raise ValueError("the table does not end with ]")
                data = data[:-1].rstrip() + b"\n"
            if data:
                return data.replace(b"},", b"}\n")
        return b""


def read_table(
    folder: Path, name: str, schema: pa.Schema, keep: Callable[[pa.Table], pa.Table] | None = None
) -> pa.Table:
    """Columns `schema` of table ``<folder>/<name>.json``; other fields are skipped.

    Args:
        keep: takes a batch of rows as a table and returns the rows wanted, so that the rest never piles up.

    Raises:
        UserError: the file is missing, broken, lacks a field, or a field has another type.
    """
    path = folder / f"{name}.json"
    try:
        with open(path, "rb") as file:
            table = _read_fast(file, schema, keep)
    except FileNotFoundError as error:
        raise UserError(path, "the table is missing", "give the root folder of the raw data and its --version") from (
            error
        )
    except (pa.ArrowException, ValueError, KeyError):
        table = _read_slowly(path, schema)
        table = keep(table) if keep else table
    for field in schema:
        if table[field.name].null_count:
            row = pc.index(table[field.name].is_null(), True).as_py()
            token = table["token"][row].as_py()
            what = f"record {token!r} has no value for {field.name!r}"
            raise UserError(path, what, "the table is not nuScenes v1.0: get it again")
    return table


def _read_fast(file: BinaryIO, schema: pa.Schema, keep: Callable[[pa.Table], pa.Table] | None) -> pa.Table:
    records = io.BufferedReader(_Records(file), _CHUNK)
    if not records.peek(1).strip():
        return schema.empty_table()
    reader = pyarrow.json.open_json(
        records,
        read_options=pyarrow.json.ReadOptions(block_size=_CHUNK, use_threads=True),
        parse_options=pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )
    parts = []
    for batch in reader:
        part = pa.Table.from_batches([batch]).select(schema.names)
        for field in schema:
            # A name with "}," in it was torn by the line split: take the slow and exact way for this table.
            if field.type == pa.string() and pc.any(pc.match_substring(part[field.name], "\n")).as_py():
                raise ValueError("a line end inside a name")
        parts.append(keep(part) if keep else part)
    return pa.concat_tables(parts).cast(schema) if parts else schema.empty_table()


def _read_slowly(path: Path, schema: pa.Schema) -> pa.Table:
    records = read_records(path.parent, path.stem)
    try:
        return pa.Table.from_pylist(records, schema=schema)
    except (pa.ArrowException, TypeError, AttributeError) as error:
        for number, record in enumerate(records):
            for field in schema:
                try:
                    pa.array([record.get(field.name)], field.type)
                except (pa.ArrowException, TypeError, AttributeError):
                    what = f"record {number} has {field.name!r} = {record.get(field.name)!r}, expected {field.type}"
                    raise UserError(path, what, "the table is not nuScenes v1.0: get it again") from error
        raise


def read_records(folder: Path, name: str, *, optional: bool = False) -> list[dict[str, Any]]:
    """A small table as a list of dictionaries; [] where an optional table is absent. UserError as read_table."""
    path = folder / f"{name}.json"
    try:
        records = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        if optional:
            return []
        raise UserError(path, "the table is missing", "give the root folder of the raw data and its --version") from (
            error
        )
    except json.JSONDecodeError as error:
        what = f"broken JSON at line {error.lineno}, column {error.colno} ({error.msg})"
        raise UserError(path, what, "the file was cut or changed: get it again") from error
    except UnicodeDecodeError as error:
        raise UserError(path, f"not text at byte {error.start}", "the file was damaged: get it again") from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise UserError(path, "not a list of records", "the table is not nuScenes v1.0: get it again")
    return records


def by_token(folder: Path, name: str, *fields: str) -> dict[str, dict[str, Any]]:
    """A small table keyed by token; UserError where a record lacks `fields`."""
    records = read_records(folder, name)
    for number, record in enumerate(records):
        for field in ("token", *fields):
            if field not in record:
                what = f"record {number} has no field {field!r}"
                raise UserError(folder / f"{name}.json", what, "the table is not nuScenes v1.0: get it again")
    return {record["token"]: record for record in records}


def rows_of(tokens: pa.ChunkedArray, keys: pa.ChunkedArray, place: Path, what: str) -> pa.Array:
    """Row in `keys` of every token (an integer join); UserError naming the first token that is not there."""
    rows = pc.index_in(tokens, value_set=keys)
    if rows.null_count:
        missing = tokens[pc.index(rows.is_null(), True).as_py()].as_py()
        raise UserError(place, f"refers to {what} {missing!r}, which is not there", "the tables do not fit together")
    return rows.combine_chunks() if isinstance(rows, pa.ChunkedArray) else rows
