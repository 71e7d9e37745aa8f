"""Reading TFRecord files with checksums: ours against tf.data, in one run on the same files (from the page cache).

TensorFlow lives in the official environment (``make official``): ``--official PYTHON`` names its interpreter, which
reads the files in a process of its own and says how long it took, start-up left out. Without it only ours is timed.
Seconds are the processor's, of all threads: they stay true on a machine that others use too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from data_tools.tfrecord import TFRecordFile, frame_record

REPO = Path(__file__).resolve().parent.parent
KINDS = {"small": (20_000, 1_000), "frames": (40, 5_000_000)}  # records, bytes of each

PEER = """
import sys, time
import tensorflow as tf
for turn in range(int(sys.argv[2])):
    begin, size = time.process_time(), 0
    for record in tf.data.TFRecordDataset(sys.argv[1]).as_numpy_iterator():
        size += len(record)
    print(time.process_time() - begin, size)
"""


def ours(path: Path) -> tuple[float, int]:
    """(seconds of the processor, bytes) of opening the file and reading every record, checksums compared."""
    begin = time.process_time()
    with TFRecordFile(path) as file:
        size = sum(len(record) for record in file)
    return time.process_time() - begin, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", default=str(REPO / ".official" / "bin" / "python"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "tfrecord.json")
    args = parser.parse_args()
    result: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (count, size) in KINDS.items():
            path = Path(folder) / f"{name}.tfrecord"
            rng = np.random.default_rng(0)
            with open(path, "wb") as file:
                for _ in range(count):
                    file.write(frame_record(rng.bytes(size)))
            ours(path)  # compilation, page cache
            mine = [ours(path) for _ in range(args.repeats)]
            assert {found for _, found in mine} == {count * size}
            row = {"records": count, "bytes": size, "ours_s": statistics.median(seconds for seconds, _ in mine)}
            if Path(args.official).exists():
                out = subprocess.run(
                    [args.official, "-c", PEER, str(path), str(args.repeats)],
                    check=True,
                    capture_output=True,
                    text=True,
                )
                theirs = [line.split() for line in out.stdout.splitlines()]
                assert {int(found) for _, found in theirs} == {count * size}
                row["tf_data_s"] = statistics.median(float(seconds) for seconds, _ in theirs)
                row["ratio"] = row["tf_data_s"] / row["ours_s"]
            row["ours_GBps"] = count * size / row["ours_s"] / 1e9
            result[name] = row
            print(name, json.dumps(row))
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text(json.dumps({"benchmark": "tfrecord", **result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
