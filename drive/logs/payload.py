"""What one record batch of a payload file holds: the points of a sweep, the bytes of an image; made and read here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from drive.errors import UserError
from drive.logs import coding, schema
from drive.logs.choice import PointCoding
from drive.logs.tables import one_list

_RAW = schema.points_payload({})
_QUANTISED = coding.quantised_payload({})


def points_batch(
    sensor: str, points: np.ndarray, columns: int, extra: Mapping[str, np.ndarray], form: PointCoding, place: str
) -> tuple[pa.Schema, list[pa.Array]]:
    """(schema, arrays) of a sweep: points float32 [P, columns], `extra` typed columns [P].

    Raises:
        ValueError: another type or shape (a programming error).
        UserError: naming `place`: a point that cannot be quantised.
    """
    if points.dtype != np.float32 or points.ndim != 2 or points.shape[1] != columns:
        raise ValueError(f"points of {sensor!r}: float32 [P, {columns}], not {points.dtype} {points.shape}")
    for name, values in extra.items():
        if values.shape != (len(points),):
            raise ValueError(f"extra column {name!r} has shape {values.shape}, not ({len(points)},)")
    types = {name: pa.from_numpy_dtype(values.dtype) for name, values in extra.items()}
    further = [one_list(values, types[name]) for name, values in extra.items()]
    if form != "quantised":
        return schema.points_payload(types), [one_list(points, pa.float32()), *further]
    try:
        low, high, rest = coding.encode(points)
    except ValueError as error:
        mend = "mend the source, or keep the points exact (--points lz4)"
        raise UserError(place, f"cannot be quantised: {error}", mend) from error
    head = [one_list(low, pa.uint16()), one_list(high, pa.int16()), one_list(rest, pa.float32())]
    return coding.quantised_payload(types), [*head, *further]


def image_batch(data: bytes, width: int, height: int, reference: Path | None) -> tuple[pa.Schema, list[pa.Array]]:
    """(schema, arrays) of an image: its bytes, or where its file is."""
    size = [pa.array([width], pa.int32()), pa.array([height], pa.int32())]
    if reference is None:
        return schema.CAMERA_PAYLOAD, [pa.array([data], pa.binary()), *size]
    path = [pa.array([str(reference.resolve())], pa.string()), pa.array([len(data)], pa.int64())]
    return schema.CAMERA_REFERENCE, [*path, *size]


def _begins_with(batch: pa.RecordBatch, head: pa.Schema) -> bool:
    return batch.num_columns >= len(head) and all(batch.schema.field(i).equals(f) for i, f in enumerate(head))


def point_fields(schema_: pa.Schema) -> tuple[int, ...]:
    """Indices of the fields that `points_of` needs."""
    return tuple(range(len(_RAW) if schema_.names[:1] == _RAW.names else len(_QUANTISED)))


def points_of(batch: pa.RecordBatch, columns: int) -> np.ndarray | None:
    """Points float32 [P, columns], a read-only view where they are raw; None where the batch holds no such points."""
    if _begins_with(batch, _RAW):
        values = batch.column(0).values.to_numpy()
        return None if columns == 0 or len(values) % columns else values.reshape(-1, columns)
    if not _begins_with(batch, _QUANTISED):
        return None
    try:
        if columns < 3:
            return None
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
