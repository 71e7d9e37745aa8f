"""C kernels that are compiled at first use: with a compiler, without one, with a broken one, and turned off."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import ops
from ops import native

SOURCE = """
#include "vectors.h"
void twice(int64_t start, int64_t stop, const float* x, float factor, double shift, int64_t more, float* out) {
    for (int64_t i = start; i < stop; ++i) out[i] = x[i] * factor + (float)shift + (float)more + ADD;
}
void exponential(int64_t start, int64_t stop, const float* x, float* out) {
    for (int64_t i = start; i < stop; i += LANES) store(out + i, exp2_vec(load(x + i)));
}
"""
ADD = (("ADD", "0"),)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("DRIVE_NATIVE", raising=False)
    native._compiler.cache_clear()
    native._load.cache_clear()
    yield
    ops.use_native(True)
    native._compiler.cache_clear()
    native._load.cache_clear()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "kernel.c"
    path.write_text(SOURCE)
    return path


needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("cc", "gcc", "clang")), reason="no C compiler on this machine"
)


@needs_compiler
def test_compiles_once_and_runs(source: Path, tmp_path: Path) -> None:
    x, out = np.arange(8, dtype=np.float32), np.zeros(8, np.float32)
    call = native.kernel(source, "twice", ADD)
    assert call is not None
    call(2, 5, x, np.float32(2), 0.5, 100, out)
    assert out.tolist() == [0, 0, 104.5, 106.5, 108.5, 0, 0, 0]
    (built,) = (tmp_path / "cache" / "native").iterdir()
    written = built.stat().st_mtime_ns
    native._load.cache_clear()
    assert native.kernel(source, "twice", ADD) is not None
    assert built.stat().st_mtime_ns == written
    assert native.kernel_in_use(source, ADD)[0] == native.IN_USE
    assert native.kernel(source, "twice", (("ADD", "1"),)) is not None
    assert len(list((tmp_path / "cache" / "native").iterdir())) == 2


@needs_compiler
def test_a_damaged_file_is_compiled_again(source: Path, tmp_path: Path) -> None:
    assert native.kernel(source, "twice", ADD) is not None
    (built,) = (tmp_path / "cache" / "native").iterdir()
    code = f"""
from pathlib import Path
from ops import native
Path({str(built)!r}).write_bytes(b"\\x7fELF cut")
assert native.kernel(Path({str(source)!r}), "twice", {ADD!r}) is not None
"""
    built.unlink()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(ops.__file__).parent.parent)
    assert built.stat().st_size > 1000


@needs_compiler
def test_two_processes_at_once(source: Path, tmp_path: Path) -> None:
    code = (
        f"from pathlib import Path; from ops import native; print(native.kernel(Path({str(source)!r}), 'twice', {ADD})"
    )
    command = [sys.executable, "-c", f"{code} is not None)"]
    root = Path(ops.__file__).parent.parent
    running = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [p.communicate()[0].strip() for p in running] == ["True"] * 3
    assert len(list((tmp_path / "cache" / "native").iterdir())) == 1


@needs_compiler
def test_source_that_does_not_compile_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "kernel.c"
    broken.write_text("void f(void) { return y; }")
    assert native.kernel(broken, "f") is None
    kernel, reason = native.kernel_in_use(broken)
    assert kernel == "numba (C failed)"
    assert "error" in reason
    assert not list((tmp_path / "cache" / "native").iterdir())


def test_no_compiler(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    assert native.kernel(source, "twice", ADD) is None
    assert native.kernel_in_use(source, ADD)[0] == "numba (no compiler)"
    assert not native.has("__AVX512F__")


def test_turned_off(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ops.use_native(False)
    assert native.kernel(source, "twice", ADD) is None
    assert native.kernel_in_use(source, ADD)[0] == "numba (C turned off)"
    ops.use_native(True)
    monkeypatch.setenv("DRIVE_NATIVE", "0")
    assert native.kernel(source, "twice", ADD) is None
    assert native.kernel_in_use(source, ADD)[0] == "numba (C turned off)"


@needs_compiler
def test_exponential(source: Path) -> None:
    x = np.linspace(-126, 127, 1 << 20).astype(np.float32)
    out = np.empty_like(x)
    call = native.kernel(source, "exponential", ADD)
    assert call is not None
    call(0, x.size, x, out)
    # 9.2e-8 of the polynomial and 6e-8 of the last rounding, and a little of the others (more without fused sums).
    assert np.abs(out / np.exp2(x.astype(np.float64)) - 1).max() < 2.5e-7
    edge = np.zeros(16, np.float32)
    edge[:5] = [0, -np.inf, -1e30, np.nan, np.uint32(0x7FC12345).view(np.float32)]
    call(0, 16, edge, edge)
    assert edge[0] == 1
    assert (edge[1:3] == np.float32(2.0**-126)).all()
    assert np.isnan(edge[3:5]).all()
