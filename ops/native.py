"""Optional C kernels: compiled at first use where this machine has a C compiler, and left out where it has none.

Nothing is compiled at installation and nothing needs a compiler: an operator with a `kernel.c` beside its `cpu.py`
asks `kernel()` for a C function, and takes its numba kernel where the answer is None. The C side is plain functions
`void name(int64_t start, int64_t stop, ...)` of pointers, int64_t, float and double, so that `ops.threads.run` calls
either kind. Compiled code is kept beside the source, where numba keeps its own (or in NUMBA_CACHE_DIR, or in the user's
cache folder), by source, compiler, flags and processor.

Turned off by DRIVE_NATIVE=0 in the environment or `ops.use_native(False)`.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

IN_USE = "C (compiled here)"
# No -ffast-math: it would drop NaN and infinity, and older compilers then flush subnormals in the whole process.
FLAGS = ("-O3", "-std=gnu11", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast")
PROCESSORS = (("-march=native",), ("-mcpu=native",), ())
HEADERS = Path(__file__).parent  # vectors.h, and <operator>/<name>.h
SECONDS = 120

Defines = tuple[tuple[str, str], ...]

_on = True


def use_native(on: bool) -> None:
    """Use the C kernels where they can be compiled (True, as at the start), or numba everywhere (False)."""
    global _on
    _on = on


def state() -> tuple[bool, str]:
    """(whether C kernels can be used here, the compiler or what runs instead)."""
    if not _on or os.environ.get("DRIVE_NATIVE", "1") == "0":
        return False, "numba (C turned off)"
    found = _compiler()
    return (False, "numba (no compiler)") if found is None else (True, found[1])


def kernel(source: Path, name: str, defines: Defines = ()) -> Callable[..., None] | None:
    """The C function `name` of a file, or None where it cannot be had: `kernel_in_use` says why.

    The callable takes numpy arrays (C-contiguous ones unless strides are passed too) or addresses, ints (int64_t),
    numpy float32 (float) and floats (double), of the same types in every call; it releases the interpreter's lock while
    it runs.
    """
    if not state()[0]:
        return None
    library = _load(source, defines)[0]
    return None if library is None else _function(library, name)


def kernel_in_use(source: Path, defines: Defines = ()) -> tuple[str, str]:
    """For the table of kernels: ("C (compiled here)", compiler) or ("numba (no compiler)" and the like, why)."""
    usable, text = state()
    if not usable:
        return text, "float32 and half types; float64 takes the torch reference"
    library, reason = _load(source, defines)
    return (IN_USE, text) if library is not None else ("numba (C failed)", reason)


def has(feature: str) -> bool:
    """Whether the compiler defines a macro for this processor, e.g. "__AVX512BF16__". False without a compiler."""
    found = _compiler()
    return found is not None and f"#define {feature} " in found[2]


@cache
def _compiler() -> tuple[tuple[str, ...], str, str] | None:
    """(command, its version in words, every macro that it defines for this processor), or None."""
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        path = shutil.which(name) if name else None
        for processor in PROCESSORS if path else ():
            command = (str(path), *processor)
            try:
                macros = _run([*command, "-dM", "-E", "-x", "c", os.devnull])
                first = _run([*command, "--version"]).splitlines()
            except (OSError, subprocess.SubprocessError):
                continue
            return command, first[0] if first else str(path), macros
    return None


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS).stdout


@cache
def _load(source: Path, defines: Defines) -> tuple[ctypes.CDLL | None, str]:
    """(library, "") or (None, reason). Compiles once; two processes at the same time each rename a whole file."""
    found = _compiler()
    assert found is not None
    command, _, macros = found
    headers = b"".join(path.read_bytes() for path in sorted(HEADERS.rglob("*.h")))
    arguments = [*command, *FLAGS, *(f"-D{name}={value}" for name, value in defines), f"-I{HEADERS}"]
    parts = (source.read_bytes(), headers, macros.encode(), " ".join(arguments).encode())
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()[:24]
    for folder in _cache_folders(source):
        target = folder / f"{source.parent.name}-{source.stem}-{digest}.so"
        if target.is_file():
            try:
                return ctypes.CDLL(str(target)), ""
            except OSError:
                pass  # damaged, or of another system that shares the folder: compiled again
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(suffix=".so", prefix=f"{source.stem}-", dir=folder)
        except OSError:
            continue
        os.close(handle)
        try:
            _run([*arguments, str(source), "-o", temporary, "-lm"])
            os.chmod(temporary, 0o755)
            os.replace(temporary, target)
            return ctypes.CDLL(str(target)), ""
        except subprocess.CalledProcessError as error:
            lines = [line for line in error.stderr.splitlines() if "error" in line] or [f"exit code {error.returncode}"]
            return None, f"{command[0]}: {lines[0]}"
        except (OSError, subprocess.SubprocessError) as error:
            reason = str(error)
        finally:
            Path(temporary).unlink(missing_ok=True)
        return None, reason
    return None, "no folder can be written for compiled code: set NUMBA_CACHE_DIR"


def _cache_folders(source: Path) -> list[Path]:
    """Where compiled code may lie, best first, as numba chooses."""
    forced = os.environ.get("NUMBA_CACHE_DIR")
    if forced:
        return [Path(forced) / "native"]
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "drivewright" / "native"
    return [source.parent / "__pycache__", user]


@cache
def _function(library: ctypes.CDLL, name: str) -> Callable[..., None]:
    function = getattr(library, name)
    function.restype = None

    def call(*arguments: Any) -> None:
        values = [a if type(a) is int else _value(a) for a in arguments]
        if function.argtypes is None:  # the first call says the types: converting by them is several times faster
            function.argtypes = [_c_type(a) for a in arguments]
        function(*values)

    return call


def _value(argument: Any) -> int | float:
    if isinstance(argument, np.ndarray):
        return argument.ctypes.data
    return int(argument) if isinstance(argument, (int, np.integer)) else float(argument)


def _c_type(argument: Any) -> Any:
    if isinstance(argument, (np.ndarray, int, np.integer)):
        return ctypes.c_int64
    return ctypes.c_float if isinstance(argument, np.float32) else ctypes.c_double
