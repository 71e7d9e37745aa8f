"""py-motmetrics' figures of two sides (extra ``nuscenes``), under our names."""

from __future__ import annotations

import warnings

import motmetrics
import numpy as np

from drive.scores.clear_mot_boxes import MotBoxes
from drive.scores.nuscenes_tracking_match import Pairs

OFFICIAL = {
    "num_matches": "matches", "num_switches": "ids", "num_misses": "fn", "num_false_positives": "fp",
    "num_fragmentations": "frag", "mostly_tracked": "mt_count", "partially_tracked": "pt_count",
    "mostly_lost": "ml_count", "idtp": "idtp", "idfp": "idfp", "idfn": "idfn", "num_objects": "objects",
    "num_predictions": "tracks", "num_unique_objects": "trajectories", "mota": "mota", "motp": "motp",
    "recall": "recall", "precision": "precision", "idf1": "idf1", "idp": "idp", "idr": "idr",
}  # fmt: skip


def figures(truth: MotBoxes, tracks: MotBoxes, pairs: Pairs) -> dict[str, float]:
    """All of OFFICIAL, of all frames as one sequence (objects and tracks are named uniquely over sequences)."""
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for f in range(truth.num_frames):
        low, high = truth.start[f], truth.start[f + 1]
        first, end = tracks.start[f], tracks.start[f + 1]
        distance = np.full((high - low, end - first), np.nan)
        for g in range(low, high):
            own = slice(pairs.offsets[g], pairs.offsets[g + 1])
            distance[g - low, pairs.prediction[own] - first] = pairs.distance[own]
        accumulator.update(truth.track[low:high], tracks.track[first:end], distance)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas' deprecations inside motmetrics
        row = motmetrics.metrics.create().compute(accumulator, metrics=list(OFFICIAL), name="all").loc["all"]
    return {ours: float(row[name]) for name, ours in OFFICIAL.items()}
