"""The compiled loops of the protobuf reader and writer: they look at bytes, never beyond the end they are given.

Each returns an error number (0 = none, else a key of ERRORS) and the offset where it was found.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

ERRORS = {
    1: "a varint without an end",
    2: "a field number that is not allowed",
    3: "a wire type that does not exist",
    4: "a value that reaches beyond the end",
    5: "a group without an end or a beginning",
    6: "packed numbers that do not fill their length",
    7: "a field of another wire type than described",
}
_MAX_GROUPS = 64


@njit(cache=True, nogil=True)
def read_varint(data: np.ndarray, at: int, end: int) -> tuple[Any, int]:
    """(value as int64 bit pattern, next offset); offset -1 where no varint of at most ten bytes ends before `end`."""
    value: Any = np.int64(0)
    shift = 0
    while at < end and shift < 70:
        byte = np.int64(data[at])
        at += 1
        value |= (byte & 127) << shift if shift < 64 else 0
        if byte < 128:
            return value, at
        shift += 7
    return np.int64(0), -1


@njit(cache=True, nogil=True)
def _walk(data: np.ndarray, start: int, end: int, out: np.ndarray) -> tuple[int, int, int]:
    """Tokens of one message into `out` (as many as fit): how many there are, error, offset."""
    groups = np.empty(_MAX_GROUPS, np.int64)
    depth, count, at = 0, 0, start
    while at < end:
        head = at
        key, at = read_varint(data, at, end)
        if at < 0:
            return count, 1, head
        number, wire = key >> 3, key & 7
        if number < 1 or number >= 1 << 29:
            return count, 2, head
        value: Any = np.int64(0)
        place = at
        if wire == 0:
            value, at = read_varint(data, at, end)
            if at < 0:
                return count, 1, place
        elif wire == 1 or wire == 5:
            at += 8 if wire == 1 else 4
            if at > end:
                return count, 4, place
        elif wire == 2:
            value, at = read_varint(data, at, end)
            if at < 0:
                return count, 1, place
            if value < 0 or value > end - at:
                return count, 4, place
            place = at
            at += value
        elif wire == 3:
            if depth == _MAX_GROUPS:
                return count, 5, head
            groups[depth] = number
            depth += 1
            continue
        elif wire == 4:
            if depth == 0 or groups[depth - 1] != number:
                return count, 5, head
            depth -= 1
            continue
        else:
            return count, 3, head
        if depth == 0:
            if count < len(out):
                out[count, 0], out[count, 1], out[count, 2], out[count, 3] = number, wire, place, value
            count += 1
    return (count, 5, end) if depth else (count, 0, 0)


@njit(cache=True, nogil=True)
def scan(data: np.ndarray, start: int, end: int) -> tuple[np.ndarray, int, int]:
    """Tokens int64 [T, 4] of the message data[start:end]: field number, wire type, offset of the value, the value
    (varint) or its length. Groups (an abandoned kind of nesting) are skipped."""
    out = np.empty((16, 4), np.int64)
    count, error, offset = _walk(data, start, end, out)
    if error == 0 and count > len(out):
        out = np.empty((count, 4), np.int64)
        count, error, offset = _walk(data, start, end, out)
    return out[: min(count, len(out))], error, offset


@njit(cache=True, nogil=True)
def varint_values(data: np.ndarray, found: np.ndarray, packed_wire: int) -> tuple[np.ndarray, int, int]:
    """int64 bit patterns of a repeated varint; found [T, 3] wire type, offset, value or length in bytes."""
    total = 0
    for i in range(len(found)):
        if found[i, 0] != packed_wire:
            total += 1
            continue
        for at in range(found[i, 1], found[i, 1] + found[i, 2]):
            total += data[at] < 128
    out = np.empty(total, np.int64)
    count = 0
    for i in range(len(found)):
        if found[i, 0] != packed_wire:
            out[count] = found[i, 2]
            count += 1
            continue
        at, end = found[i, 1], found[i, 1] + found[i, 2]
        while at < end:
            if data[at] < 128:  # most numbers are small
                out[count] = data[at]
                at += 1
            else:
                place = at
                value, at = read_varint(data, at, end)
                if at < 0:  # no room was counted for this one
                    return out, 1, place
                out[count] = value
            count += 1
    return out, 0, 0


@njit(cache=True, nogil=True)
def fixed_values(data: np.ndarray, found: np.ndarray, packed_wire: int, width: int) -> tuple[np.ndarray, int, int]:
    """Bytes uint8 [n * width] of a repeated fixed-width number; found as above."""
    total = 0
    for i in range(len(found)):
        size = found[i, 2] if found[i, 0] == packed_wire else width
        if size % width:
            return np.empty(0, np.uint8), 6, found[i, 1]
        total += size
    out = np.empty(total, np.uint8)
    count = 0
    for i in range(len(found)):
        size = found[i, 2] if found[i, 0] == packed_wire else width
        out[count : count + size] = data[found[i, 1] : found[i, 1] + size]
        count += size
    return out, 0, 0


@njit(cache=True, nogil=True)
def fill_table(
    data: np.ndarray, found: np.ndarray, numbers: np.ndarray, wires: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Small messages as columns: bit patterns int64 [F, N] and which are present bool [F, N]."""
    bits = np.zeros((len(numbers), len(found)), np.int64)
    present = np.zeros((len(numbers), len(found)), np.bool_)
    tokens = np.empty((64, 4), np.int64)
    for row in range(len(found)):
        start = found[row, 1]
        count, error, offset = _walk(data, start, start + found[row, 2], tokens)
        if error == 0 and count > len(tokens):
            tokens = np.empty((count, 4), np.int64)
            count, error, offset = _walk(data, start, start + found[row, 2], tokens)
        if error != 0:
            return bits, present, error, offset
        for i in range(count):
            for field in range(len(numbers)):
                if numbers[field] != tokens[i, 0]:
                    continue
                if tokens[i, 1] != wires[field]:
                    return bits, present, 7, tokens[i, 2]
                value = tokens[i, 3]
                if wires[field] != 0:
                    value = np.int64(0)
                    for k in range(8 if wires[field] == 1 else 4):
                        value |= np.int64(data[tokens[i, 2] + k]) << (8 * k)
                bits[field, row], present[field, row] = value, True
    return bits, present, 0, 0


@njit(cache=True, nogil=True)
def put_varints(values: np.ndarray) -> np.ndarray:
    """Bytes uint8 of int64 [N] numbers, one varint after the other."""
    out = np.empty(10 * len(values), np.uint8)
    count = 0
    for value in values:
        rest = np.uint64(value)
        while rest > np.uint64(127):
            out[count] = np.uint8(rest & np.uint64(127)) | np.uint8(128)
            count += 1
            rest >>= np.uint64(7)
        out[count] = np.uint8(rest)
        count += 1
    return out[:count].copy()
