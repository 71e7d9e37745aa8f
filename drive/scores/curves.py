"""Precision and errors along the recall axis, as nuscenes-devkit 1.2 samples them (eval/detection/algo.py)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RECALL_POINTS = 101  # recall 0, 0.01 .. 1
TP_ERRORS = ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err")


@dataclass(frozen=True)
class Curve:
    """At 101 recalls from 0 to 1: precision f64 [101], confidence f64 [101] (0 beyond the highest recall reached), and
    the cumulative means of the errors f64 [5, 101] in the order of TP_ERRORS."""

    precision: np.ndarray
    confidence: np.ndarray
    errors: np.ndarray

    @staticmethod
    def without_matches() -> Curve:
        """Of a class that has no ground truth, or of which no prediction matched: no precision, every error 1."""
        return Curve(np.zeros(RECALL_POINTS), np.zeros(RECALL_POINTS), np.ones((len(TP_ERRORS), RECALL_POINTS)))


def cumulative_mean(errors: np.ndarray) -> np.ndarray:
    """Running mean of f64 [M] that steps over NaN: ones where all is NaN, 0 before the first that is not."""
    known = ~np.isnan(errors)
    if not known.any():
        return np.ones(len(errors))
    count = np.cumsum(known)
    return np.divide(np.nancumsum(errors), count, out=np.zeros(len(errors)), where=count > 0)


def sample_curve(matched: np.ndarray, scores: np.ndarray, num_truth: int, errors: np.ndarray) -> Curve:
    """Curve of predictions in the order in which they chose: matched bool [P], scores f64 [P] (best first).

    errors: f64 [5, M] of the M matched ones in the same order, NaN where a pair has no such error.
    """
    hits = np.flatnonzero(matched)
    if num_truth == 0 or len(hits) == 0:
        return Curve.without_matches()
    true = np.cumsum(matched, dtype=np.float64)
    grid = np.linspace(0, 1, RECALL_POINTS)
    recall = true / float(num_truth)
    precision = np.interp(grid, recall, true / np.arange(1, len(matched) + 1), right=0)
    confidence = np.interp(grid, recall, scores, right=0)
    # The errors are looked up by confidence; reversed, because np.interp wants increasing points.
    known, rising = scores[hits][::-1], confidence[::-1]
    means = [np.interp(rising, known, cumulative_mean(error)[::-1])[::-1] for error in errors]
    return Curve(precision, confidence, np.stack(means))


def average_precision(precision: np.ndarray, min_recall: float, min_precision: float) -> float:
    """Mean of the precision above ``min_precision`` over the recalls above ``min_recall`` (excluded), scaled to 1."""
    above = np.maximum(precision[round(100 * min_recall) + 1 :] - min_precision, 0.0)
    return float(np.mean(above)) / (1.0 - min_precision)


def mean_errors(curve: Curve, min_recall: float) -> np.ndarray:
    """f64 [5]: mean of each error from ``min_recall`` (excluded) to the highest recall reached; 1 if that is lower."""
    first = round(100 * min_recall) + 1
    reached = np.flatnonzero(curve.confidence)
    last = int(reached[-1]) if len(reached) else 0
    if last < first:
        return np.ones(len(TP_ERRORS))
    return curve.errors[:, first : last + 1].mean(axis=1)


SHOWN_FROM = 0.3  # where no score is better than another: nothing matches at all


def operating_point(matched: np.ndarray, scores: np.ndarray, num_truth: int) -> float:
    """The score from which F1 = 2 TP / (predictions + ground truth) is highest; SHOWN_FROM where nothing matches.

    Ours, not the devkit's: it decides which boxes a picture shows and calls false.
    """
    if num_truth == 0 or not matched.any():
        return SHOWN_FROM
    f1 = 2 * np.cumsum(matched) / (np.arange(1, len(matched) + 1) + num_truth)
    return float(scores[int(np.argmax(f1))])
