"""Operators beside their peers, one and two threads: results/operators.json and the table of docs/operators.md.

Usage: python -m benchmarks.operators [--ops voxelize ...] [--threads 1 2] [--write]

Outputs are compared before anything is timed (ops/bench.py); the sides take turns; medians count. Peers that are not
installed are named as such. The machine should be quiet: with another process on it two torch threads collapse.
``--write`` renews the table in docs/operators.md from the result.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numba
import torch

from ops import kernels_in_use
from ops.bench import measure, table
from ops.kernels import OPERATORS

ROOT = Path(__file__).parent
RESULT, PAGE = ROOT / "results" / "operators.json", ROOT.parent / "docs" / "operators.md"
PEERS = ("spconv", "shapely", "opencv-python-headless", "scipy", "transformers", "filterpy")
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def versions() -> dict[str, str]:
    """Of what was measured; absent peers are left out."""
    found = {"python": platform.python_version(), "torch": torch.__version__, "numba": numba.__version__}
    for name in PEERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def markdown(report: dict[str, Any]) -> str:
    """One row a comparison: medians in milliseconds and their ratio, one and two threads."""
    lines = [
        "| what | peer | asked | one thread: ours / peer, ratio | two threads |",
        "| --- | --- | --- | --- | --- |",
    ]
    two = {(r["name"], r["peer"]): r for r in report.get("threads_2", [])}
    for row in report["threads_1"]:
        cells = [_cell(row), _cell(two.get((row["name"], row["peer"])))]
        asked = f"{row['goal']:g}" if row["goal"] else ""
        lines.append(f"| {row['name']} | {row['peer']} | {asked} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None or not math.isfinite(row["ratio"]):
        return "-"
    return f"{row['ours_ms']:.3g} / {row['peer_ms']:.3g} ms, **{row['ratio']:.3g}**"


def main() -> None:
    """Measure, print and write the rows with the machine's description."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ops", nargs="+", choices=OPERATORS, default=[])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    before = json.loads(RESULT.read_text()) if args.ops and RESULT.is_file() else {}
    report: dict[str, Any] = {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": versions(),
        "load_average": os.getloadavg(),
        "kernels": [asdict(row) for row in kernels_in_use()],
    }
    for threads in args.threads:
        rows = measure(threads, wanted=args.ops)
        print(table(rows, threads), flush=True)
        kept = [row for row in before.get(f"threads_{threads}", []) if row["op"] not in args.ops]
        every = [*kept, *map(asdict, rows)]
        report[f"threads_{threads}"] = sorted(every, key=lambda row: OPERATORS.index(row["op"]))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=1) + "\n")
    if args.write:
        head, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(f"{head}{BEGIN}\n{markdown(report)}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
