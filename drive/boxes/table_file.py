"""An Arrow table as a file that appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from drive.errors import UserError


def write_table(path: Path, table: pa.Table) -> None:
    """Write an Arrow IPC file, whole or not at all. Raises UserError where that fails."""
    with whole_file(path) as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to fill: under another name first, synced and renamed at the end. Raises UserError where that fails."""
    part = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        what = f"cannot be written ({error.strerror or error})"
        raise UserError(path, what, "check the folder and its free space") from error


def rows_of(values: np.ndarray, kind: pa.DataType) -> pa.FixedSizeListArray:
    """The rows of values [N, C], C > 0, as an Arrow column of lists of C numbers."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), kind), values.shape[1])


def matrix_of(column: pa.ChunkedArray, width: int) -> np.ndarray:
    """The reverse of :func:`rows_of`: [N, width]."""
    flat: np.ndarray = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, width)
