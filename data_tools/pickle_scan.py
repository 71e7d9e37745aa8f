"""One pass over the opcodes of a pickle before anything is built: structure, lengths, memory.

The standard unpickler trusts its input: a forged index of the memo or a forged length allocates gigabytes, a file of
empty dictionaries grows a hundredfold, a tuple nested deeply enough overruns the processor's stack when it is hashed.
The scan plays the pickle's stack with weights in place of objects and refuses such files with the byte's offset.
Opcodes: the Python standard library's ``pickletools``, from whose description the tables here are made.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass

import numba
import numpy as np

MAX_MEMORY = 1_500_000_000  # bytes that the objects of one pickle may take, roughly
MAX_KEY_WEIGHT = 64  # objects in a dictionary key or an element of a set
_MAX_INTEGER = 1024  # bytes or digits of one integer

# What follows an opcode: nothing or n bytes (>= 0), text lines, or a length of so many bytes and then a payload.
_LINE, _TWO_LINES, _LENGTH1, _LENGTH4, _LENGTH8 = -1, -2, -3, -4, -5
_ARGUMENTS = {-1: _LINE, -2: _LENGTH1, -3: _LENGTH4, -4: _LENGTH4, -5: _LENGTH8}  # pickletools' numbers

# Roles of opcodes in the simulation.
_PLAIN, _MARK, _POP, _DUP, _GET, _PUT, _MEMOIZE, _TUPLE, _KEYED, _ELEMENTS, _STOP, _BASE, _REFUSED = range(13)
_ROLES = {
    "MARK": _MARK, "POP": _POP, "DUP": _DUP, "STOP": _STOP, "MEMOIZE": _MEMOIZE,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _GET), **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _PUT),
    **dict.fromkeys(("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"), _TUPLE),
    **dict.fromkeys(("DICT", "SETITEM", "SETITEMS"), _KEYED), **dict.fromkeys(("ADDITEMS", "FROZENSET"), _ELEMENTS),
    **dict.fromkeys(("APPEND", "APPENDS", "BUILD"), _BASE),
    # Objects from outside the file: an extension registry, persistent ids, buffers handed over beside the pickle.
    **dict.fromkeys(
        ("EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER", "NEWOBJ", "NEWOBJ_EX"),
        _REFUSED,
    ),
}  # fmt: skip
# Bytes that an object takes beside its payload, where it is not an ordinary small one.
_COSTS = {"EMPTY_SET": 232, "FROZENSET": 232, "EMPTY_DICT": 240, "DICT": 240, "SETITEM": 64, "SETITEMS": 64}
_CHEAP = ("NONE", "NEWTRUE", "NEWFALSE", "EMPTY_TUPLE", "GET", "BINGET", "LONG_BINGET", "DUP", "MARK", "BUILD")

_FAULTS = {
    1: "the file ends in the middle",
    2: "byte {value:#04x} is not a pickle opcode",
    3: "a length of {value} bytes goes beyond the end of the file",
    4: "an object is taken that is not there",
    5: "memo index {value} was never stored or is far too large",
    6: f"a key of more than {MAX_KEY_WEIGHT} objects, or one that cannot be a key",
    7: f"its objects would take more than {MAX_MEMORY / 1e9:g} GB",
    8: f"an integer of {{value}} bytes (at most {_MAX_INTEGER})",
    9: "opcode {name} needs objects from outside the file, or makes one of a class that is not allowed",
    10: "the end marker comes with {value} objects on the stack",
}


class PickleError(ValueError):
    """What is wrong with a pickle, in words, and at which byte."""

    def __init__(self, what: str, offset: int | None = None) -> None:
        self.what, self.offset = what, offset
        super().__init__(what if offset is None else f"byte {offset}: {what}")


@dataclass(frozen=True)
class _Tables:
    argument: np.ndarray  # int64 [256]
    role: np.ndarray  # int64 [256]; -1 = no such opcode
    pops: np.ndarray  # objects taken below the mark, or from the top where no mark is used
    marked: np.ndarray  # bool: takes everything above the last mark as well
    pushes: np.ndarray
    cost: np.ndarray
    integer: np.ndarray  # bool


def _tables() -> _Tables:
    tables = _Tables(*(np.full(256, -1 if i == 1 else 0, np.int64) for i in range(7)))
    for op in pickletools.opcodes:
        code, kind = ord(op.code), op.arg
        before = [item.name for item in op.stack_before]
        if kind is not None:
            two = kind.name == "stringnl_noescape_pair"
            tables.argument[code] = _TWO_LINES if two else kind.n if kind.n >= 0 else _ARGUMENTS[kind.n]
            tables.integer[code] = kind.name in ("long1", "long4", "decimalnl_short", "decimalnl_long")
        tables.role[code] = _ROLES.get(op.name, _PLAIN)
        tables.marked[code] = "mark" in before
        tables.pops[code] = before.index("mark") if "mark" in before else len(before)
        tables.pushes[code] = len(op.stack_after)
        grows = len(op.stack_after) > 0 and op.name not in _CHEAP
        tables.cost[code] = _COSTS.get(op.name, 64 if grows else 16)
    return tables


_TABLES = _tables()


@numba.njit(cache=True, nogil=True)
def _scan(
    data: np.ndarray, argument: np.ndarray, roles: np.ndarray, pops: np.ndarray, marked: np.ndarray,
    pushes: np.ndarray, costs: np.ndarray, integer: np.ndarray, max_memory: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Fault number (0 = none), the opcode's offset and a value for the message."""
    size = len(data)
    stack = np.empty(size + 1, np.int16)  # weight of every object on it
    marks = np.empty(size + 1, np.int64)
    memo = np.full(size // 2 + 512, -1, np.int16)
    top, num_marks, memory, stored = 0, 0, 0, 0
    at = 0
    while at < size:
        start = at
        code = data[at]
        role = roles[code]
        at += 1
        if role < 0:
            return 2, start, code
        if role == 12:
            return 9, start, code
        # --- the argument
        kind, number = argument[code], 0
        if kind >= 0:
            if at + kind > size:
                return 1, start, 0
            if kind <= 4:
                for i in range(kind):
                    number |= int(data[at + i]) << (8 * i)
            else:  # FRAME and BINFLOAT: the frame's length is checked by its high bytes as well
                for i in range(8):
                    number |= int(data[at + i]) << (8 * i)
                if code == 0x95 and (number < 0 or number > size - at - 8):
                    return 3, start, number
            at += kind
        elif kind == -1 or kind == -2:
            for _ in range(-kind):
                first = at
                while at < size and data[at] != 10:
                    if role == 4 or role == 5:
                        if data[at] < 48 or data[at] > 57 or at - first > 9:
                            return 5, start, 0
                        number = 10 * number + data[at] - 48
                    at += 1
                if at == size:
                    return 1, start, 0
                at += 1
            if integer[code] and at - start > 1024:
                return 8, start, at - start
        else:
            width = 1 if kind == -3 else 4 if kind == -4 else 8
            if at + width > size:
                return 1, start, 0
            for i in range(width):
                number |= int(data[at + i]) << (8 * i)
            at += width
            if number < 0 or number > size - at:
                return 3, start, number
            if integer[code] and number > 1024:
                return 8, start, number
            at += number
            memory += number
        memory += costs[code]
        if memory > max_memory:
            return 7, start, 0
        # --- the stack
        fence = marks[num_marks - 1] if num_marks else 0
        if role == 1:
            marks[num_marks] = top
            num_marks += 1
        elif role == 10:
            return (10, start, top) if top != 1 or num_marks else (0, at, 0)
        elif role == 2 and top == fence:
            if not num_marks:
                return 4, start, 0
            num_marks -= 1
        elif role == 5 or role == 6:
            if top == fence:
                return 4, start, 0
            if role == 6:
                number = stored
            if number > stored + 256:
                return 5, start, number
            memo[number] = stack[top - 1]
            stored += 1
        elif role == 4:
            if number >= len(memo) or memo[number] < 0:
                return 5, start, number
            stack[top] = memo[number]
            top += 1
        else:
            base = top
            if marked[code]:
                if not num_marks:
                    return 4, start, 0
                num_marks -= 1
                base = fence
                fence = marks[num_marks - 1] if num_marks else 0
            low = base - pops[code]
            if low < fence:
                return 4, start, 0
            weight = 1
            if role == 7:
                for i in range(low, top):
                    weight = min(weight + stack[i], 1000)
            elif role == 8 or role == 9:
                first = base if marked[code] else low + 1
                step = 2 if role == 8 else 1
                if role == 8 and (top - first) % 2:
                    return 4, start, 0
                for i in range(first, top, step):
                    if stack[i] > 64:
                        return 6, start, 0
            elif role == 3:
                weight = stack[low]
            top = low
            for _ in range(pushes[code]):
                stack[top] = weight
                top += 1
    return 1, size, 0


def scan(data: bytes) -> int:
    """Check a pickle's opcodes up to its end marker and return how many bytes they take.

    Raises:
        PickleError: the file is cut, damaged, or would grow beyond MAX_MEMORY.
    """
    t = _TABLES
    fault, offset, value = _scan(
        np.frombuffer(data, np.uint8), t.argument, t.role, t.pops, t.marked, t.pushes, t.cost, t.integer, MAX_MEMORY
    )
    if fault:
        names = {ord(op.code): op.name for op in pickletools.opcodes}
        raise PickleError(_FAULTS[fault].format(value=value, name=names.get(value, "?")), offset)
    return int(offset)
