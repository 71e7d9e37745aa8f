"""The nuScenes detection metric: AP by centre distance, five true-positive errors, NDS.

Our own vectorised code, equal to nuscenes-devkit 1.2 (eval/detection/{algo,evaluate}.py, eval/common/loaders.py,
configs/detection_cvpr_2019.json) to rounding, ties included. Two figures are extra and touch none of the official ones:
the mean over the classes that occur in the ground truth, and AP by range band.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from drive.geometry.box import HEIGHT, LENGTH, VX, VY, YAW, X, Y
from drive.scores.curves import TP_ERRORS, Curve, average_precision, mean_errors, operating_point, sample_curve
from drive.scores.eval_boxes import NO_ATTRIBUTE, EvalBoxes, EvalFrames, ego_distance
from drive.scores.matching import match_centres

_UNDEFINED = {"traffic_cone": ("orient_err", "vel_err", "attr_err"), "barrier": ("vel_err", "attr_err")}
_HALF_TURN = frozenset({"barrier"})  # a barrier's front and back are the same
_RACK_CLASSES = ("bicycle", "motorcycle")

NUSCENES_RANGE_M = {
    "car": 50.0,
    "truck": 50.0,
    "bus": 50.0,
    "trailer": 50.0,
    "construction_vehicle": 50.0,
    "pedestrian": 40.0,
    "motorcycle": 40.0,
    "bicycle": 40.0,
    "traffic_cone": 30.0,
    "barrier": 30.0,
}


@dataclass(frozen=True)
class NuScenesConfig:
    """The protocol's numbers (detection_cvpr_2019). ``class_range_m`` also fixes the classes and their order."""

    class_range_m: Mapping[str, float] = field(default_factory=lambda: dict(NUSCENES_RANGE_M))
    thresholds_m: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    tp_threshold_m: float = 2.0
    min_recall: float = 0.1
    min_precision: float = 0.1
    max_boxes_per_frame: int = 500
    mean_ap_weight: float = 5.0
    range_bands_m: tuple[tuple[float, float], ...] = ((0.0, 15.0), (15.0, 30.0), (30.0, 50.0))

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.class_range_m)

    @staticmethod
    def for_classes(names: tuple[str, ...]) -> NuScenesConfig:
        """The same protocol for other class names: those that nuScenes does not have count up to 50 m."""
        return NuScenesConfig(class_range_m={name: NUSCENES_RANGE_M.get(name, 50.0) for name in names})


@dataclass(frozen=True)
class DetectionMetrics:
    """K classes, T distance thresholds, D range bands.

    ap: f64 [K, T]. tp_errors: f64 [K, 5] in the order of TP_ERRORS; tp_defined bool [K, 5] says which count. band_ap:
    f64 [K, D] mean over the thresholds; band_truth int64 [K, D]. truth_count, prediction_count int64 [K] after the
    filters. curves: one a (class, threshold).

    For pictures, at the TP threshold and from each class's operating point on (f64 [K], the score at which its F1 is
    best): found bool [N] of the filtered ground truth; right and shown bool [M] of the filtered predictions; missed and
    false int64 [F] boxes a frame.
    """

    config: NuScenesConfig
    ap: np.ndarray
    tp_errors: np.ndarray
    tp_defined: np.ndarray
    band_ap: np.ndarray
    band_truth: np.ndarray
    truth_count: np.ndarray
    prediction_count: np.ndarray
    curves: dict[tuple[str, float], Curve]
    operating_points: np.ndarray
    found: np.ndarray
    right: np.ndarray
    shown: np.ndarray
    missed: np.ndarray
    false: np.ndarray

    @property
    def class_ap(self) -> np.ndarray:
        """Mean over the thresholds, f64 [K]."""
        return self.ap.mean(axis=1)

    @property
    def mean_ap(self) -> float:
        """Over all classes of the protocol, a class without ground truth counting 0, as the devkit does."""
        return float(np.mean(self.class_ap))

    @property
    def mean_ap_present(self) -> float | None:
        """Over the classes that occur in the (filtered) ground truth; None where there is none."""
        present = self.truth_count > 0
        return float(np.mean(self.class_ap[present])) if present.any() else None

    @property
    def mean_tp_errors(self) -> np.ndarray:
        """Mean over the classes for which the error is defined, f64 [5]; NaN where no class of the protocol has it."""
        count = self.tp_defined.sum(axis=0)
        total = np.where(self.tp_defined, self.tp_errors, 0.0).sum(axis=0)
        return np.divide(total, count, out=np.full(len(TP_ERRORS), np.nan), where=count > 0)

    @property
    def nds(self) -> float:
        """nuScenes detection score: (5 mAP + sum of max(0, 1 - error)) / 10."""
        errors = self.mean_tp_errors
        scores = np.maximum(0.0, 1.0 - errors[~np.isnan(errors)])
        weight = self.config.mean_ap_weight
        return float((weight * self.mean_ap + scores.sum()) / (weight + len(scores)))


def filter_boxes(boxes: EvalBoxes, frames: EvalFrames, config: NuScenesConfig) -> EvalBoxes:
    """The boxes that count (``counted``)."""
    return boxes.take(counted(boxes, frames, config))


def counted(boxes: EvalBoxes, frames: EvalFrames, config: NuScenesConfig) -> np.ndarray:
    """Which boxes count, bool [N]: nearer than their class's range, not empty of points, no parked bicycle in a rack.

    Loaders.py ``filter_eval_boxes``. Predictions carry UNKNOWN_POINTS and pass the second test.
    """
    ranges = np.array(list(config.class_range_m.values()), dtype=np.float64)
    keep = (ego_distance(boxes, frames) < ranges[boxes.label]) & (boxes.num_points != 0)
    rack_labels = [i for i, name in enumerate(config.class_names) if name in _RACK_CLASSES]
    candidates = (
        np.flatnonzero(keep & np.isin(boxes.label, rack_labels)) if len(frames.rack_frame) else np.zeros(0, int)
    )
    for rack in range(len(frames.rack_frame) if len(candidates) else 0):
        rows = candidates[boxes.frame[candidates] == frames.rack_frame[rack]]
        local = (boxes.boxes[rows, :3] - frames.rack_centre[rack]) @ frames.rack_rotation[rack]
        keep[rows[np.all(np.abs(local) <= frames.rack_size[rack] / 2, axis=1)]] = False
    return keep


def _pair_errors(
    truth: EvalBoxes, rows_t: np.ndarray, predictions: EvalBoxes, rows_p: np.ndarray, half_turn: bool
) -> np.ndarray:
    """Errors of M matched pairs of rows, f64 [5, M] in the order of TP_ERRORS (eval/common/utils.py), or NaN."""
    a, b = truth.boxes[rows_t], predictions.boxes[rows_p]
    size_a, size_b = a[:, LENGTH : HEIGHT + 1], b[:, LENGTH : HEIGHT + 1]
    shared = np.prod(np.minimum(size_a, size_b), axis=1)
    period = np.pi if half_turn else 2 * np.pi
    turn = (a[:, YAW] - b[:, YAW] + period / 2) % period - period / 2
    speed = np.hypot(b[:, VX] - a[:, VX], b[:, VY] - a[:, VY])
    has_speed = truth.velocity_valid[rows_t] & predictions.velocity_valid[rows_p]
    attribute_a, attribute_b = truth.attribute[rows_t], predictions.attribute[rows_p]
    return np.stack(
        [
            np.hypot(b[:, X] - a[:, X], b[:, Y] - a[:, Y]),
            1.0 - shared / (size_a.prod(axis=1) + size_b.prod(axis=1) - shared),
            np.abs(turn),
            np.where(has_speed, speed, np.nan),
            np.where(attribute_a == NO_ATTRIBUTE, np.nan, (attribute_a != attribute_b).astype(np.float64)),
        ]
    )


def _band_ap(
    match: np.ndarray, truth_range: np.ndarray, pred_range: np.ndarray, config: NuScenesConfig
) -> tuple[np.ndarray, np.ndarray]:
    """AP f64 [D] by range band, mean over the thresholds, and ground-truth counts int64 [D], of one class.

    match int64 [T, P] over predictions in score order. A matched prediction belongs to the band of its ground truth, a
    false one to its own, so that no box is lost at the border of two bands.
    """
    low, high = np.array(config.range_bands_m).T
    count = ((truth_range >= low[:, None]) & (truth_range < high[:, None])).sum(axis=1)
    ap = np.zeros((len(match), len(low)))
    for t, rows in enumerate(match):
        distance = pred_range.copy()
        distance[rows >= 0] = truth_range[rows[rows >= 0]]
        for d in np.flatnonzero(count):
            inside = (distance >= low[d]) & (distance < high[d])
            hit = rows[inside] >= 0
            # Only the precision is wanted: no scores, no errors.
            curve = sample_curve(hit, np.zeros(len(hit)), int(count[d]), np.zeros((1, int(hit.sum()))))
            ap[t, d] = average_precision(curve.precision, config.min_recall, config.min_precision)
    return ap.mean(axis=0), count


def evaluate(
    truth: EvalBoxes, predictions: EvalBoxes, frames: EvalFrames, config: NuScenesConfig | None = None
) -> DetectionMetrics:
    """All figures of boxes that went through ``filter_boxes``. Raises ValueError for a label that no class has."""
    config = config or NuScenesConfig()
    names, thresholds = config.class_names, np.array(config.thresholds_m)
    shape = (len(names), len(config.range_bands_m))
    for boxes in (truth, predictions):
        if len(boxes) and not (boxes.label.min() >= 0 and boxes.label.max() < len(names)):
            raise ValueError(f"labels must lie in 0..{len(names) - 1}")
    tp = config.thresholds_m.index(config.tp_threshold_m)
    truth_range, pred_range = ego_distance(truth, frames), ego_distance(predictions, frames)
    ap, band_ap, band_truth = np.zeros((len(names), len(thresholds))), np.zeros(shape), np.zeros(shape, dtype=np.int64)
    tp_errors, best_scores = np.ones((len(names), len(TP_ERRORS))), np.full(len(names), np.inf)
    found, right, shown = (np.zeros(len(rows), dtype=bool) for rows in (truth, predictions, predictions))
    curves: dict[tuple[str, float], Curve] = {}

    for k, name in enumerate(names):
        rows_t, rows_p = np.flatnonzero(truth.label == k), np.flatnonzero(predictions.label == k)
        # Ties: the devkit sorts (score, index) and reverses, so the later of two equal scores chooses first.
        rows_p = rows_p[np.argsort(predictions.score[rows_p], kind="stable")[::-1]]
        scores, frame_t, frame_p = predictions.score[rows_p], truth.frame[rows_t], predictions.frame[rows_p]
        match = match_centres(frame_p, predictions.boxes[rows_p, :2], frame_t, truth.boxes[rows_t, :2], thresholds)
        for t, threshold in enumerate(config.thresholds_m):
            hit = match[t] >= 0
            errors = _pair_errors(truth, rows_t[match[t][hit]], predictions, rows_p[hit], name in _HALF_TURN)
            curve = sample_curve(hit, scores, len(rows_t), errors)
            curves[name, threshold] = curve
            ap[k, t] = average_precision(curve.precision, config.min_recall, config.min_precision)
        tp_errors[k] = mean_errors(curves[name, config.tp_threshold_m], config.min_recall)
        band_ap[k], band_truth[k] = _band_ap(match, truth_range[rows_t], pred_range[rows_p], config)

        hit = match[tp] >= 0
        best_scores[k] = operating_point(hit, scores, len(rows_t))
        above = scores >= best_scores[k]
        shown[rows_p[above]] = True
        right[rows_p[hit]] = True
        found[rows_t[match[tp][above & hit]]] = True

    return DetectionMetrics(
        config=config,
        ap=ap,
        tp_errors=tp_errors,
        tp_defined=np.array([[error not in _UNDEFINED.get(name, ()) for error in TP_ERRORS] for name in names]),
        band_ap=band_ap,
        band_truth=band_truth,
        truth_count=np.bincount(truth.label, minlength=len(names)),
        prediction_count=np.bincount(predictions.label, minlength=len(names)),
        curves=curves,
        operating_points=best_scores,
        found=found,
        right=right,
        shown=shown,
        missed=np.bincount(truth.frame[~found], minlength=len(frames)),
        false=np.bincount(predictions.frame[shown & ~right], minlength=len(frames)),
    )
