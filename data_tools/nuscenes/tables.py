"""The JSON tables of nuScenes, indexed by integers instead of parsed.

The official devkit parses every record of every table into dictionaries and keeps them all (gigabytes, half a minute
for trainval). To divide the tables by scene nothing is needed but where each record lies in its file and the few
tokens that join the tables. So an index pass looks for those tokens as bytes, keeps 64-bit keys of them and the
records' offsets; the process that converts a scene reads and parses that scene's records only.

The pass takes records for flat and looks for braces as bytes. A file where that does not hold (a brace inside a name)
is recognised and goes through the standard library's parser, which also says where a broken file breaks.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from drive.errors import UserError

_CHUNK = 1 << 19
_GAPS = b" \t\r\n,"
_DIGIT = np.full(256, 255, np.uint8)
_DIGIT[list(b"0123456789abcdef")] = range(16)
_MIX = np.uint64(0x9E3779B97F4A7C15)
GET_AGAIN = "the file was cut or changed: get it again"
WRONG_SHAPE = "the table is not nuScenes v1.0: get it again"
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


class _NotFlatError(Exception):
    """The byte search does not understand this file."""


def index_table(folder: Path, name: str, fields: Sequence[str]) -> tuple[Records, dict[str, np.ndarray]]:
    """Offsets of all records of a table and the keys uint64 [N] of the tokens in `fields`.

    Raises:
        UserError: the file is missing, broken or lacks a field.
    """
    path = folder / f"{name}.json"
    try:
        with open(path, "rb") as file:
            return _collect(name, fields, _search(file, fields))
    except FileNotFoundError as error:
        mend = "give the root folder of the raw data and its --version"
        raise UserError(path, "the table is missing", mend) from error
    except _NotFlatError:
        return _collect(name, fields, _parse(path, fields))


def _collect(
    name: str, fields: Sequence[str], chunks: Iterator[tuple[np.ndarray, np.ndarray, list[np.ndarray]]]
) -> tuple[Records, dict[str, np.ndarray]]:
    parts = list(chunks)
    none = np.zeros(0, np.int64)
    starts, ends = (np.concatenate([none, *(part[i] for part in parts)]) for i in (0, 1))
    empty = np.zeros(0, np.uint64)
    keys = {field: np.concatenate([empty, *(part[2][i] for part in parts)]) for i, field in enumerate(fields)}
    return Records(name, starts, ends), keys


def _search(file: BinaryIO, fields: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray, list[np.ndarray]]]:
    """(starts, ends, keys by field) of the records, chunk by chunk; _NotFlatError where bytes do not suffice."""
    rest, position, opening = b"", 0, b"["
    separators: list[bytes] = []
    while data := file.read(_CHUNK):
        body, brace, rest = (rest + data).rpartition(b"}")
        if not brace:
            continue
        body += brace
        characters = np.frombuffer(body, np.uint8)
        starts, ends = np.flatnonzero(characters == ord("{")), np.flatnonzero(characters == ord("}")) + 1
        if len(starts) != len(ends) or (starts >= ends).any() or (starts[1:] < ends[:-1]).any():
            raise _NotFlatError
        gaps = starts[1:] - ends[:-1]
        if body[: starts[0]].strip(_GAPS) != opening or (gaps != gaps[:1]).any():
            raise _NotFlatError
        opening = b""
        if len(gaps):
            gap = body[ends[0] : starts[1]]
            between = characters[ends[:-1, None] + np.arange(len(gap))]
            if gap.strip(_GAPS) or (between != np.frombuffer(gap, np.uint8)).any():
                raise _NotFlatError
        separators = separators or [_separator(field, body) for field in fields]
        keys = [_keys_after(separator, body, characters, starts, ends) for separator in separators]
        yield starts + position, ends + position, keys
        position += len(body)
    if rest.strip() != b"]" and (rest.strip(), opening) != (b"[]", b"["):
        raise _NotFlatError


def _separator(field: str, body: bytes) -> bytes:
    """What stands before the tokens of a field, spaces as this file writes them."""
    match = re.search(rb'"' + field.encode() + rb'"\s*:\s*"', body)
    if match is None:
        raise _NotFlatError
    return match.group()


def _keys_after(
    separator: bytes, body: bytes, characters: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> np.ndarray:
    """Keys of the tokens of one field, which must stand in every record and be of one length."""
    first = body.find(separator, starts[0]) + len(separator)
    length = body.find(b'"', first) - first
    if first < len(separator) or first + length >= ends[0]:
        raise _NotFlatError
    at = starts + (first - starts[0])
    # Where only fields of one length stand before it, it is at the same place in every record.
    if (
        at[-1] >= len(body)
        or (characters[at[:, None] + np.arange(-len(separator), 0)] != np.frombuffer(separator, np.uint8)).any()
    ):
        pieces = body.split(separator)
        if len(pieces) != len(starts) + 1:
            raise _NotFlatError
        at = np.cumsum(np.fromiter(map(len, pieces[:-1]), np.int64, len(starts)) + len(separator))
    if (at <= starts).any() or (at + length >= ends).any() or (characters[at + length] != ord('"')).any():
        raise _NotFlatError
    tokens = characters[at[:, None] + np.arange(length)]
    if ((tokens == ord('"')) | (tokens == ord("\\"))).any():
        raise _NotFlatError
    return _keys(tokens)


def _parse(path: Path, fields: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray, list[np.ndarray]]]:
    """The same by a real parser, for one whole table."""
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
    yield np.array(starts, np.int64), np.array(ends, np.int64), [token_keys(column) for column in tokens]


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
        mend = "give the root folder of the raw data and its --version"
        raise UserError(path, "the table is missing", mend) from error
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
