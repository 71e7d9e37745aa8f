"""Read and write protobuf messages by a description of their fields, without the protobuf runtime.

A description names the fields that are wanted: ``{1: ("name", STRING), 2: ("boxes", repeated(message(BOX)))}``; fields
that it does not name are skipped. ``decode`` gives a dict: a singular field that the message lacks is absent (proto2:
absent is not zero), a repeated field is always there. Values: int, float, bool, bytes, str, dict; repeated numbers
become a numpy array (packed or not), repeated ``table`` messages become columns (for points by the thousand), other
repeated fields a list. Format: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_tools.wire_scan import ERRORS, fill_table, fixed_values, put_varints, scan, varint_values

MAX_BYTES = 1 << 27  # of a message: packed varints grow eightfold when decoded, and that must stay below 2 GB
MAX_DEPTH = 32
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """Bytes that are no such message; `offset` counts from the first byte given to ``decode``."""

    def __init__(self, what: str, offset: int) -> None:
        self.what, self.offset = what, offset
        super().__init__(f"{what} at byte {offset} of the message")


@dataclass(frozen=True)
class Kind:
    """Type of a field: `wire` is its wire type, `dtype` the numpy type of a number, `fields` those of a message."""

    name: str
    wire: int
    dtype: Any = None
    fields: Description | None = None
    repeated: bool = False
    packed: bool = False
    as_table: bool = False


Description = Mapping[int, tuple[str, Kind]]

INT32, INT64 = Kind("int32", VARINT, np.int32), Kind("int64", VARINT, np.int64)
UINT32, UINT64 = Kind("uint32", VARINT, np.uint32), Kind("uint64", VARINT, np.uint64)
SINT32, SINT64 = Kind("sint32", VARINT, np.int32), Kind("sint64", VARINT, np.int64)
BOOL, ENUM = Kind("bool", VARINT, np.bool_), Kind("enum", VARINT, np.int32)
DOUBLE, FLOAT = Kind("double", FIXED64, np.float64), Kind("float", FIXED32, np.float32)
FIXED_INT64, FIXED_INT32 = Kind("fixed64", FIXED64, np.uint64), Kind("fixed32", FIXED32, np.uint32)
BYTES, STRING = Kind("bytes", LENGTH), Kind("string", LENGTH)


def message(fields: Description) -> Kind:
    """A message inside a message."""
    return Kind("message", LENGTH, fields=fields)


def repeated(kind: Kind) -> Kind:
    """A repeated field; numbers are read packed or not and written unpacked."""
    return Kind(kind.name, kind.wire, kind.dtype, kind.fields, repeated=True)


def packed(kind: Kind) -> Kind:
    """A repeated number that is written packed (read either way)."""
    if kind.dtype is None:
        raise ValueError(f"a {kind.name} cannot be packed")
    return Kind(kind.name, kind.wire, kind.dtype, repeated=True, packed=True)


def table(fields: Description) -> Kind:
    """A repeated message of singular numbers, decoded as ``Columns``."""
    for name, kind in fields.values():
        if kind.dtype is None or kind.repeated:
            raise ValueError(f"a table holds single numbers, not {name} ({kind.name})")
    return Kind("message", LENGTH, fields=fields, repeated=True, as_table=True)


@dataclass(frozen=True)
class Columns:
    """N small messages as columns: values {name: [N]}, 0 where the field is absent; present {name: bool [N]}."""

    count: int
    values: dict[str, np.ndarray]
    present: dict[str, np.ndarray]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]


def decode(data: bytes | memoryview, description: Description) -> dict[str, Any]:
    """The fields that `description` names, from the bytes of one message.

    Raises:
        WireError: broken framing, a field of another wire type than described, text that is not UTF-8, nesting or
            size over the limits.
    """
    view = memoryview(data).cast("B")
    if len(view) > MAX_BYTES:
        raise WireError(f"{len(view)} bytes, more than {MAX_BYTES}", 0)
    return _decode(view, np.frombuffer(view, np.uint8), 0, len(view), description, 0)


def _decode(
    view: memoryview, array: np.ndarray, start: int, end: int, description: Description, depth: int
) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        raise WireError(f"messages nested deeper than {MAX_DEPTH}", start)
    tokens = _tokens(array, start, end)
    out: dict[str, Any] = {}
    many: dict[int, list[tuple[int, int, int]]] = {}
    for number, wire, at, value in tokens.tolist():
        field = description.get(number)
        if field is None:
            continue
        name, kind = field
        if kind.repeated:
            if wire != kind.wire and not (wire == LENGTH and kind.dtype is not None):
                raise _wrong_type(name, kind, wire, at)
            many.setdefault(number, []).append((wire, at, value))
        elif wire != kind.wire:
            raise _wrong_type(name, kind, wire, at)
        elif kind.fields is not None:
            found = _decode(view, array, at, at + value, kind.fields, depth + 1)
            if name in out:  # parts of one message, as protobuf says: later fields win
                found = {**out[name], **found}
            out[name] = found
        else:
            out[name] = _single(view, kind, at, value)
    for number, (name, kind) in description.items():
        if kind.repeated:
            out[name] = _repeated(view, array, kind, many.get(number, []), depth)
    return out


def _tokens(array: np.ndarray, start: int, end: int) -> np.ndarray:
    """int64 [T, 4] field number, wire type, where the value begins, the value itself or its length."""
    tokens, error, offset = scan(array, start, end)
    if error:
        raise WireError(ERRORS[error], offset)
    return tokens


def _wrong_type(name: str, kind: Kind, wire: int, at: int) -> WireError:
    return WireError(f"{name} has wire type {wire}, a {kind.name} has {kind.wire}", at)


def _single(view: memoryview, kind: Kind, at: int, value: int) -> Any:
    if kind.wire == LENGTH:
        data = bytes(view[at : at + value])
        return _text(data, at) if kind.name == "string" else data
    if kind.wire == VARINT:
        return _INTEGERS[kind.name](value)
    return struct.unpack_from(_FIXED[kind.name], view, at)[0]


def _text(data: bytes, at: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise WireError("text that is not UTF-8", at) from None


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _zigzag(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value >> 1 ^ -(value & 1)


_INTEGERS: dict[str, Callable[[int], Any]] = {
    "int32": lambda v: _signed(v, 32),
    "enum": lambda v: _signed(v, 32),
    "int64": lambda v: _signed(v, 64),
    "uint32": lambda v: v & 0xFFFFFFFF,
    "uint64": lambda v: v & 0xFFFFFFFFFFFFFFFF,
    "sint32": lambda v: _zigzag(v, 32),
    "sint64": lambda v: _zigzag(v, 64),
    "bool": lambda v: v != 0,
}
_FIXED = {"double": "<d", "float": "<f", "fixed64": "<Q", "fixed32": "<I"}


def _numbers(kind: Kind, raw: np.ndarray) -> np.ndarray:
    """Varints as they stand (int64 bit patterns) to the values of a kind."""
    if kind.name in ("sint32", "sint64"):
        bits = raw.view(np.uint64) if kind.name == "sint64" else raw.view(np.uint64) & np.uint64(0xFFFFFFFF)
        raw = (bits >> np.uint64(1)).view(np.int64) ^ -(bits & np.uint64(1)).view(np.int64)
    if kind.dtype is np.bool_:
        return raw != 0
    return raw.astype(kind.dtype)  # protobuf too cuts what does not fit


def _repeated(
    view: memoryview, array: np.ndarray, kind: Kind, found: list[tuple[int, int, int]], depth: int
) -> list[Any] | np.ndarray | Columns:
    if kind.as_table:
        return _table(array, kind, found)
    if kind.fields is not None:
        return [_decode(view, array, at, at + size, kind.fields, depth + 1) for _, at, size in found]
    if kind.dtype is None:
        return [_single(view, kind, at, size) for _, at, size in found]
    if len(found) == 1 and found[0][0] == LENGTH and kind.wire != VARINT:
        _, at, size = found[0]
        if size % np.dtype(kind.dtype).itemsize:
            raise WireError(f"{size} bytes of packed {kind.name}", at)
        return np.frombuffer(view[at : at + size], kind.dtype)
    rows = np.array(found, np.int64).reshape(-1, 3)
    if kind.wire == VARINT:
        raw, error, offset = varint_values(array, rows, LENGTH)
        if error:
            raise WireError(ERRORS[error], offset)
        return _numbers(kind, raw)
    width = np.dtype(kind.dtype).itemsize
    raw_bytes, error, offset = fixed_values(array, rows, LENGTH, width)
    if error:
        raise WireError(ERRORS[error], offset)
    return raw_bytes.view(kind.dtype)


def _table(array: np.ndarray, kind: Kind, found: list[tuple[int, int, int]]) -> Columns:
    assert kind.fields is not None
    rows = np.array(found, np.int64).reshape(-1, 3)
    numbers = np.array(list(kind.fields), np.int64)
    wires = np.array([field.wire for _, field in kind.fields.values()], np.int64)
    bits, present, error, offset = fill_table(array, rows, numbers, wires)
    if error:
        raise WireError(ERRORS[error], offset)
    values = {}
    for column, (name, field) in zip(bits, kind.fields.values(), strict=True):
        if field.wire == VARINT:
            values[name] = _numbers(field, column)
        elif field.wire == FIXED64:
            values[name] = column.view(field.dtype)
        else:
            values[name] = column.astype(np.uint32).view(field.dtype)
    return Columns(len(rows), values, {name: present[i] for i, (name, _) in enumerate(kind.fields.values())})


# --- writing ---------------------------------------------------------------------------------------------------------


def encode(values: Mapping[str, Any], description: Description) -> bytes:
    """The bytes of a message, fields in ascending order; absent and None fields are left out.

    Values are those that ``decode`` gives; a ``table`` takes a mapping {name: [N]}.

    Raises:
        ValueError: a name that the description does not have (a typing error would vanish silently).
    """
    names = {name for name, _ in description.values()}
    if unknown := sorted(set(values) - names):
        raise ValueError(f"fields {unknown} are not in the description")
    parts: list[bytes] = []
    for number in sorted(description):
        name, kind = description[number]
        value = values.get(name)
        if value is None:
            continue
        if kind.packed:
            parts += _head(number, LENGTH), *_sized(_packed(kind, value))
        elif kind.as_table:
            assert kind.fields is not None
            columns = value.values if isinstance(value, Columns) else value
            for row in zip(*columns.values(), strict=True):
                parts += _head(number, LENGTH), *_sized(encode(dict(zip(columns, row, strict=True)), kind.fields))
        else:
            for item in value if kind.repeated else [value]:
                parts += _head(number, kind.wire), *_value(kind, item)
    return b"".join(parts)


def varint(value: int) -> bytes:
    """A varint; negative numbers take ten bytes, as protobuf writes them."""
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _head(number: int, wire: int) -> bytes:
    return varint(number << 3 | wire)


def _sized(data: bytes) -> tuple[bytes, bytes]:
    return varint(len(data)), data


def _value(kind: Kind, value: Any) -> tuple[bytes, ...]:
    if kind.fields is not None:
        return _sized(encode(value, kind.fields))
    if kind.wire == LENGTH:
        return _sized(value.encode() if kind.name == "string" else bytes(value))
    if kind.wire == VARINT:
        number = int(value)
        return (varint(number << 1 ^ number >> 63 if kind.name.startswith("sint") else number),)
    return (struct.pack(_FIXED[kind.name], value),)


def _packed(kind: Kind, values: Any) -> bytes:
    array = np.ascontiguousarray(values, kind.dtype).reshape(-1)
    if kind.wire != VARINT:
        return array.astype(array.dtype.newbyteorder("<")).tobytes()
    raw = array.astype(np.int64)
    if kind.name.startswith("sint"):
        raw = raw << 1 ^ raw >> 63
    return put_varints(raw).tobytes()
