"""AB3DMOT's 3D tracking metric: CLEAR MOT over recall (sAMOTA, AMOTA, AMOTP) and at the score where MOTA is best.

Weng et al., "3D Multi-Object Tracking: A Baseline and New Evaluation Metrics" (IROS 2020); equal to the program of the
same authors (github.com/xinshuoweng/AB3DMOT, scripts/KITTI/evaluate.py) in every count, and to rounding in every mean.
Written anew. How the figures come about:

* A track's score is the mean of its boxes' scores. A first pass with all tracks gives the scores of the matched
  boxes; 40 thresholds are taken from them so that recall rises in steps of 1/40. Recall counts ignored objects too.
* In every frame as many pairs as possible are formed, at the least sum of 1 - IoU; no pair of before is preferred.
* An ignored object is neither wanted nor missed, but a box that matches it is no false positive and counts in
  recall, precision and MOTP. MOTA divides by the objects that are not ignored.
* sMOTA at recall r = 1 - (FN + FP + IDS - (1 - r) GT) / (r GT), within 0..1; the means over recall divide by 40,
  however few thresholds were reached.
* The single figures are taken at the threshold whose MOTA is highest (all tracks where none is above 0). The
  threshold is chosen on the labels that are scored: so does AB3DMOT, and so are its published tables made.

Two things of the official program are kept because the counts depend on them: a box that matched in any earlier pass is
not pardoned in a later one, and the mean score of a track is taken anew in every pass, of the mean of the pass before,
so that its last bit moves and a track may fall below the threshold that it gave.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from drive.scores.clear_mot_boxes import MotBoxes, overlap_pairs
from drive.scores.clear_mot_walk import COUNTS, FN, FP, IDS, ML, MT, PT, TP, associate, follow, mean_again
from drive.scores.nuscenes_tracking_match import Pairs

RECALL_STEPS = 40
_ALL = -10_000.0  # the official threshold of the pass that takes every track


@dataclass(frozen=True)
class RecallCurve:
    """Figures at each threshold reached, T of them from the highest score down.

    threshold: float64 [T]; recall_wanted: float64 [T] (sMOTA's r); counts: int64 [T, len(COUNTS)];
    mota, smota, motp, recall, precision: float64 [T].
    """

    threshold: np.ndarray
    recall_wanted: np.ndarray
    counts: np.ndarray
    mota: np.ndarray
    smota: np.ndarray
    motp: np.ndarray
    recall: np.ndarray
    precision: np.ndarray


@dataclass(frozen=True)
class MotRecall:
    """One class. values: the means over recall and the figures at the best threshold; NaN where there is no object.

    samota, amota, amotp; threshold (-10000: all tracks), mota, motp (mean IoU of pairs: higher is better), motal, moda,
    modp, recall, precision, f1, far (false positives a frame), mt, pt, ml (shares of the objects that are not ignored
    throughout). counts: those of COUNTS, ``objects`` (wanted boxes), ``objects_ignored``, ``trajectories``,
    ``track_trajectories``, ``frames``.
    """

    values: dict[str, float]
    counts: dict[str, int]
    curve: RecallCurve

    def flat(self) -> dict[str, Any]:
        """Every figure under its name; None where it is not defined."""
        values = {name: None if math.isnan(v) or math.isinf(v) else v for name, v in self.values.items()}
        return values | self.counts


def _by_track(boxes: MotBoxes) -> tuple[np.ndarray, np.ndarray]:
    """(first int64 [T + 1], rows by track and frame int64 [N])."""
    order = np.argsort(boxes.track, kind="stable")
    count = np.unique(boxes.track, return_counts=True)[1]
    return np.concatenate([[0], np.cumsum(count)]).astype(np.int64), order


class _Passes:
    """The passes of one class, in the official order: what one leaves behind, the next finds."""

    def __init__(self, truth: MotBoxes, tracks: MotBoxes, pairs: Pairs) -> None:
        self.truth, self.tracks, self.pairs = truth, tracks, pairs
        self.score = tracks.score.copy()
        self.ever_matched = np.zeros(len(tracks), bool)
        self.of_truth, self.of_tracks = _by_track(truth), _by_track(tracks)
        self.chosen = np.full(len(truth), -1, np.int64)

    def run(self, threshold: float) -> tuple[np.ndarray, float, float]:
        """(counts int64, sum of IoU, sum of MODP) with the tracks whose mean score reaches the threshold."""
        counts = np.zeros(len(COUNTS), np.int64)
        truth, tracks, pairs = self.truth, self.tracks, self.pairs
        mean_again(*self.of_tracks, self.score)
        total, modp = associate(
            threshold, truth.start, truth.ignored, tracks.start, tracks.track, self.score, tracks.ignored,
            pairs.offsets, pairs.prediction, pairs.distance, self.ever_matched, self.chosen, counts,
        )  # fmt: skip
        follow(*self.of_truth, truth.ignored, self.chosen, pairs.prediction, tracks.track, counts)
        return counts, total, modp

    def matched_scores(self) -> np.ndarray:
        """Scores of the matched boxes of the last pass."""
        return self.score[self.pairs.prediction[self.chosen[self.chosen >= 0]]]


def recall_thresholds(scores: np.ndarray, num_truth: int) -> tuple[np.ndarray, np.ndarray]:
    """(score thresholds, recalls that they stand for), both float64 [T], from matched scores; recall 0 is left out.

    KITTI's rule: walking down the scores, one is taken where its recall is not farther from the wanted one than the
    next one's; the last always. Fewer than 40 where recall ends earlier.
    """
    falling = np.sort(scores)[::-1].tolist()
    thresholds, recalls, wanted = [], [], 0.0
    for i, score in enumerate(falling):
        left = (i + 1) / num_truth
        right = (i + 2) / num_truth if i < len(falling) - 1 else left
        if right - wanted < wanted - left and i < len(falling) - 1:
            continue
        thresholds.append(score)
        recalls.append(wanted)
        wanted += 1 / RECALL_STEPS
    return np.array(thresholds[1:]), np.array(recalls[1:])


def evaluate_recall(truth: MotBoxes, tracks: MotBoxes, min_iou: float, *, three_d: bool = True) -> MotRecall:
    """All figures of one class at a least overlap of ``min_iou``.

    Raises ValueError for different numbers of frames and for a least overlap outside (0, 1].
    """
    passes = _Passes(truth, tracks, overlap_pairs(truth, tracks, min_iou, three_d=three_d))
    wanted = int((~truth.ignored).sum())
    counts = passes.run(_ALL)[0]
    thresholds, recalls = recall_thresholds(passes.matched_scores(), int(counts[TP] + counts[FN]))
    found = [passes.run(threshold) for threshold in thresholds.tolist()]
    figures = [_figures(*one, wanted, truth.num_frames, r) for one, r in zip(found, recalls.tolist(), strict=True)]
    curve = RecallCurve(
        thresholds,
        recalls,
        np.array([one[0] for one in found], np.int64).reshape(-1, len(COUNTS)),
        *(np.array([f[name] for f in figures]) for name in ("mota", "smota", "motp", "recall", "precision")),
    )
    best, best_mota = _ALL, 0.0
    for threshold, mota in zip(thresholds.tolist(), curve.mota.tolist(), strict=True):
        if mota > best_mota:  # of equal ones the highest score
            best, best_mota = threshold, mota
    at_best = passes.run(best)
    values = _figures(*at_best, wanted, truth.num_frames, 1.0)
    del values["smota"]
    means = {f"a{name}": sum(curve_.tolist()) / RECALL_STEPS for name, curve_ in _means(curve).items()}
    values = {"samota": means["asmota"], "amota": means["amota"], "amotp": means["amotp"], "threshold": best} | values
    if not wanted:
        values = dict.fromkeys(values, math.nan)
    counts = at_best[0]
    numbers = {name: int(n) for name, n in zip(COUNTS, counts, strict=True)}
    numbers |= {
        "objects": wanted,
        "objects_ignored": len(truth) - wanted,
        "trajectories": len(passes.of_truth[0]) - 1,
        "track_trajectories": len(passes.of_tracks[0]) - 1,
        "frames": truth.num_frames,
    }
    return MotRecall(values, numbers, curve)


def _means(curve: RecallCurve) -> dict[str, np.ndarray]:
    return {"smota": curve.smota, "mota": curve.mota, "motp": curve.motp}


def _figures(
    counts: np.ndarray, total: float, modp: float, wanted: int, frames: int, recall: float
) -> dict[str, float]:
    """The official formulas; NaN where there is no wanted object."""
    tp, fn, fp, ids = (int(counts[i]) for i in (TP, FN, FP, IDS))
    objects = int(counts[MT] + counts[PT] + counts[ML])
    defined = bool(fp + tp) and bool(tp + fn)
    found, right = (tp / (tp + fn), tp / (fp + tp)) if defined else (0.0, 0.0)
    errors = fn + fp
    out = {
        "mota": math.nan,
        "motp": total / tp if tp else 0.0,
        "motal": math.nan,
        "moda": math.nan,
        "modp": modp / frames if frames else math.nan,
        "recall": found,
        "precision": right,
        "f1": 2 * right * found / (right + found) if right + found else 0.0,
        "far": fp / frames if frames else math.nan,
        "smota": math.nan,
    }
    for name, i in (("mt", MT), ("pt", PT), ("ml", ML)):
        out[name] = int(counts[i]) / objects if objects else 0.0
    if wanted:
        out["mota"] = 1 - (errors + ids) / wanted
        out["moda"] = 1 - errors / wanted
        out["motal"] = 1 - (errors + (math.log10(ids) if ids else 0)) / wanted
        out["smota"] = min(1.0, max(0.0, 1 - (errors + ids - (1 - recall) * wanted) / (recall * wanted)))
    return out
