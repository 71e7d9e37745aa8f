"""Times of Waymo's detection operator: ``python waymo_times.py IN.npz OUT.json REPEATS`` in the official environment.

Called by benchmarks/waymo_metrics.py. Reading and making tensors are outside the clock.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "2"}
import numpy as np
import tensorflow as tf
import waymo_scenes
from compare_waymo_detection import official_config
from waymo_open_dataset.metrics.ops import py_metrics_ops


def main() -> None:
    source, out, repeats = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    with np.load(source) as kept:
        tensors = {name: tf.constant(kept[name]) for name in kept.files}
    config = official_config(waymo_scenes.CHALLENGE).SerializeToString()
    seconds: dict[str, list[float]] = {"wall": [], "cpu": []}
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        figures = py_metrics_ops.detection_metrics(config=config, **tensors)
        seconds["wall"].append(time.perf_counter() - wall)
        seconds["cpu"].append(time.process_time() - cpu)
    result = {"ap": np.asarray(figures[0]).tolist(), "aph": np.asarray(figures[1]).tolist(), "seconds": seconds}
    out.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
