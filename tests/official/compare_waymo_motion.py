"""Waymo's motion operator against ours on 300 random scenes; ``--golden FILE`` keeps its figures for the tests."""

from __future__ import annotations

import os

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "2"}
import numpy as np
import tensorflow as tf
import waymo_scenes
from exchange import compare_random
from waymo_open_dataset.metrics.ops import py_metrics_ops
from waymo_open_dataset.protos import motion_metrics_pb2

NAMES = ("min_ade", "min_fde", "miss_rate", "overlap_rate", "mean_ap")


def official(seed: int) -> dict[str, np.ndarray]:
    """One scene."""
    scene, fields = waymo_scenes.motion_scene(seed)
    config = motion_metrics_pb2.MotionMetricsConfig(
        track_steps_per_second=fields["track_hz"],
        prediction_steps_per_second=fields["prediction_hz"],
        track_history_samples=fields["history"],
        track_future_samples=fields["future"],
        speed_lower_bound=fields["speed_low"],
        speed_upper_bound=fields["speed_high"],
        speed_scale_lower=fields["scale_low"],
        speed_scale_upper=fields["scale_high"],
        max_predictions=fields["max_predictions"],
    )
    for step, lateral, longitudinal in fields["horizons"]:
        config.step_configurations.add(
            measurement_step=step, lateral_miss_threshold=lateral, longitudinal_miss_threshold=longitudinal
        )
    tensors = {name: tf.constant(value) for name, value in scene.items()}
    out = py_metrics_ops.motion_metrics(config=config.SerializeToString(), **tensors)
    return {name: np.asarray(value) for name, value in zip(NAMES, out, strict=True)}


def main() -> int:
    return compare_random("Waymo motion", "motion", official, NAMES, 300)


if __name__ == "__main__":
    raise SystemExit(main())
