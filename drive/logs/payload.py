"""What one record batch of a payload file holds: the points of a sweep, the bytes of an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from drive.errors import UserError
from drive.logs import coding, schema

_RAW = schema.points_payload({})
_QUANTISED = coding.quantised_payload({})


def _begins_with(batch: pa.RecordBatch, head: pa.Schema) -> bool:
    return batch.num_columns >= len(head) and all(batch.schema.field(i).equals(f) for i, f in enumerate(head))


def point_fields(schema_: pa.Schema) -> tuple[int, ...]:
    """Indices of the fields that `points_of` needs."""
    return tuple(range(len(_RAW) if schema_.names[:1] == _RAW.names else len(_QUANTISED)))


def points_of(batch: pa.RecordBatch, columns: int) -> np.ndarray | None:
    """Points float32 [P, columns], a read-only view where they are raw; None where the batch holds no such points."""
    if _begins_with(batch, _RAW):
        values = batch.column(0).values.to_numpy()
        return None if len(values) % columns else values.reshape(-1, columns)
    if not _begins_with(batch, _QUANTISED):
        return None
    try:
        step = float((batch.schema.metadata or {})[b"step_m"])
        low, high, rest = (batch.column(i).values.to_numpy() for i in range(3))
        return coding.decode(low, high, rest, columns, step)
    except (KeyError, ValueError):
        return None


def extra_columns(batch: pa.RecordBatch) -> dict[str, np.ndarray]:
    """The typed columns [P] that follow the points."""
    first = len(_RAW) if _begins_with(batch, _RAW) else len(_QUANTISED)
    return {batch.schema.names[i]: _flat(batch.column(i)) for i in range(first, batch.num_columns)}


def image_bytes(batch: pa.RecordBatch, file: Path) -> tuple[bytes, int, int]:
    """(bytes, width, height) of an image, read from where the log refers to if it holds no bytes itself.

    Raises:
        UserError: `file` holds no images; an image that is referred to is gone or has another size.
    """
    if not batch.schema.equals(schema.CAMERA_PAYLOAD) and not batch.schema.equals(schema.CAMERA_REFERENCE):
        raise UserError(file, "does not hold images", "convert this log again")
    data, *size, width, height = (column[0].as_py() for column in batch.columns)
    return (_referenced(Path(data), size[0], file) if size else data), width, height


def _referenced(path: Path, size: int, file: Path) -> bytes:
    mend = "put the raw images back, or convert again without --reference-images"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(path, f"{file} refers to this image, it cannot be read ({error.strerror})", mend) from error
    if len(data) != size:
        raise UserError(path, f"has {len(data)} bytes, {file} refers to an image of {size}", mend)
    return data


def _flat(column: pa.Array) -> np.ndarray:
    values = column.values
    return values.to_numpy(zero_copy_only=not pa.types.is_boolean(values.type))
