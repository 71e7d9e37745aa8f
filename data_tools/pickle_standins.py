"""Stand-ins for numpy's arrays and dtypes while a pickle is read, and their replacement by the real things.

Numpy's own reconstruction is not called: its ``dtype.__setstate__`` believes a forged state and an object array
believes a forged length, both of which crash the process. Arrays and dtypes are rebuilt here from checked parts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from data_tools.pickle_scan import PickleError

_SIMPLE_DTYPE = re.compile(r"[?bhilqBHILQefdgFDOSUV]|b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|O8|[SUV]\d{1,7}")
_MAX_DIMENSIONS = 32
_LEAVES = frozenset((type(None), bool, int, float, complex, str, bytes, bytearray, set, frozenset))


class Call:
    """A name that a pickle may call. No attribute of it can be set, so that nothing outlives the reading."""

    __slots__ = ("_function", "_name")
    _function: Callable[..., Any] | None
    _name: str

    def __init__(self, name: str, function: Callable[..., Any] | None) -> None:
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any) -> Any:
        if self._function is None:
            raise PickleError(f"{self._name} may be named but not called")
        return self._function(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise PickleError(f"an attribute of {self._name} is set")

    def __setstate__(self, state: Any) -> None:
        raise PickleError(f"the state of {self._name} is set")


class Dtype:
    """A dtype that is being rebuilt: REDUCE gives its text, BUILD its byte order and fields."""

    __slots__ = ("text", "value")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, text: Any, align: Any = False, copy: Any = False) -> None:
        if not isinstance(text, str) or not _SIMPLE_DTYPE.fullmatch(text):
            raise PickleError(f"numpy dtype {str(text)[:40]!r} is not a plain one")
        self.text = text
        self.value = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or not 8 <= len(state) <= 9 or state[1] not in ("<", ">", "|", "="):
            raise PickleError("numpy dtype with an unknown state")
        order, subarray, names, fields = state[1], state[2], state[3], state[4]
        if subarray is not None:
            raise PickleError("numpy dtype of arrays is not a plain one")
        if names is None:
            self.value = np.dtype(self.text).newbyteorder(order)
            return
        if self.value.kind != "V" or not isinstance(fields, dict) or not isinstance(names, tuple):
            raise PickleError("numpy dtype with damaged fields")
        parts = [fields[name] for name in names]
        if any(not isinstance(kind, Dtype) or kind.value.hasobject for kind, *_ in parts):
            raise PickleError("numpy dtype with fields that are not plain")
        self.value = np.dtype(
            {
                "names": list(names),
                "formats": [kind.value for kind, *_ in parts],
                "offsets": [offset for _, offset, *_ in parts],
                "itemsize": self.value.itemsize,
            }
        )


class Array:
    """An array that is being rebuilt; `value` is None until BUILD gives its contents."""

    __slots__ = ("_charge", "value")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, charge: Callable[[int], None]) -> None:
        self._charge = charge
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise PickleError("numpy array with an unknown state")
        shape, dtype, fortran, raw = state[-4:]
        if not isinstance(dtype, Dtype):
            raise PickleError("numpy array without a dtype")
        if dtype.value.hasobject:
            if not isinstance(raw, list):
                raise PickleError("numpy array of objects without a list of them")
            self.value = _object_array(raw, shape, bool(fortran), self._charge)
        else:
            self.value = plain_array(raw, dtype.value, shape, "F" if fortran else "C", self._charge)


def _count(shape: Any) -> int:
    if not isinstance(shape, tuple) or len(shape) > _MAX_DIMENSIONS:
        raise PickleError("numpy array without a shape")
    if any(type(n) is not int or not 0 <= n < 2**40 for n in shape):
        raise PickleError(f"numpy array of shape {str(shape)[:60]}")
    return math.prod(shape)


def plain_array(raw: Any, dtype: np.dtype, shape: Any, order: Any, charge: Callable[[int], None]) -> np.ndarray:
    """An array of its own memory from bytes, or from the text that protocol 0 makes of them."""
    data = raw.encode("latin1") if isinstance(raw, str) else raw
    count = _count(shape)
    if not isinstance(data, (bytes, bytearray)) or order not in ("C", "F"):
        raise PickleError("numpy array without bytes")
    if count * dtype.itemsize != len(data):
        raise PickleError(f"numpy array of {shape} x {dtype.itemsize} bytes holds {len(data)} bytes")
    charge(max(len(data), 0 if dtype.itemsize else 4 * count) + 128)
    if dtype.itemsize == 0 or count == 0:
        return np.zeros(shape, dtype)
    return np.frombuffer(data, dtype).reshape(shape, order=order).copy(order="K")


def _object_array(raw: list[Any], shape: Any, fortran: bool, charge: Callable[[int], None]) -> np.ndarray:
    if _count(shape) != len(raw):
        raise PickleError(f"numpy array of {shape} objects holds {len(raw)}")
    charge(8 * len(raw) + 128)
    flat = np.empty(len(raw), object)
    for index, item in enumerate(raw):
        flat[index] = item
    return flat.reshape(shape, order="F" if fortran else "C")


def replace_standins(root: Any) -> Any:
    """The same object with arrays and dtypes in place of their stand-ins. Shared objects stay shared."""
    waiting: list[Any] = []  # containers whose contents are still to be looked at
    known: dict[int, Any] = {}  # id -> finished object, of containers met before
    alive: list[Any] = []  # old tuples, so that no id is used again

    def finished(item: Any) -> Any:
        kind = type(item)
        if kind is Array:
            if item.value is None:
                raise PickleError("numpy array without contents")
            item = item.value
            kind = type(item)
        elif kind is Dtype:
            return item.value
        elif kind is Call:
            raise PickleError("a class itself is stored as a value")
        if kind is tuple:
            if id(item) not in known:
                alive.append(item)
                parts = tuple([finished(part) for part in item])
                # A tuple without stand-ins stays itself: it may be a key of a dictionary elsewhere.
                known[id(item)] = parts if any(a is not b for a, b in zip(parts, item, strict=True)) else item
            return known[id(item)]
        if (kind in (list, dict) or (kind is np.ndarray and item.dtype.hasobject)) and id(item) not in known:
            known[id(item)] = item
            waiting.append(item)
        return item

    root = finished(root)
    while waiting:
        container = waiting.pop()
        if type(container) is dict:
            for key, item in container.items():
                if type(item) not in _LEAVES:
                    container[key] = finished(item)
        elif type(container) is list:
            for index, item in enumerate(container):
                if type(item) not in _LEAVES:
                    container[index] = finished(item)
        else:
            flat = (container if container.flags.c_contiguous else container.T).reshape(
                -1
            )  # a view: they are one block
            for index in range(len(flat)):
                flat[index] = finished(flat[index])
    return root
