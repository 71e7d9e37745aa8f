"""The operators alone: torch, numpy and numba are all that they need, and every one can be timed on a device."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import ops
from ops import bench_device, kernels

ALONE = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    names = {"shapely", "tyro", "viser", "pyarrow", "rich", "cv2", "scipy", "PIL", *sys.argv[1:]}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"{name} is not there", name=name)

sys.meta_path.insert(0, Absent())
"""

CHECK = """
from ops.__main__ import main
from ops.bench import all_pairs
assert main(["check"]) == 0
import ops.bench_device
"""


def test_check_runs_with_torch_and_numba_alone() -> None:
    root = Path(ops.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", ALONE + CHECK, "drive", "data_tools", "configs"],
        cwd=root, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WRONG" not in done.stdout


def test_the_loop_as_tensors_needs_no_more() -> None:
    root, loop = Path(ops.__file__).parent.parent, "import benchmarks.closed_loop_tensors"
    done = subprocess.run([sys.executable, "-c", ALONE + loop], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_operator_is_timed_on_a_device() -> None:
    rows = bench_device.measure("cpu", rounds=1, rings=16, columns=300)
    assert {row.op for row in rows} == set(kernels.OPERATORS)
    assert all(math.isfinite(row.ours_ms) and row.error < 1e-2 for row in rows)
    assert "ratio" in bench_device.table(rows, "cpu")
