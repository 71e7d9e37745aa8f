"""Arrow tables from and to numpy, and the file sink that hashes what it writes."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from drive.errors import UserError

# EFBIG: a file size limit of the user's shell; to the reader of the message it is the same thing.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def disk_full(path: Path, error: OSError) -> UserError | None:
    """The user's line for a full disk, or None for any other error."""
    if error.errno not in _FULL:
        return None
    return UserError(
        path, "no space left to write this file", "free some space and start again, finished logs are kept"
    )


class HashingFile(io.RawIOBase):
    """Write-only binary file that keeps the SHA-256 and the size of everything written, and syncs on close.

    Raises UserError when the disk is full.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.size = 0
        self._sha = hashlib.sha256()
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 (closed by close)

    def writable(self) -> bool:
        """True: Arrow asks before it writes."""
        return True

    def tell(self) -> int:
        """Bytes written so far."""
        return self.size

    def write(self, data: Any) -> int:
        """Write all of `data` (any buffer) and return its length in bytes."""
        view = memoryview(data).cast("B")
        self._sha.update(view)
        done = 0
        try:
            while done < len(view):
                done += self._file.write(view[done:])
        except OSError as error:
            if (full := disk_full(self.path, error)) is not None:
                raise full from error
            raise
        self.size += done
        return done

    def close(self) -> None:
        """Sync to the disk and close; safe to call twice."""
        if not self._file.closed:
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                if (full := disk_full(self.path, error)) is not None:
                    raise full from error
                raise
            finally:
                self._file.close()
        super().close()

    def digest(self) -> str:
        """Hexadecimal SHA-256 of the bytes written so far."""
        return self._sha.hexdigest()


class TableFile:
    """An Arrow IPC file that is written batch by batch: nothing but the current batch is held."""

    def __init__(self, path: Path, schema: pa.Schema, compression: str | None = None) -> None:
        self.schema = schema
        self.rows = 0
        self._sink = HashingFile(path)
        self._writer = pa.ipc.new_file(self._sink, schema, options=pa.ipc.IpcWriteOptions(compression=compression))

    def write_batch(self, arrays: list[pa.Array]) -> None:
        """Append one record batch; arrays in the order of the schema."""
        batch = pa.record_batch(arrays, schema=self.schema)
        self._writer.write_batch(batch)
        self.rows += batch.num_rows

    def write_table(self, table: pa.Table) -> None:
        """Append a whole table."""
        self._writer.write_table(table)
        self.rows += table.num_rows

    def finish(self) -> dict[str, Any]:
        """Write the footer, sync, close; returns the manifest's entry {bytes, sha256}."""
        self._writer.close()
        self._sink.close()
        return {"bytes": self._sink.size, "sha256": self._sink.digest()}

    def abandon(self) -> None:
        """Close without caring for the content (the file is about to be removed)."""
        self._sink._file.close()


def vectors(values: np.ndarray, length: int) -> pa.Array:
    """float64 [N, length] (or anything that reshapes to it) as a fixed-size list column."""
    flat = np.ascontiguousarray(values, dtype=np.float64).reshape(-1)
    field = pa.field("item", pa.float64(), nullable=False)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=pa.list_(field, length))


def columns_table(table_schema: pa.Schema, columns: list[Any]) -> pa.Table:
    """A table from one list of values (scalars, or vectors for fixed-size lists) per field of the schema."""
    arrays = [
        vectors(np.array(values, np.float64), field.type.list_size)
        if pa.types.is_fixed_size_list(field.type)
        else pa.array(values, field.type)
        for field, values in zip(table_schema, columns, strict=True)
    ]
    return pa.table(arrays, schema=table_schema)


def one_list(values: np.ndarray, value_type: pa.DataType) -> pa.Array:
    """A list column of one row that holds the flat array `values`."""
    flat = np.ascontiguousarray(values).reshape(-1)
    return pa.ListArray.from_arrays(pa.array([0, flat.size], pa.int32()), pa.array(flat, value_type))


def matrix(column: pa.ChunkedArray | pa.Array, length: int) -> np.ndarray:
    """A fixed-size list column without nulls as float64 [N, length]."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(array.flatten(), dtype=np.float64).reshape(-1, length)


def numbers(column: pa.ChunkedArray | pa.Array, dtype: Any, missing: Any = 0) -> tuple[np.ndarray, np.ndarray]:
    """A nullable number column as (values [N] with `missing` where null, valid bool [N])."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if array.null_count == 0:  # the usual case, three Arrow calls less
        return array.to_numpy(zero_copy_only=False).astype(dtype), np.ones(len(array), np.bool_)
    valid = np.asarray(array.is_valid().to_numpy(zero_copy_only=False), dtype=bool)
    return np.asarray(array.fill_null(missing).to_numpy(zero_copy_only=False)).astype(dtype), valid
