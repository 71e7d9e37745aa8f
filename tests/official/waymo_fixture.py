"""The official repository's own fixture (src/waymo_open_dataset/metrics/tools/fake_*.bin) as the operator's arrays.

Not ours to copy: it is looked for in waymo/metrics of the real recordings beside the checkout.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "waymo" / "metrics"
FILES = ("fake_predictions.bin", "fake_ground_truths.bin")
BOX = ("center_x", "center_y", "center_z", "length", "width", "height", "heading")


def scene(predictions: Iterable[dict[str, Any]], labels: Iterable[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Arrays of both files' objects, given as dicts of their fields (absent ones absent).

    As compute_detection_metrics_main.cc: labels without points are dropped, at most five points make level 2.
    """
    frames: dict[tuple[str, int], int] = {}
    kept = [o for o in labels if o["object"].get("num_lidar_points", 0) > 0]
    out: dict[str, np.ndarray] = {}
    for side, objects in (("prediction", list(predictions)), ("ground_truth", kept)):
        keys = [(o.get("context_name", ""), o.get("frame_timestamp_micros", 0)) for o in objects]
        out[f"{side}_frame_id"] = np.array([frames.setdefault(key, len(frames)) for key in keys], np.int64)
        boxes = [[o["object"]["box"].get(name, 0.0) for name in BOX] for o in objects]
        out[f"{side}_bbox"] = np.array(boxes, np.float32)
        out[f"{side}_type"] = np.array([o["object"].get("type", 0) for o in objects], np.uint8)
        if side == "prediction":
            out["prediction_score"] = np.array([o.get("score", 1.0) for o in objects], np.float32)
            out["prediction_overlap_nlz"] = np.array([o.get("overlap_with_nlz", False) for o in objects], bool)
    by_points = [2 if o["object"]["num_lidar_points"] <= 5 else 1 for o in kept]
    annotated = [o["object"].get("detection_difficulty", 0) for o in kept]
    levels = [a or p for a, p in zip(annotated, by_points, strict=True)]
    out["ground_truth_difficulty"] = np.array(levels, np.uint8)
    out["ground_truth_speed"] = np.zeros((len(kept), 2), np.float32)
    return out
