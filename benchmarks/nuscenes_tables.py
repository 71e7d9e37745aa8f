"""Opening nuScenes-shaped tables: ours against the devkit's and the standard library's, each in a process of its own.

``python -m benchmarks.nuscenes_tables --scenes 850`` is the size of trainval (2.6 million sample_data; the devkit then
takes 10 GB); the default is a tenth of it. Three ways of ours: `index`, what the converter reads before it divides the
work (offsets and joins); `columns`, all columns of the large tables at first sight; `mapped`, the same from the Arrow
file that a first opening wrote. Seconds leave the imports and the load of compiled code out (it is given); peak memory
is of the whole process, and `base` of one that imports the same and reads tables of one scene.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.convert import DEVKIT_TABLES, machine, measure, write_tables

INDEX = """
import json, sys, time
from pathlib import Path
from data_tools.nuscenes import Options, list_logs
from data_tools.nuscenes.scan import scan
cpu = time.process_time()
scan(Path(sys.argv[2]) / "v1.0-trainval" / "sample.json", {"token": "token"})
load = time.process_time() - cpu
start, cpu = time.perf_counter(), time.process_time()
list_logs(Path(sys.argv[1]), Options())
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
status = Path("/proc/self/status").read_text()
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_mib": peak, "load_cpu_seconds": load}))
"""

COLUMNS = """
import json, sys, time
from pathlib import Path
from data_tools.nuscenes.columns import open_tables
raw, cache = Path(sys.argv[1]) / "v1.0-trainval", Path(sys.argv[2]) if sys.argv[2] else None
open_tables(Path(sys.argv[3]) / "v1.0-trainval")  # compiled code is loaded here, as imports are
start, cpu = time.perf_counter(), time.process_time()
opened = open_tables(raw, cache)
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
status = Path("/proc/self/status").read_text()
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
rows = {name: len(columns["token"]) for name, columns in opened.columns.items()}
print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_mib": peak, "rows": rows}))
"""


def middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of several runs of one way."""
    names = ("seconds", "cpu_seconds", "peak_mib")
    return {name: statistics.median(run[name] for run in runs) for name in names} | {"runs": len(runs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=85)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where the JSON goes; default: printed only")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        raw, small, cache = Path(folder) / "raw", Path(folder) / "small", Path(folder) / "tables.arrow"
        # Per scene of trainval: 40 samples, 3,095 sample_data, 1,372 annotations.
        write_tables(raw / "v1.0-trainval", args.scenes, 40, 400, 440, 1360, random.Random(0))
        write_tables(small / "v1.0-trainval", 1, 40, 400, 440, 1360, random.Random(0))
        size = sum(path.stat().st_size for path in raw.rglob("*.json"))
        measure(COLUMNS, str(small), "", str(small))  # compiled once, then cached
        base = measure(COLUMNS, str(small), "", str(small))
        measure(COLUMNS, str(raw), str(cache), str(small))
        runs: dict[str, list[dict[str, Any]]] = {"devkit": [], "index": [], "columns": [], "mapped": []}
        for _ in range(args.repeats):
            runs["devkit"].append(measure(DEVKIT_TABLES, str(raw)))
            runs["index"].append(measure(INDEX, str(raw), str(small)))
            runs["columns"].append(measure(COLUMNS, str(raw), "", str(small)))
            runs["mapped"].append(measure(COLUMNS, str(raw), str(cache), str(small)))
    figures = {name: middle(some) for name, some in runs.items()}
    result: dict[str, Any] = {
        "benchmark": "nuscenes_tables",
        "scenes": args.scenes,
        "rows": runs["columns"][0]["rows"],
        "json_mb": size / 1e6,
        "base_peak_mib": base["peak_mib"],
        "load_of_compiled_code_cpu_seconds": statistics.median(run["load_cpu_seconds"] for run in runs["index"]),
        **figures,
        "load": os.getloadavg()[0],
        "machine": machine(),
    }
    for name in ("index", "columns", "mapped"):
        for figure in ("seconds", "cpu_seconds", "peak_mib"):
            result[f"devkit/{name}.{figure}"] = figures["devkit"][figure] / figures[name][figure]
    print(json.dumps(result, indent=1))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
