"""Read pickles of other projects without running anything that is in them.

Allowed: plain builtins (None, bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset),
``collections.OrderedDict`` and ``defaultdict`` (both come back as ``dict``), ``_codecs.encode`` (how protocol 2 writes
bytes), numpy arrays, scalars and dtypes of numbers, strings, bytes and objects, under numpy 1's and numpy 2's module
names. Everything else is refused by its name.

The bytes are looked over first (:mod:`data_tools.pickle_scan`); numpy's arrays are rebuilt by our own code
(:mod:`data_tools.pickle_standins`).
"""

from __future__ import annotations

import codecs
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.pickle_scan import MAX_MEMORY, PickleError, scan
from data_tools.pickle_standins import Array, Call, Dtype, plain_array, replace_standins
from drive.errors import UserError

_MEND = "copy the file again; pickles from elsewhere may hold only plain containers, numbers, strings, numpy arrays"
_NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC_MODULES = ("numpy.core.numeric", "numpy._core.numeric")


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
            ("numpy", "dtype"): Dtype,
            ("numpy", "ndarray"): None,
        }
        for name in ("list", "dict", "tuple", "int", "float", "str", "bool"):  # as the factory of a defaultdict
            calls["builtins", name] = None
        for module in _NUMPY_MODULES:
            calls[module, "_reconstruct"] = self._reconstruct
            calls[module, "scalar"] = self._scalar
        for module in _NUMERIC_MODULES:
            calls[module, "_frombuffer"] = self._frombuffer
        self._calls = {key: Call(".".join(key), function) for key, function in calls.items()}

    def load_checked(self) -> Any:
        """The object, without any stand-in left in it."""
        result = self.load()
        return replace_standins(result) if self._named else result

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

    def _reconstruct(self, kind: Any, shape: Any, dtype: Any) -> Array:
        if kind is not self._calls["numpy", "ndarray"]:
            raise PickleError("numpy array of a class of its own")
        return Array(self._charge)

    def _scalar(self, dtype: Any, raw: Any) -> Any:
        if not isinstance(dtype, Dtype) or dtype.value.hasobject:
            raise PickleError("numpy scalar without a plain dtype")
        return plain_array(raw, dtype.value, (1,), "C", self._charge)[0]

    def _frombuffer(self, raw: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> Array:
        if not isinstance(dtype, Dtype) or dtype.value.hasobject or axes is not None:
            raise PickleError("numpy array from a buffer without a plain dtype")
        array = self._reconstruct(self._calls["numpy", "ndarray"], None, None)
        array.value = plain_array(raw, dtype.value, shape, order, self._charge)
        return array
