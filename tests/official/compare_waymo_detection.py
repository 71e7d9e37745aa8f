"""Waymo's detection operator against ours on 1,000 random scenes; ``--golden FILE`` keeps its figures for the tests."""

from __future__ import annotations

import os
from typing import Any

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "2"}
import numpy as np
import tensorflow as tf
import waymo_scenes
from exchange import compare, compare_random, report
from waymo_open_dataset.metrics.ops import py_metrics_ops
from waymo_open_dataset.protos import breakdown_pb2, metrics_pb2


def official_config(fields: dict[str, Any]) -> metrics_pb2.Config:
    """The official message of a plain dict."""
    config = metrics_pb2.Config(
        score_cutoffs=fields["score_cutoffs"],
        iou_thresholds=fields["iou_thresholds"],
        box_type=fields["box_type"],
        matcher_type=metrics_pb2.MatcherProto.TYPE_HUNGARIAN,
        desired_recall_delta=fields["desired_recall_delta"],
        min_precision=fields["min_precision"],
        min_heading_accuracy=fields["min_heading_accuracy"],
    )
    if fields["desired_cutoffs"]:
        config.num_desired_score_cutoffs = fields["desired_cutoffs"]
    for name, levels in fields["breakdowns"]:
        config.breakdown_generator_ids.append(breakdown_pb2.Breakdown.GeneratorId.Value(name))
        config.difficulties.add().levels.extend(levels)
    if fields["tolerance"] is not None:
        t, let = fields["tolerance"], config.let_metric_config
        let.enabled = True
        let.sensor_location.x, let.sensor_location.y, let.sensor_location.z = t["sensor_m"]
        let.longitudinal_tolerance_percentage = t["share"]
        let.min_longitudinal_tolerance_meter = t["least_m"]
        let.align_type = t["align"]
    return config


def run_operator(scene: dict[str, np.ndarray], fields: dict[str, Any]) -> dict[str, np.ndarray]:
    """The operator's figures under the names of ``ours_waymo``."""
    tensors = {name: tf.constant(value) for name, value in scene.items()}
    out = py_metrics_ops.detection_metrics(config=official_config(fields).SerializeToString(), **tensors)
    names = ("ap", "aph", "apl", "pr", "pr_heading", "_", "breakdown")
    figures = {name: np.asarray(value) for name, value in zip(names, out, strict=True) if name != "_"}
    figures["pr_heading"] = figures["pr_heading"][:, :, 0]
    return figures


def official(seed: int) -> dict[str, np.ndarray]:
    """One scene."""
    return run_operator(*waymo_scenes.detection_scene(seed))


def main() -> int:
    status = compare_random("Waymo detection", "detection", official, ("ap", "aph", "apl"), 1000)
    for kind, make, count in (("coincident", waymo_scenes.coincident_scene, 3), ("tied", waymo_scenes.tied_scene, 100)):
        theirs = {seed: run_operator(*make(seed)) for seed in range(count)}
        worst = compare("ours_waymo.py", kind, list(range(count)), theirs)
        status |= report(f"Waymo detection, {kind}", count, worst, 1e-5)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
