"""Writing a log takes as much memory for a long one as for a short one."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]

CODE = """
import resource, sys
from pathlib import Path
import numpy as np
from drive.logs.writer import LogWriter
points = np.random.default_rng(0).normal(size=(20_000, 4)).astype(np.float32)
none = [0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]
with LogWriter(Path(sys.argv[1]), "a", dataset="t", source_version="", licence="") as log:
    log.add_sensor("L", "lidar", *none, columns=("x", "y", "z", "i"))
    for i in range(int(sys.argv[2])):
        log.add_sweep("L", i, points, *none, is_key_frame=True, source_timestamp=i, source_name="sweeps/x.bin")
        frame = log.add_frame(i, rows={"L": i}, pose_translation=none[0], pose_rotation=none[1], source_timestamp=i)
        log.add_boxes(frame, np.ones((20, 9)), ["car"] * 20, [f"t{j}" for j in range(20)],
                      velocity_valid=np.ones(20, bool), source_translation=np.ones((20, 3)),
                      source_rotation=np.ones((20, 4)), source_size=np.ones((20, 3)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_mb(root: Path, sweeps: int) -> float:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(root), str(sweeps)], cwd=REPO, capture_output=True, text=True, check=True
    )
    return int(done.stdout) / 1024


@pytest.mark.skipif(not hasattr(resource, "getrusage"), reason="no peak memory on this system")
def test_memory_does_not_grow_with_the_payload(tmp_path: Path) -> None:
    short, long = peak_mb(tmp_path / "short", 10), peak_mb(tmp_path / "long", 310)
    written = (tmp_path / "long" / "a" / "lidar_L.arrow").stat().st_size / 2**20
    assert written > 90
    # Names and labels of 300 sweeps more (6,000 boxes); 90 MB of points leave no trace.
    assert long - short < 20, (short, long)
