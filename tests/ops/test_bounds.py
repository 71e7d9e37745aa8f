"""No numba kernel reads or writes beyond its arrays: all of them once more, compiled with bounds checks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ops

# Comparing a kernel with its reference runs it forward and backward on a small example: see ops/check.py.
EVERY_OPERATOR = """
from ops.check import compare
wrong = [row for row in compare("cpu") if not row[2] <= row[3]]
assert not wrong, wrong
"""
OVER_THE_EDGE = """
import numpy as np
from numba import njit

@njit(cache=True, nogil=True)
def write(out, i):
    out[i] = 1

write(np.zeros(4), 4)
"""


@pytest.fixture
def checked(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Runs code with bounds checks; nothing compiled with them stays in the usual caches, nor is taken from there."""

    def run(code: str) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "script.py"
        script.write_text(code)
        root = str(Path(ops.__file__).parent.parent)
        environment = {
            **os.environ,
            "NUMBA_BOUNDSCHECK": "1",
            "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
            "NUMBA_OPT": "1",  # compiles faster; the checks are the same
            "DRIVE_NATIVE": "0",  # C kernels have no such checks: the numba ones run
            "PYTHONPATH": root,
        }
        command = [sys.executable, str(script)]
        return subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)

    return run


def test_every_kernel_stays_inside_its_arrays(checked) -> None:  # type: ignore[no-untyped-def]
    result = checked(EVERY_OPERATOR)
    assert result.returncode == 0, result.stderr[-3000:]


def test_bounds_checks_are_on(checked) -> None:  # type: ignore[no-untyped-def]
    result = checked(OVER_THE_EDGE)
    assert result.returncode != 0
    assert "IndexError" in result.stderr
