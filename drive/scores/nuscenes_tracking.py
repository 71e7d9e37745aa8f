"""The nuScenes tracking metric: AMOTA, AMOTP and the CLEAR-MOT figures at the best threshold.

Our own code, equal to nuscenes-devkit 1.2 (eval/tracking/{evaluate,algo,metrics,loaders}.py, tracking_nips_2019.json;
Weng 2019 for AMOTA) in every count and to rounding in every mean. A figure that is undefined is NaN, as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from drive.scores.eval_boxes import EvalFrames
from drive.scores.nuscenes_detection import NuScenesConfig, counted
from drive.scores.nuscenes_tracking_boxes import TrackedBoxes, TrackFrames, fill_gaps, mean_scores
from drive.scores.nuscenes_tracking_match import Clear, clear_mot, near_pairs

NUSCENES_TRACKING_RANGE_M = {
    "bicycle": 40.0,
    "bus": 50.0,
    "car": 50.0,
    "motorcycle": 40.0,
    "pedestrian": 40.0,
    "trailer": 50.0,
    "truck": 50.0,
}
FRAME_S = 0.5  # the devkit's frames-to-seconds for TID and LGD, whatever the stamps say
METRICS = (
    "amota", "amotp", "recall", "motar", "gt", "mota", "motp", "mt", "ml", "faf", "tp", "fp", "fn", "ids", "frag",
    "tid", "lgd",
)  # fmt: skip
CURVES = METRICS[2:]
_WORST = {
    "amota": 0.0, "amotp": 2.0, "recall": 0.0, "motar": 0.0, "mota": 0.0, "motp": 2.0, "mt": 0.0, "faf": 500.0,
    "tp": 0.0, "tid": 20.0, "lgd": 20.0,
}  # fmt: skip
SUMMED = ("mt", "ml", "tp", "fp", "fn", "ids", "frag")  # over classes; the others are averaged


@dataclass(frozen=True)
class TrackingConfig:
    """The protocol's numbers (tracking_nips_2019). ``class_range_m`` also fixes the classes and their order.

    worst: what a class with ground truth gets where no threshold is reached, and AMOTA and AMOTP at unreached recalls.
    """

    class_range_m: Mapping[str, float] = field(default_factory=lambda: dict(NUSCENES_TRACKING_RANGE_M))
    match_distance_m: float = 2.0
    min_recall: float = 0.1
    num_thresholds: int = 40
    worst: Mapping[str, float] = field(default_factory=lambda: dict(_WORST))

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.class_range_m)


@dataclass(frozen=True)
class TrackingMetrics:
    """K classes, T thresholds.

    values: {metric: f64 [K]}, metric of METRICS; NaN where undefined. curves: {metric: f64 [K, T]} of CURVES, and of
    "confidence" and "recall_hypo", from the highest recall asked for to the lowest.
    """

    config: TrackingConfig
    values: dict[str, np.ndarray]
    curves: dict[str, np.ndarray]

    def overall(self, metric: str) -> float:
        """Mean or sum (SUMMED) over the classes that have the figure; NaN (sums: 0) where none has."""
        data = self.values[metric]
        known = data[~np.isnan(data)]
        if metric in SUMMED:
            return float(known.sum())
        return float(known.mean()) if len(known) else float("nan")


def filter_tracked(tracked: TrackedBoxes, frames: EvalFrames, config: TrackingConfig) -> TrackedBoxes:
    """The boxes that count: same rules as in detection (range, points, racks)."""
    return tracked.take(counted(tracked.boxes, frames, NuScenesConfig(class_range_m=config.class_range_m)))


def evaluate_tracking(
    truth: TrackedBoxes, predictions: TrackedBoxes, frames: TrackFrames, config: TrackingConfig | None = None
) -> TrackingMetrics:
    """All figures of boxes that went through ``filter_tracked``.

    Raises ValueError for a label that no class has, and for a track with two boxes in one frame.
    """
    config = config or TrackingConfig()
    names = config.class_names
    for tracked in (truth, predictions):
        label = tracked.boxes.label
        if len(tracked) and not (label.min() >= 0 and label.max() < len(names)):
            raise ValueError(f"labels must lie in 0..{len(names) - 1}")
    truth, predictions = fill_gaps(truth, frames), fill_gaps(mean_scores(predictions), frames)
    nothing = np.full((len(names), config.num_thresholds), np.nan)
    curves = {name: nothing.copy() for name in (*CURVES, "confidence", "recall_hypo")}
    for k in range(len(names)):
        of_class = _class_curves(truth, predictions, k, len(frames.frames), config)
        for name, curve in of_class.items():
            curves[name][k] = curve

    values = {name: np.full(len(names), np.nan) for name in METRICS}
    for k in range(len(names)):
        mota = curves["mota"][k]
        if not np.isnan(mota).all():
            best = int(np.nanargmax(mota))
            for name in CURVES:
                values[name][k] = curves[name][k, best]
        for name, source in (("amota", "motar"), ("amotp", "motp")):
            curve = curves[source][k]
            if not np.isnan(curve).all():
                values[name][k] = np.where(np.isnan(curve), config.worst[name], curve).mean()
    return TrackingMetrics(config, values, curves)


def _class_curves(
    truth: TrackedBoxes, predictions: TrackedBoxes, label: int, num_frames: int, config: TrackingConfig
) -> dict[str, np.ndarray]:
    """Curves f64 [T] of one class; {} where it has no ground truth."""
    truth, predictions = truth.take(truth.boxes.label == label), predictions.take(predictions.boxes.label == label)
    if not len(truth):
        return {}
    truth_start, pred_start = _starts(truth, num_frames), _starts(predictions, num_frames)
    objects, truth_track = np.unique(truth.track, return_inverse=True)
    pairs = near_pairs(
        truth_start, np.ascontiguousarray(truth.boxes.boxes[:, :2]), pred_start,
        np.ascontiguousarray(predictions.boxes.boxes[:, :2]), config.match_distance_m,
    )  # fmt: skip

    def walk(thresholds: np.ndarray) -> Clear:
        score = predictions.boxes.score
        return clear_mot(thresholds, truth_start, truth_track, pred_start, predictions.track, score, pairs)

    scores = predictions.boxes.score[walk(np.array([-np.inf])).matched]
    confidence, recall = _thresholds(scores, len(truth), config)
    reached = ~np.isnan(confidence)
    if not reached.any():
        counts = {"ml": float(len(objects)), "gt": float(len(truth)), "fn": float(len(truth))}
        worst = {name: config.worst.get(name, counts.get(name, np.nan)) for name in CURVES}
        curves = {name: np.full(config.num_thresholds, value) for name, value in worst.items()}
        return curves | {"confidence": confidence, "recall_hypo": recall}
    different, inverse = np.unique(confidence[reached], return_inverse=True)
    found = _figures(walk(different), len(truth))
    curves = {name: np.full(config.num_thresholds, np.nan) for name in CURVES}
    for name in CURVES:
        curves[name][reached] = found[name][inverse]
    return curves | {"confidence": confidence, "recall_hypo": recall}


def _starts(tracked: TrackedBoxes, num_frames: int) -> np.ndarray:
    """int64 [F + 1]: first row of every frame."""
    return np.searchsorted(tracked.boxes.frame, np.arange(num_frames + 1)).astype(np.int64)


def _thresholds(scores: np.ndarray, num_truth: int, config: TrackingConfig) -> tuple[np.ndarray, np.ndarray]:
    """(score thresholds f64 [T], NaN where unreached; recalls that they are meant for), highest recall first."""
    if not len(scores):
        return np.full(config.num_thresholds, np.nan), np.full(config.num_thresholds, np.nan)
    falling = np.sort(scores)[::-1]
    recall = np.arange(1, len(falling) + 1) / num_truth
    wanted = np.linspace(config.min_recall, 1, config.num_thresholds).round(12)
    thresholds = np.interp(wanted, recall, falling, right=0)
    thresholds[wanted > recall[-1]] = np.nan
    return thresholds[::-1].copy(), wanted[::-1].copy()


def _figures(clear: Clear, num_truth: int) -> dict[str, np.ndarray]:
    """CURVES from counts, f64 [T] each."""
    matches, switches, misses = clear.of("matches"), clear.of("switches"), clear.of("misses")
    false, tracked = clear.of("false_positives"), clear.of("tracked_objects")
    errors = misses + switches + false
    recall = matches / num_truth  # MOTAR's own recall leaves switches out
    with np.errstate(divide="ignore", invalid="ignore"):  # 0/0 is NaN: undefined
        motar = np.maximum(0.0, 1.0 - (errors - (1.0 - recall) * num_truth) / (recall * num_truth))
        motar[recall * num_truth == 0] = np.nan
        return {
            "recall": (matches + switches) / num_truth,
            "motar": motar,
            "gt": np.full(len(matches), float(num_truth)),
            "mota": np.maximum(0.0, 1.0 - errors / num_truth),
            "motp": clear.of("distance") / (matches + switches),
            "mt": clear.of("mostly_tracked"),
            "ml": clear.of("mostly_lost"),
            "faf": false / clear.of("frames") * 100.0,
            "tp": matches,
            "fp": false,
            "fn": misses,
            "ids": switches,
            "frag": clear.of("fragments"),
            "tid": clear.of("start_frames") * FRAME_S / tracked,
            "lgd": clear.of("gap_frames") * FRAME_S / tracked,
        }
