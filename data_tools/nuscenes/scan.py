"""Columns of a JSON table without an object a record: one compiled pass over the file's bytes, on all cores.

The tables of nuScenes are lists of flat records that a program wrote: the same fields in the same order, the same
spaces. The first record tells what stands between two values (``Layout``); the pass then compares those bytes, reads
the values of the wanted columns and checks the others. Whatever departs from that (other order, escapes, letters
outside ASCII, nesting, damage) is not guessed at: ``NotFlatError``, and the standard library reads the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from drive.logs.json_layout import NotFlatError, learn_layout
from drive.logs.json_plan import PAD, RecordPlan
from drive.logs.json_records import read_records

BUFFER_BYTES = 1 << 20
RECORD_BYTES = 1 << 16  # a longer record is not looked at


@dataclass(frozen=True)
class Columns:
    """N records: byte offsets starts and ends int64 [N] (one past the last); columns by field.

    token: uint64 keys (data_tools.nuscenes.tables.token_keys); link: the same, 0 for "". whole: int64. real: float64
    [N], realK: float64 [N, K]. flag: bool. text: int64 [N, 2] byte offsets of the content.
    """

    starts: np.ndarray
    ends: np.ndarray
    values: dict[str, np.ndarray]


@dataclass
class _Part:
    """Columns of one range of the file, by kind; `end`: one past its last record."""

    starts: np.ndarray
    keys: np.ndarray
    wholes: np.ndarray
    reals: np.ndarray
    end: int


def _finish(plan: RecordPlan, parts: list[_Part]) -> dict[str, np.ndarray]:
    """Columns by name; the parts' own columns are let go one after the other."""
    keys = [_joined([part.keys[slot] for part in parts]) for slot in range(plan.sizes[0])]
    for part in parts:
        part.keys = part.keys[:0]
    wholes = parts[0].wholes if len(parts) == 1 else np.concatenate([part.wholes for part in parts], axis=1)
    for part in parts:
        part.wholes = part.wholes[:0]
    reals = _joined([part.reals for part in parts])
    return plan.by_name(keys, wholes, reals)


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def scan(path: Path, wanted: Mapping[str, str], *, threads: int | None = None) -> Columns:
    """Columns of a table, {field: kind}; see Columns. NotFlatError where the pass does not understand the file."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        layout = learn_layout(file.read(4 * RECORD_BYTES))
        if layout is None:
            raise NotFlatError  # so small that anybody may read it
        plan = RecordPlan(layout, wanted)
        count = threads or os.cpu_count() or 1
        begins = [len(layout.head)]
        for i in range(1, count if size > 32 * BUFFER_BYTES else 1):
            file.seek(size * i // count)
            found = file.read(2 * RECORD_BYTES).find(layout.between)
            if found < 0:
                raise NotFlatError
            begins.append(size * i // count + found + len(layout.between))
    ends = [*(begin - len(layout.between) for begin in begins[1:]), -1]
    with ThreadPoolExecutor(len(begins)) as pool:
        parts = list(pool.map(lambda begin, end: _scan_range(path, plan, begin, end, size), begins, ends))
    starts = _joined([part.starts for part in parts])
    # A record ends where the next begins, less what stands between; the last one's end is in the last part.
    finish = np.empty_like(starts)
    finish[:-1] = starts[1:] - (len(layout.between) - plan.lead)
    finish[-1] = parts[-1].end
    return Columns(starts, finish, _finish(plan, parts))


def _scan_range(path: Path, plan: RecordPlan, begin: int, end: int, size: int) -> _Part:
    """Records whose first value stands at `begin` and on, up to the record that ends at `end` (-1: the file's last)."""
    buffer = np.zeros(BUFFER_BYTES + PAD, np.uint8)
    view = buffer.data[:BUFFER_BYTES]
    # Room for as many records as could be there; the system gives memory only to what is written.
    room = ((end if end >= 0 else size) - begin) // plan.shortest + 2
    starts, keys = np.empty(room, np.int64), np.empty((plan.sizes[0], room), np.uint64)
    wholes, reals = np.empty((plan.sizes[1], room), np.int64), np.empty((room, plan.sizes[2]))
    step = int(plan.cut[-1] - plan.cut[-2])
    count, position = 0, begin
    with open(path, "rb", buffering=0) as file:
        while True:
            file.seek(position)
            want = BUFFER_BYTES if end < 0 else min(BUFFER_BYTES, end - position)
            got = _fill(file, view[:want])
            buffer[got : got + PAD] = 0
            rows, behind, stopped = read_records(
                buffer, 0, got, position, plan.literal, plan.cut, plan.kind, plan.width, plan.column, starts, keys,
                wholes, reals, plan.lead, count,
            )  # fmt: skip
            if rows == count:
                raise NotFlatError
            count, here = rows, position + behind
            last = stopped and end < 0 and size - here <= PAD
            if last:
                file.seek(here)
                if file.read(PAD).strip() != b"]":
                    raise NotFlatError
            if last or here == end:
                return _Part(starts[:count], keys[:, :count], wholes[:, :count], reals[:count], here)
            if stopped and got - behind > step + PAD:
                raise NotFlatError
            position = here + step  # checked there: `between` must stand before it
            if not _stands_before(file, plan, position):
                raise NotFlatError


def _fill(file: BinaryIO, view: memoryview) -> int:
    got = 0
    while got < len(view):
        n = file.readinto(view[got:])  # type: ignore[attr-defined]
        if not n:
            break
        got += n
    return got


def _stands_before(file: BinaryIO, plan: RecordPlan, position: int) -> bool:
    between = plan.literal[plan.cut[-2] : plan.cut[-1]].tobytes()
    file.seek(position - len(between))
    return file.read(len(between)) == between
