"""The table of kernels, the threads that run them, and the exponential inside."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from numba import njit

import ops
from ops import kernels, threads
from ops.intrinsics import exp32, popcount
from ops.window_attention import window_attention


def test_every_operator_has_a_row_for_both_devices() -> None:
    rows = ops.kernels_in_use()
    folders = {path.parent.name for path in Path(ops.__file__).parent.glob("*/__init__.py")}
    assert folders == set(kernels.OPERATORS)
    assert {(row.op, row.device) for row in rows} == {(op, device) for op in folders for device in ("cpu", "cuda")}
    assert all(row.reason for row in rows)
    numba = {row.op for row in rows if row.device == "cpu" and row.kernel.startswith(("numba", "C "))}
    assert numba == {path.parent.name for path in Path(ops.__file__).parent.glob("*/cpu.py")}


def test_cpu_kernels_import_no_torch() -> None:
    for path in Path(ops.__file__).parent.glob("*/cpu.py"):
        assert "torch" not in path.read_text(), path


def test_importing_the_package_is_light() -> None:
    code = "import sys, ops; sys.exit(bool({'torch', 'numba'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(ops.__file__).parent.parent)


def test_exponential_is_exact_to_1e_7() -> None:
    @njit
    def all_of(x, out):  # type: ignore[no-untyped-def]
        for i in range(x.size):
            out[i] = exp32(x[i])

    x = np.concatenate([np.linspace(-87, 20, 100_001), [0.0]]).astype(np.float32)
    out = np.empty_like(x)
    all_of(x, out)
    assert np.abs(out / np.exp(x.astype(np.float64)) - 1).max() < 1e-7
    assert out[-1] == 1.0
    edge = np.array([-np.inf, -1e30, np.nan], np.float32)
    all_of(edge, edge)
    assert (edge[:2] < 2e-38).all()
    assert np.isnan(edge[2])


def test_popcount() -> None:
    @njit
    def count(x):  # type: ignore[no-untyped-def]
        return popcount(x)

    assert [count(np.uint64(x)) for x in (0, 1, 255, 2**64 - 1)] == [0, 1, 8, 64]


def test_parts_cover_everything_once() -> None:
    for count in (0, 1, 7, 100):
        for workers in (1, 2, 5):
            bounds = threads.even_parts(count, workers, 3)
            assert bounds[0] == 0
            assert bounds[-1] == count
            assert (np.diff(bounds) >= 0).all()
    cost = np.array([0.0, 1.0, 1.0, 90.0, 91.0])
    for workers in (1, 2, 3):
        bounds = threads.balanced_parts(cost, workers, 1.0)
        assert bounds[0] == 0
        assert bounds[-1] == 4
    assert threads.balanced_parts(np.array([0]), 4, 1.0).tolist() == [0, 0]


def test_errors_in_a_thread_reach_the_caller() -> None:
    def broken(start: int, stop: int) -> None:
        raise ArithmeticError(start)

    with pytest.raises(ArithmeticError):
        threads.run(broken, np.array([0, 1, 2]), 2)


def test_every_part_runs_once_with_several_callers_and_inside_each_other() -> None:
    def outer(start: int, stop: int, done: np.ndarray) -> None:
        threads.run(inner, np.arange(start, stop + 1), 3, done)

    def inner(start: int, stop: int, done: np.ndarray) -> None:
        done[start:stop] += 1

    counts = [np.zeros(40, np.int64) for _ in range(8)]
    bounds = np.linspace(0, 40, 6).astype(np.int64)
    callers = [threading.Thread(target=threads.run, args=(outer, bounds, 4, done)) for done in counts]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
        assert not caller.is_alive()
    assert all((done == 1).all() for done in counts)


def test_a_forked_child_starts_its_own_threads() -> None:
    code = """
import os, sys
import numpy as np
from ops import threads
done = np.zeros(4, np.int64)
def mark(start, stop): done[start:stop] += 1
bounds = np.arange(5)
threads.run(mark, bounds, 4)
child = os.fork()
if child == 0:
    threads.run(mark, bounds, 4)
    os._exit(int((done != 2).any()))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
threads.run(mark, bounds, 4)
assert (done == 2).all()
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(ops.__file__).parent.parent, timeout=120)


def test_more_threads_give_the_same_bits() -> None:
    q, k, v = torch.randn(3, 3000, 4, 16).unbind()
    offsets = torch.arange(0, 3001, 30)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = window_attention(q, k, v, offsets)
        torch.set_num_threads(3)
        assert torch.equal(window_attention(q, k, v, offsets), one)
    finally:
        torch.set_num_threads(before)
