"""Read pickles of other projects without running anything that is in them.

Allowed: plain builtins (None, bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset),
``collections.OrderedDict`` and ``defaultdict`` (both come back as ``dict``), ``_codecs.encode`` (how protocol 2 writes
bytes), numpy arrays, scalars and dtypes of numbers, strings, bytes and objects, under numpy 1's and numpy 2's module
names. Everything else is refused by its name.

Numpy's own reconstruction is not called: its ``dtype.__setstate__`` believes a forged state and an object array
believes a forged length, both of which crash the process. Arrays and dtypes are rebuilt here from checked parts.
"""

from __future__ import annotations

import codecs
import io
import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.pickle_scan import MAX_MEMORY, PickleError, scan
from drive.errors import UserError

_MEND = "copy the file again; pickles from elsewhere may hold only plain containers, numbers, strings, numpy arrays"
_SIMPLE_DTYPE = re.compile(r"[?bhilqBHILQefdgFDOSUV]|b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|O8|[SUV]\d{1,7}")
_NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC_MODULES = ("numpy.core.numeric", "numpy._core.numeric")
_MAX_DIMENSIONS = 32


def load_pickle(path: Path, *, max_bytes: int = 1_000_000_000) -> Any:
    """The object in a pickle file.

    Args:
        max_bytes: larger files are refused before anything is read.

    Raises:
        UserError: missing, too large, damaged (with the byte), or a class that is not allowed (with its name).
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise UserError(path, f"a pickle of {size} bytes, at most {max_bytes} are read", "split it")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror or error})", "check the path") from None
    return loads_pickle(data, str(path))


def loads_pickle(data: bytes, place: str) -> Any:
    """The object in pickled bytes; `place` stands in error messages. Errors: load_pickle."""
    try:
        end = scan(data)
        return _Unpickler(data[:end]).load_checked()
    except PickleError as fault:
        raise UserError(place, f"pickle, {fault}", _MEND) from None
    except (
        pickle.UnpicklingError, ValueError, TypeError, AttributeError, LookupError, EOFError, ArithmeticError,
        MemoryError, RecursionError,
    ) as error:  # fmt: skip
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(place, f"damaged pickle ({reason})", _MEND) from None


class _Call:
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


class _Dtype:
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
        if any(not isinstance(kind, _Dtype) or kind.value.hasobject for kind, *_ in parts):
            raise PickleError("numpy dtype with fields that are not plain")
        self.value = np.dtype(
            {
                "names": list(names),
                "formats": [kind.value for kind, *_ in parts],
                "offsets": [offset for _, offset, *_ in parts],
                "itemsize": self.value.itemsize,
            }
        )


class _Array:
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
        if not isinstance(dtype, _Dtype):
            raise PickleError("numpy array without a dtype")
        if dtype.value.hasobject:
            if not isinstance(raw, list):
                raise PickleError("numpy array of objects without a list of them")
            self.value = _object_array(raw, shape, bool(fortran), self._charge)
        else:
            self.value = _plain_array(raw, dtype.value, shape, "F" if fortran else "C", self._charge)


def _count(shape: Any) -> int:
    if not isinstance(shape, tuple) or len(shape) > _MAX_DIMENSIONS:
        raise PickleError("numpy array without a shape")
    if any(type(n) is not int or not 0 <= n < 2**40 for n in shape):
        raise PickleError(f"numpy array of shape {str(shape)[:60]}")
    return math.prod(shape)


def _plain_array(raw: Any, dtype: np.dtype, shape: Any, order: Any, charge: Callable[[int], None]) -> np.ndarray:
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


def _elements(items: Any) -> Any:
    """What a set may be made of by a call: things whose hash takes no long search."""
    small = (type(None), bool, int, float, complex, str, bytes, np.generic)
    if not isinstance(items, (list, tuple)) or any(not isinstance(item, small) for item in items):
        raise PickleError("a set of other things than numbers and strings")
    return items


class _Unpickler(pickle.Unpickler):
    """The standard unpickler with an allow-list, on bytes that pickle_scan.scan accepted."""

    def __init__(self, data: bytes) -> None:
        # latin1: byte strings of Python 2 keep every byte. BufferedReader: it can peek, else each opcode is a call.
        super().__init__(io.BufferedReader(io.BytesIO(data)), encoding="latin1")  # type: ignore[arg-type]
        # Calls may copy what the file holds once (the memo gives the same bytes to a thousand calls).
        self._left = min(16_000_000 + 8 * len(data), MAX_MEMORY)
        self._named = False
        calls: dict[tuple[str, str], Callable[..., Any] | None] = {
            ("_codecs", "encode"): self._encode,
            ("builtins", "set"): lambda items=(): set(self._paid(_elements(items), 64)),
            ("builtins", "frozenset"): lambda items=(): frozenset(self._paid(_elements(items), 64)),
            ("builtins", "bytes"): lambda *given: bytes(self._bytes(*given)),
            ("builtins", "bytearray"): lambda *given: bytearray(self._bytes(*given)),
            ("builtins", "complex"): complex,
            ("collections", "OrderedDict"): self._dictionary,
            ("collections", "defaultdict"): lambda factory=None, *rest: self._dictionary(*rest),
            ("numpy", "dtype"): _Dtype,
            ("numpy", "ndarray"): None,
        }
        for name in ("list", "dict", "tuple", "int", "float", "str", "bool"):  # as the factory of a defaultdict
            calls["builtins", name] = None
        for module in _NUMPY_MODULES:
            calls[module, "_reconstruct"] = self._reconstruct
            calls[module, "scalar"] = self._scalar
        for module in _NUMERIC_MODULES:
            calls[module, "_frombuffer"] = self._frombuffer
        self._calls = {key: _Call(".".join(key), function) for key, function in calls.items()}

    def load_checked(self) -> Any:
        """The object, without any stand-in left in it."""
        result = self.load()
        return _replace_standins(result) if self._named else result

    def find_class(self, module: str, name: str) -> Any:
        """The allowed names; PickleError with the full name of any other."""
        self._named = True
        module = {"__builtin__": "builtins"}.get(module, module)  # as Python 2 and protocols 0 to 2 call it
        call = self._calls.get((module, name))
        if call is None:
            raise PickleError(f"class or function {module[:100]}.{name[:100]} is not allowed")
        return call

    def _charge(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise PickleError("its arrays and strings would take much more memory than the file is long")

    def _paid(self, items: Any, each: int = 1) -> Any:
        self._charge(each * len(items) + 64)
        return items

    def _encode(self, text: Any, encoding: Any = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise PickleError("_codecs.encode with something else than text in latin1")
        return codecs.encode(self._paid(text), "latin1")

    def _bytes(self, data: Any = b"", encoding: Any = "latin1") -> bytes:
        if isinstance(data, list) and not data:
            return b""
        return self._encode(data, encoding) if isinstance(data, str) else self._checked_bytes(data)

    def _checked_bytes(self, data: Any) -> bytes:
        if not isinstance(data, (bytes, bytearray)):
            raise PickleError("bytes made of something else than bytes or text")
        return bytes(self._paid(data))

    def _dictionary(self, items: Any = ()) -> dict[Any, Any]:
        if not isinstance(items, (list, tuple)) or any(len(item) != 2 for item in items):
            raise PickleError("a dictionary made of something else than pairs")
        self._paid(items, 100)
        return dict(zip(_elements([key for key, _ in items]), [value for _, value in items], strict=True))

    def _reconstruct(self, kind: Any, shape: Any, dtype: Any) -> _Array:
        if kind is not self._calls["numpy", "ndarray"]:
            raise PickleError("numpy array of a class of its own")
        return _Array(self._charge)

    def _scalar(self, dtype: Any, raw: Any) -> Any:
        if not isinstance(dtype, _Dtype) or dtype.value.hasobject:
            raise PickleError("numpy scalar without a plain dtype")
        return _plain_array(raw, dtype.value, (1,), "C", self._charge)[0]

    def _frombuffer(self, raw: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> _Array:
        if not isinstance(dtype, _Dtype) or dtype.value.hasobject or axes is not None:
            raise PickleError("numpy array from a buffer without a plain dtype")
        array = self._reconstruct(self._calls["numpy", "ndarray"], None, None)
        array.value = _plain_array(raw, dtype.value, shape, order, self._charge)
        return array


def _replace_standins(root: Any) -> Any:
    """The same object with arrays and dtypes in place of their stand-ins. Shared objects stay shared."""
    waiting: list[Any] = []  # containers whose contents are still to be looked at
    known: dict[int, Any] = {}  # id -> finished object, of containers met before
    alive: list[Any] = []  # old tuples, so that no id is used again

    def finished(item: Any) -> Any:
        kind = type(item)
        if kind is _Array:
            if item.value is None:
                raise PickleError("numpy array without contents")
            item = item.value
            kind = type(item)
        elif kind is _Dtype:
            return item.value
        elif kind is _Call:
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


_LEAVES = frozenset((type(None), bool, int, float, complex, str, bytes, bytearray, set, frozenset))
