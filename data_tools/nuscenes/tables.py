"""The JSON tables of nuScenes, indexed by integers instead of parsed.

The official devkit parses every record of every table into dictionaries and keeps them all (gigabytes, half a minute
for trainval). To divide the tables by scene nothing is needed but where each record lies in its file and the few
tokens that join the tables. So a compiled pass (data_tools.nuscenes.scan) keeps 64-bit keys of those tokens and the
records' offsets; the process that converts a scene reads and parses that scene's records only.

A file that the pass does not understand goes through the standard library's parser, which also says where a broken
file breaks.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drive.errors import UserError
from drive.logs.json_layout import NotFlatError

_DIGIT = np.full(256, 255, np.uint8)
_DIGIT[list(b"0123456789abcdef")] = range(16)
_MIX = np.uint64(0x9E3779B97F4A7C15)
SMALL_BYTES = 2 << 20  # below it the standard library is done sooner than the compiled pass is loaded
GET_AGAIN = "the file was cut or changed: get it again"
WRONG_SHAPE = "the table is not nuScenes v1.0: get it again"
GIVE_ROOT = "give the root folder of the raw data and its --version"
NO_FIT = "the tables do not fit together: get them again"


@dataclass(frozen=True)
class Records:
    """Where N records of one table lie: byte offsets int64 [N], first and one past the last."""

    table: str
    starts: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, rows: np.ndarray) -> Records:
        """The records in the given order."""
        return Records(self.table, self.starts[rows], self.ends[rows])

    def read(self, folder: Path) -> list[dict[str, Any]]:
        """Read and parse these records of ``<folder>/<table>.json``; UserError names a broken one's place."""
        path = folder / f"{self.table}.json"
        found = []
        with open(path, "rb") as file:
            for start, end in zip(self.starts.tolist(), self.ends.tolist(), strict=True):
                file.seek(start)
                try:
                    record = json.loads(file.read(end - start))
                except ValueError as error:
                    raise UserError(path, f"broken JSON at byte {start} ({error})", GET_AGAIN) from error
                found.append(record)
        return found


def index_table(folder: Path, name: str, fields: Sequence[str]) -> tuple[Records, dict[str, np.ndarray]]:
    """Offsets of all records of a table and the keys uint64 [N] of the tokens in `fields`.

    Raises:
        UserError: the file is missing, broken or lacks a field.
    """
    path = folder / f"{name}.json"
    try:
        if path.stat().st_size < SMALL_BYTES:
            raise NotFlatError
        from data_tools.nuscenes.scan import scan  # here: compiled code takes half a second to load

        found = scan(path, dict.fromkeys(fields, "token"))
        return Records(name, found.starts, found.ends), found.values
    except FileNotFoundError as error:
        raise UserError(path, "the table is missing", GIVE_ROOT) from error
    except NotFlatError:
        starts, ends, keys = _parse(path, fields)
        return Records(name, starts, ends), dict(zip(fields, keys, strict=True))


def _parse(path: Path, fields: Sequence[str]) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """(starts, ends, keys by field) by a real parser."""
    read_records(path.parent, path.stem)  # says where a broken table breaks
    text = path.read_bytes().decode("latin-1")  # one character a byte, so that positions are offsets
    decoder, position = json.JSONDecoder(strict=False), text.index("[") + 1
    starts, ends = array("q"), array("q")
    tokens: list[list[bytes]] = [[] for _ in fields]
    while True:
        while text[position] in " \t\r\n,":
            position += 1
        if text[position] == "]":
            break
        record, end = decoder.raw_decode(text, position)
        for field, column in zip(fields, tokens, strict=True):
            if not isinstance(value := record.get(field), str):
                raise UserError(path, f"record {len(starts)} has {field!r} = {value!r}, not a token", WRONG_SHAPE)
            column.append(value.encode("latin-1"))
        starts.append(position)
        ends.append(end)
        position = end
    return np.array(starts, np.int64), np.array(ends, np.int64), [token_keys(column) for column in tokens]


def token_keys(tokens: list[bytes]) -> np.ndarray:
    """64-bit keys uint64 [N] of tokens. Equal tokens have equal keys; the reader of a record checks the converse."""
    if len({len(token) for token in tokens}) == 1 and tokens[0]:
        return _keys(np.frombuffer(b"".join(tokens), np.uint8).reshape(len(tokens), -1))
    return np.array([_key(token) for token in tokens], np.uint64)


def _keys(tokens: np.ndarray) -> np.ndarray:
    """Keys of tokens uint8 [N, L]: of 32 hexadecimal digits their own two halves, of anything else a hash."""
    if tokens.shape[1] == 32:
        digits = _DIGIT[tokens]
        if not (digits > 15).any():
            halves = ((digits[:, ::2] << 4) | digits[:, 1::2]).view("<u8")
            return halves[:, 0] ^ (halves[:, 1] * _MIX)
    return np.array([_key(token.tobytes()) for token in tokens], np.uint64)


def _key(token: bytes) -> int:
    """One key, the same as among many."""
    if len(token) == 32:
        digits = _DIGIT[np.frombuffer(token, np.uint8)]
        if not (digits > 15).any():
            return int(_keys(np.frombuffer(token, np.uint8)[None])[0])
    return int.from_bytes(hashlib.blake2b(token, digest_size=8).digest(), "little")


def rows_of(wanted: np.ndarray, keys: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Row in `keys` (of table `path`) of every wanted key, and where there is one; UserError where `keys` repeat."""
    if np.array_equal(wanted, keys):
        return np.arange(len(keys)), np.ones(len(keys), bool)
    order = np.argsort(keys)
    ordered = keys[order]
    if (ordered[1:] == ordered[:-1]).any():
        raise UserError(path, "a token stands there twice", NO_FIT)
    if not len(keys):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    at = np.minimum(np.searchsorted(ordered, wanted), len(keys) - 1)
    return order[at], ordered[at] == wanted


def read_records(folder: Path, name: str, *, optional: bool = False) -> list[dict[str, Any]]:
    """A small table as a list of dictionaries; [] where an optional table is absent. UserError as index_table."""
    path = folder / f"{name}.json"
    try:
        records = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        if optional:
            return []
        raise UserError(path, "the table is missing", GIVE_ROOT) from error
    except json.JSONDecodeError as error:
        what = f"broken JSON at line {error.lineno}, column {error.colno} ({error.msg})"
        raise UserError(path, what, GET_AGAIN) from error
    except UnicodeDecodeError as error:
        raise UserError(path, f"not text at byte {error.start}", GET_AGAIN) from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise UserError(path, "not a list of records", WRONG_SHAPE)
    return records


def by_token(folder: Path, name: str, *fields: str) -> dict[str, dict[str, Any]]:
    """A small table keyed by token; UserError where a record lacks `fields`."""
    records = read_records(folder, name)
    for number, record in enumerate(records):
        for field in ("token", *fields):
            if field not in record:
                raise UserError(folder / f"{name}.json", f"record {number} has no field {field!r}", WRONG_SHAPE)
    return {record["token"]: record for record in records}


def numbers(records: list[dict[str, Any]], field: str, width: int, path: Path, *, whole: bool = False) -> np.ndarray:
    """Column of numbers as float64 (int64 if `whole`) [N] or, for width > 1, [N, width], exactly as written.

    Raises:
        UserError: naming the record that has no such field, another type or another length.
    """
    dtype = np.int64 if whole else np.float64
    kinds = (int,) if whole else (int, float)
    for record in records:
        value = record.get(field)
        values = value if width > 1 and isinstance(value, list) else [value]
        if len(values) != width or not all(isinstance(v, kinds) and not isinstance(v, bool) for v in values):
            shape = f"{width} numbers" if width > 1 else "an integer" if whole else "a number"
            what = f"record {record.get('token')!r} has {field!r} = {value!r}, expected {shape}"
            raise UserError(path, what, WRONG_SHAPE)
    found = np.array([record[field] for record in records], dtype)
    return found.reshape(-1, width) if width > 1 else found


def texts(records: list[dict[str, Any]], field: str, path: Path) -> list[str]:
    """Column of strings; UserError naming a record where it is none."""
    for record in records:
        if not isinstance(record.get(field), str):
            what = f"record {record.get('token')!r} has {field!r} = {record.get(field)!r}, expected text"
            raise UserError(path, what, WRONG_SHAPE)
    return [record[field] for record in records]
