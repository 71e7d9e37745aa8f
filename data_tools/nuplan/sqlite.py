"""SQLite files of others, read only: nuPlan's logs and GeoPackage maps. Damage ends in a ``UserError``."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from drive.errors import UserError

_MEND = "copy the file again"
_MAX_CELL_BYTES = 64 << 20  # a geometry or a pickled matrix is far smaller


class Database:
    """An open file. ``immutable`` promises SQLite that nobody writes: no lock, no journal is looked for."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    def columns(self, table: str) -> list[str]:
        """Names of a table's columns; [] where there is no such table."""
        return [str(row[1]) for row in self.rows(f'PRAGMA table_info("{table}")')]

    def rows(self, query: str, values: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows of a query; damage and tables that are not there are a ``UserError`` that names the file."""
        try:
            for row in self._connection.execute(query, values):  # noqa: UP028 (yield from would close the cursor late)
                yield row
        except (sqlite3.Error, OverflowError, UnicodeDecodeError) as error:
            raise UserError(self.path, f"not a usable SQLite file ({error})", _MEND) from None


@contextmanager
def open_database(path: Path, kind: str) -> Iterator[Database]:
    """Open a file that already exists; ``kind`` says what it should be."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise UserError(path, f"{kind} cannot be read ({error.strerror})", "check the path") from None
    if head != b"SQLite format 3\0":
        raise UserError(path, f"{kind} is not an SQLite file", _MEND)
    try:
        connection = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1", uri=True)
    except sqlite3.Error as error:
        raise UserError(path, f"{kind} cannot be opened ({error})", _MEND) from None
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_CELL_BYTES)
        yield Database(path, connection)
    finally:
        connection.close()


def number(value: Any, place: str, name: str) -> float:
    """A cell as float: SQLite keeps what it is given, so that a damaged or foreign cell may be anything."""
    if isinstance(value, (int, float)) and abs(value) < 1e15:  # also refuses NaN, which compares false
        return float(value)
    raise UserError(place, f"{name} is {str(value)[:40]!r}, not a number", _MEND)


def whole(value: Any, place: str, name: str) -> int:
    """A cell as int."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise UserError(place, f"{name} is {str(value)[:40]!r}, not a whole number", _MEND)


def token(value: Any, place: str, name: str) -> str:
    """An identifier: bytes as hexadecimal, text as it is."""
    if isinstance(value, bytes) and 0 < len(value) <= 64:
        return value.hex()
    if isinstance(value, str) and 0 < len(value) <= 128:
        return value
    raise UserError(place, f"{name} is {str(value)[:40]!r}, not a token", _MEND)
