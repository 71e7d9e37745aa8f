"""Waymo's tracking operator against ours on 300 random scenes; ``--golden FILE`` keeps its figures for the tests."""

from __future__ import annotations

import os

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "2"}
import numpy as np
import tensorflow as tf
import waymo_scenes
from compare_waymo_detection import official_config
from exchange import compare_random
from waymo_open_dataset.metrics.ops import py_metrics_ops

NAMES = ("mota", "motp", "miss", "mismatch", "fp", "cutoff", "breakdown")


def official(seed: int) -> dict[str, np.ndarray]:
    """One scene."""
    scene, fields = waymo_scenes.tracking_scene(seed)
    tensors = {
        name: tf.strings.as_string(value) if name.endswith("sequence_id") else tf.constant(value)
        for name, value in scene.items()
    }
    out = py_metrics_ops.tracking_metrics(config=official_config(fields).SerializeToString(), **tensors)
    return {name: np.asarray(value) for name, value in zip(NAMES, out, strict=True)}


def main() -> int:
    return compare_random("Waymo tracking", "tracking", official, NAMES[:-1], 300)


if __name__ == "__main__":
    raise SystemExit(main())
