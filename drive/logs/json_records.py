"""The compiled pass over a buffer of records: values of the wanted columns, the others checked and left.

For whoever edits this or json_literals: numba's cache of a caller in another file does not see the change; remove the
__pycache__ of drive/logs and drive/scores.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from drive.logs.json_bits import load64
from drive.logs.json_literals import real_number, string_end, token_key, whole_number

SKIP, TOKEN, LINK, WHOLE, REAL, FLAG, TEXT = range(7)


@njit(cache=True, nogil=True)
def same(data: np.ndarray, at: int, wanted: np.ndarray, start: int, end: int) -> bool:
    """Whether ``data[at:]`` begins with ``wanted[start:end]``; both have 8 bytes to spare."""
    length = end - start
    i = 0
    while i + 8 <= length:
        if load64(data, at + i) != load64(wanted, start + i):
            return False
        i += 8
    while i < length:
        if data[at + i] != wanted[start + i]:
            return False
        i += 1
    return True


@njit(cache=True, nogil=True)
def _skip_atom(data: np.ndarray, at: int, limit: int) -> int:
    """End of a string, number, true, false or null; -1 where it is none of them for certain."""
    c = data[at]
    if c == 34:
        end = string_end(data, at + 1, limit)
        return end + 1 if end >= 0 else -1
    if c == 45 or c == 78 or 48 <= c <= 57:
        _, end = real_number(data, at)
        return end
    word = load64(data, at) & np.uint64(0xFFFFFFFF)
    if word == np.uint64(0x65757274) or word == np.uint64(0x6C6C756E):  # true, null
        return at + 4
    if word == np.uint64(0x736C6166) and data[at + 4] == 101:  # false
        return at + 5
    return -1


@njit(cache=True, nogil=True)
def gap(data: np.ndarray, at: int) -> int:
    """The first byte from `at` on that is no space."""
    while data[at] == 32 or data[at] == 10 or data[at] == 13 or data[at] == 9:
        at += 1
    return at


@njit(cache=True, nogil=True)
def _skip_value(data: np.ndarray, at: int, limit: int) -> int:
    """End of an atom or of a list of atoms or of lists of atoms (camera_intrinsic)."""
    if data[at] != 91:
        return _skip_atom(data, at, limit)
    depth = 1
    at = gap(data, at + 1)
    if data[at] == 93:
        return at + 1
    while at < limit:
        if data[at] == 91:
            depth += 1
            if depth > 2:
                return -1
            at = gap(data, at + 1)
            continue
        at = _skip_atom(data, at, limit)
        if at < 0:
            return -1
        at = gap(data, at)
        while data[at] == 93:
            depth -= 1
            at += 1
            if depth == 0:
                return at
            at = gap(data, at)
        if data[at] != 44:
            return -1
        at = gap(data, at + 1)
    return -1


@njit(cache=True, nogil=True)
def read_records(
    data: np.ndarray, at: int, limit: int, base: int, literal: np.ndarray, cut: np.ndarray, kind: np.ndarray,
    width: np.ndarray, column: np.ndarray, starts: np.ndarray, keys: np.ndarray, wholes: np.ndarray,
    reals: np.ndarray, lead: int, count: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Read records from `at`, where a first value stands, into the rows from `count` on.

    Returns (rows filled in all, first byte behind the last record, stopped).

    stopped: 0 = another record begins where the last ended, but does not end in these bytes or is not understood;
    1 = no record follows the last.
    """
    fields = len(kind)
    behind = at
    while count < len(starts):
        start = at - lead
        good = True
        for k in range(fields):
            what, slot = kind[k], column[k]
            if what == SKIP:
                at = _skip_value(data, at, limit)
            elif what in (TOKEN, LINK):
                if what == LINK and data[at] == 34 and data[at + 1] == 34:
                    keys[slot, count] = 0
                    at += 2
                elif data[at] != 34 or data[at + 33] != 34:
                    at = -1
                else:
                    key, known = token_key(data, at + 1)
                    keys[slot, count] = key
                    at = at + 34 if known else -1
            elif what == WHOLE:
                wholes[slot, count], at = whole_number(data, at)
            elif what == TEXT:
                end = string_end(data, at + 1, limit) if data[at] == 34 else -1
                wholes[slot, count] = base + at + 1
                wholes[slot + 1, count] = base + end
                at = end + 1 if end >= 0 else -1
            elif what == FLAG:
                end = _skip_atom(data, at, limit)
                wholes[slot, count] = data[at] == 116
                at = end if data[at] == 116 or data[at] == 102 else -1
            else:
                listed = width[k] > 0
                if listed:
                    at = gap(data, at + 1) if data[at] == 91 else -1
                for i in range(max(width[k], 1)):
                    if at < 0:
                        break
                    reals[count, slot + i], at = real_number(data, at)
                    if listed and at >= 0:
                        at = gap(data, at)
                        ends = i + 1 == width[k]
                        if data[at] != (93 if ends else 44):
                            at = -1
                        else:
                            at = at + 1 if ends else gap(data, at + 1)
            if at < 0 or at >= limit or not same(data, at, literal, cut[k], cut[k + 1]):
                good = False
                break
            at += cut[k + 1] - cut[k]
        if not good or at > limit:
            return count, behind, 0
        starts[count] = base + start
        count += 1
        behind = at
        if not same(data, at, literal, cut[fields], cut[fields + 1]):
            return count, behind, 1
        at += cut[fields + 1] - cut[fields]
    return count, behind, 0
