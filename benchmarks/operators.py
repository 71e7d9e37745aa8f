"""Operators against torch's usual ways, 1 and 2 threads: `python benchmarks/operators.py` -> results/operators.json."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

import numba
import torch

from ops import kernels_in_use
from ops.bench import measure, table


def main() -> None:
    """Measure, print and write the rows with the machine's description."""
    report: dict[str, object] = {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numba": numba.__version__},
        "load_average": os.getloadavg(),
        "kernels": [asdict(row) for row in kernels_in_use()],
    }
    for threads in (1, 2):
        rows = measure(threads)
        print(table(rows, threads))
        report[f"threads_{threads}"] = [asdict(row) for row in rows]
    target = Path(__file__).parent / "results" / "operators.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
