"""Columns of a submission by one compiled pass over its bytes: a tenth of the time that objects would take.

A file that a program wrote has one shape of box: the same fields in the same order. The pass learns it from the first
box (drive.logs.json_layout), reads the wanted fields and checks the others. Whatever departs from that shape, is
damaged or wrong is not guessed at: ``NotFlatError``, and drive.scores.submission_file reads the objects and names the
fault.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from drive.logs.json_layout import NotFlatError, learn_layout
from drive.logs.json_literals import string_end
from drive.logs.json_plan import PAD, RecordPlan
from drive.logs.json_records import gap, read_records, same

_DECODER = json.JSONDecoder()
_SPACE = b" \t\r\n"
_HEAD_BYTES = 1 << 16  # the meta block and the first box lie in so many bytes


@dataclass(frozen=True)
class Scanned:
    """meta as it stands there; keys: the frames in the file's order; counts int64 [F]: boxes of each; columns by field.

    text: the file's bytes, into which text columns (int64 [N, 2]) point.
    """

    meta: Any
    keys: list[str]
    counts: np.ndarray
    columns: dict[str, np.ndarray]
    text: np.ndarray


@njit(cache=True, nogil=True)
def _frames(
    data: np.ndarray, at: int, limit: int, literal: np.ndarray, cut: np.ndarray, kind: np.ndarray, width: np.ndarray,
    column: np.ndarray, lead: int, starts: np.ndarray, keys: np.ndarray, wholes: np.ndarray, reals: np.ndarray,
    names: np.ndarray, counts: np.ndarray,
) -> tuple[int, int, int]:  # fmt: skip
    """Frames of the object that begins at `at`; (frames, boxes, first byte behind its brace), frames -1: not flat."""
    frames, count = 0, 0
    if data[at] != 123:
        return -1, 0, at
    at = gap(data, at + 1)
    if data[at] == 125:
        return 0, 0, at + 1
    first = cut[len(kind) + 1] - lead
    while frames < len(names):
        if at >= limit or data[at] != 34:
            return -1, 0, at
        end = string_end(data, at + 1, limit)
        if end < 0:
            return -1, 0, at
        names[frames, 0], names[frames, 1] = at + 1, end
        at = gap(data, end + 1)
        if data[at] != 58:
            return -1, 0, at
        at = gap(data, at + 1)
        if data[at] != 91:
            return -1, 0, at
        at = gap(data, at + 1)
        before = count
        if data[at] != 93:
            if not same(data, at, literal, first, first + lead):
                return -1, 0, at
            count, at, stopped = read_records(
                data, at + lead, limit, 0, literal, cut, kind, width, column, starts, keys, wholes, reals, lead, count
            )
            if not stopped or count == before:
                return -1, 0, at
            at = gap(data, at)
            if data[at] != 93:
                return -1, 0, at
        counts[frames] = count - before
        frames += 1
        at = gap(data, at + 1)
        if data[at] == 125:
            return frames, count, at + 1
        if data[at] != 44:
            return -1, 0, at
        at = gap(data, at + 1)
    return -1, 0, at


@njit(cache=True, nogil=True)
def _codes(data: np.ndarray, places: np.ndarray, names: np.ndarray, cut: np.ndarray, found: np.ndarray) -> bool:
    """Which of `names` (cut into pieces) each text is; False where one is none of them."""
    last = 0
    for i in range(len(places)):
        start, length = places[i, 0], places[i, 1] - places[i, 0]
        hit = -1
        for step in range(len(cut) - 1):
            n = (last + step) % (len(cut) - 1)  # most often the same as before
            if cut[n + 1] - cut[n] == length and same(data, start, names, cut[n], cut[n + 1]):
                hit = n
                break
        if hit < 0:
            return False
        found[i] = last = hit
    return True


def codes(scanned: Scanned, field: str, names: Sequence[str]) -> np.ndarray:
    """Index of each text of a column in `names`, int64 [N]; NotFlatError where one is not among them."""
    encoded = [name.encode() for name in names]
    cut = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
    table = np.frombuffer(b"".join(encoded) + bytes(PAD), np.uint8)
    found = np.zeros(len(scanned.columns[field]), np.int64)
    if not _codes(scanned.text, np.ascontiguousarray(scanned.columns[field]), table, cut, found):
        raise NotFlatError
    return found


def texts(scanned: Scanned, field: str) -> list[str]:
    """A text column as strings."""
    data = scanned.text.data
    return [bytes(data[a:b]).decode("ascii") for a, b in scanned.columns[field].tolist()]


def scan_submission(path: Path, wanted: dict[str, str]) -> Scanned:
    """Read a submission; `wanted`: field of a box to kind, as drive.logs.json_plan.RecordPlan.

    A field "a|b" is of kind "text" or "whole", whichever its first value is. OSError as reading a file;
    NotFlatError: see above.
    """
    size = os.stat(path).st_size
    data = np.zeros(size + PAD, np.uint8)
    with open(path, "rb", buffering=0) as file:
        view, got = data.data[:size], 0
        while got < size:
            n = file.readinto(view[got:])
            if not n:
                raise NotFlatError  # it grew shorter meanwhile
            got += n
    at = _skip(data, 0, b"{")
    meta: Any = None
    found: tuple[list[str], np.ndarray, dict[str, np.ndarray]] | None = None
    seen: set[str] = set()
    while True:
        name, at = _value(data, _blank(data, at))
        if not isinstance(name, str) or name in seen:
            raise NotFlatError
        seen.add(name)
        at = _blank(data, _skip(data, at, b":"))
        if name == "results":
            found, at = _results(data, at, size, wanted)
        else:
            value, at = _value(data, at)
            meta = value if name == "meta" else meta
        at = _blank(data, at)
        if data[at] == ord("}"):
            break
        at = _skip(data, at, b",")
    if found is None or _blank(data, at + 1) != size:
        raise NotFlatError
    return Scanned(meta, *found, data)


def _results(
    data: np.ndarray, at: int, size: int, wanted: dict[str, str]
) -> tuple[tuple[list[str], np.ndarray, dict[str, np.ndarray]], int]:
    head = bytes(data[at : at + _HEAD_BYTES])
    box = head.find(b"{", 1)
    bracket = head.rfind(b"[", 0, max(box, 0))
    if bracket < 0:
        raise NotFlatError  # no box near the beginning: the objects are few
    layout = learn_layout(head[bracket:])
    if layout is None:
        raise NotFlatError
    kinds = {name: _kind_of(head[bracket:], name) if kind == "a|b" else kind for name, kind in wanted.items()}
    plan = RecordPlan(layout, kinds)
    room = (size - at) // plan.shortest + 2
    starts, keys = np.empty(room, np.int64), np.empty((plan.sizes[0], room), np.uint64)
    wholes, reals = np.empty((plan.sizes[1], room), np.int64), np.empty((room, plan.sizes[2]))
    most = (size - at) // 6 + 2  # "":[],
    names, counts = np.empty((most, 2), np.int64), np.empty(most, np.int64)
    frames, count, behind = _frames(
        data, at, size, plan.literal, plan.cut, plan.kind, plan.width, plan.column, plan.lead, starts, keys, wholes,
        reals, names, counts,
    )  # fmt: skip
    if frames < 0:
        raise NotFlatError
    view = data.data
    frame_keys = [bytes(view[a:b]).decode("ascii") for a, b in names[:frames].tolist()]
    if len(set(frame_keys)) != frames:
        raise NotFlatError
    columns = plan.by_name(list(keys[:, :count]), wholes[:, :count], reals[:count])
    return (frame_keys, counts[:frames], columns), behind


def _kind_of(head: bytes, name: str) -> str:
    """Kind of a field by the first box."""
    box, _ = _DECODER.raw_decode(head[1:].decode("ascii").lstrip())
    return "whole" if type(box.get(name)) is int else "text"


def _blank(data: np.ndarray, at: int) -> int:
    while at < len(data) - PAD and data[at] in _SPACE:
        at += 1
    return at


def _skip(data: np.ndarray, at: int, sign: bytes) -> int:
    at = _blank(data, at)
    if data[at] != sign[0]:
        raise NotFlatError
    return at + 1


def _value(data: np.ndarray, at: int) -> tuple[Any, int]:
    """A small value of the top level and where it ends."""
    try:
        value, length = _DECODER.raw_decode(bytes(data[at : at + _HEAD_BYTES]).rstrip(b"\0").decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise NotFlatError from error
    return value, at + length
