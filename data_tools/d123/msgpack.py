"""The part of MessagePack (msgpack.org) that 123D's metadata uses, both ways; numpy arrays in its convention."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

_MAX_DEPTH = 16
_FIXED = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i",
          0xD3: ">q"}  # fmt: skip
# Length prefix of the kinds: bytes, text, list, map.
_SIZED = {0xC4: ("bin", 1), 0xC5: ("bin", 2), 0xC6: ("bin", 4), 0xD9: ("str", 1), 0xDA: ("str", 2), 0xDB: ("str", 4),
          0xDC: ("list", 2), 0xDD: ("list", 4), 0xDE: ("map", 2), 0xDF: ("map", 4)}  # fmt: skip


class MsgpackError(ValueError):
    """Bytes that are no MessagePack of this kind, with their offset."""


def unpack(data: bytes) -> Any:
    """The value; arrays of 123D's convention become numpy arrays. Raises MsgpackError."""
    value, end = _value(data, 0, 0)
    if end != len(data):
        raise MsgpackError(f"byte {end}: {len(data) - end} bytes follow the value")
    return value


def _value(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > _MAX_DEPTH:
        raise MsgpackError(f"byte {at}: nested too deeply")
    if at >= len(data):
        raise MsgpackError(f"byte {at}: truncated")
    head = data[at]
    at += 1
    if head < 0x80:
        return head, at
    if head >= 0xE0:
        return head - 0x100, at
    if head in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[head], at
    if head in _FIXED:
        size = struct.calcsize(_FIXED[head])
        return struct.unpack(_FIXED[head], _take(data, at, size))[0], at + size
    if head < 0xC0:
        kind, count = ("map", head & 0x0F) if head < 0x90 else ("list", head & 0x0F)
        if head >= 0xA0:
            kind, count = "str", head & 0x1F
    elif head in _SIZED:
        kind, width = _SIZED[head]
        count = int.from_bytes(_take(data, at, width), "big")
        at += width
    else:
        raise MsgpackError(f"byte {at - 1}: type {head:#x} is not used here")
    return _sized(data, at, depth, kind, count)


def _sized(data: bytes, at: int, depth: int, kind: str, count: int) -> tuple[Any, int]:
    if kind in ("bin", "str"):
        raw = _take(data, at, count)
        try:
            return (raw if kind == "bin" else raw.decode()), at + count
        except UnicodeDecodeError as error:
            raise MsgpackError(f"byte {at}: text is not UTF-8 ({error.reason})") from None
    if count > len(data) - at:  # every element takes a byte
        raise MsgpackError(f"byte {at}: {count} elements in {len(data) - at} bytes")
    if kind == "list":
        values = []
        for _ in range(count):
            value, at = _value(data, at, depth + 1)
            values.append(value)
        return values, at
    entries: dict[Any, Any] = {}
    for _ in range(count):
        key, at = _value(data, at, depth + 1)
        if not isinstance(key, (str, bytes, int)):
            raise MsgpackError(f"byte {at}: a key of type {type(key).__name__}")
        entries[key], at = _value(data, at, depth + 1)
    return (_array(entries, at) if b"__ndarray__" in entries else entries), at


def _array(entries: dict[Any, Any], at: int) -> np.ndarray:
    shape, raw, name = entries.get(b"shape"), entries.get(b"data"), entries.get(b"dtype")
    if name not in ("<f8", "<f4", "<i8", "<i4") or not isinstance(raw, bytes) or not isinstance(shape, list):
        raise MsgpackError(f"byte {at}: an array of dtype {name!r}")
    dtype = np.dtype(name)
    sizes = [
        n for n in shape if isinstance(n, int) and 0 <= n <= len(raw) + 16
    ]  # + 16: the other sides of an empty array
    if len(sizes) != len(shape) or len(shape) > 4 or int(np.prod(sizes, dtype=object)) * dtype.itemsize != len(raw):
        raise MsgpackError(f"byte {at}: an array of shape {shape} in {len(raw)} bytes")
    return np.frombuffer(raw, dtype).reshape(sizes)


def _take(data: bytes, at: int, size: int) -> bytes:
    if size > len(data) - at:
        raise MsgpackError(f"byte {at}: truncated")
    return data[at : at + size]


def pack(value: Any) -> bytes:
    """Bytes of None, bool, int, float, str, bytes, list, tuple, dict and numpy arrays of these."""
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, (int, np.integer)):
        return _pack_int(int(value))
    if isinstance(value, (float, np.floating)):
        return struct.pack(">Bd", 0xCB, value)
    if isinstance(value, str):
        raw = value.encode()
        return _head(len(raw), 0xD9, 0xA0, 0x1F) + raw
    if isinstance(value, bytes):
        return _head(len(value), 0xC4, None, 0) + value
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        fields = {
            b"__ndarray__": True,
            b"dtype": array.dtype.str,
            b"shape": list(array.shape),
            b"data": array.tobytes(),
        }
        return pack(fields)
    if isinstance(value, (list, tuple)):
        return _head(len(value), 0xDC, 0x90, 0x0F) + b"".join(pack(v) for v in value)
    if isinstance(value, dict):
        return _head(len(value), 0xDE, 0x80, 0x0F) + b"".join(pack(k) + pack(v) for k, v in value.items())
    raise TypeError(f"MessagePack has no {type(value).__name__} here")


def _pack_int(value: int) -> bytes:
    if -32 <= value < 128:
        return struct.pack("b" if value < 0 else "B", value)
    return struct.pack(">Bq", 0xD3, value) if value < 0 else struct.pack(">BQ", 0xCF, value)


def _head(count: int, first: int, fixed: int | None, limit: int) -> bytes:
    """Length prefix: in the type's own byte where it fits, else 1 (texts, bytes), 2 or 4 bytes."""
    if fixed is not None and count <= limit:
        return bytes([fixed | count])
    widths = (1, 2, 4) if first in (0xC4, 0xD9) else (2, 4)
    for step, width in enumerate(widths):
        if count < 1 << (8 * width):
            return bytes([first + step]) + count.to_bytes(width, "big")
    raise ValueError(f"{count} elements are too many for MessagePack")
