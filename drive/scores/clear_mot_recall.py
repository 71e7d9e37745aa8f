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
from numba import njit

from drive.scores.clear_mot_boxes import MotBoxes, overlap_pairs
from drive.scores.nuscenes_tracking_assign import assign_rest
from drive.scores.nuscenes_tracking_match import Pairs

RECALL_STEPS = 40
_ALL = -10_000.0  # the official threshold of the pass that takes every track
COUNTS = (
    "tp",
    "itp",
    "fn",
    "ifn",
    "fp",
    "itr",
    "tracks",
    "ids",
    "frag",
    "mt_count",
    "pt_count",
    "ml_count",
    "ignored_tracks",
)
_TP, _ITP, _FN, _IFN, _FP, _ITR, _TRACKS, _IDS, _FRAG, _MT, _PT, _ML, _IGNORED = range(len(COUNTS))


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


@njit(cache=True, nogil=True)
def _mean_again(first, order, score):  # type: ignore[no-untyped-def]
    """Replace the scores of every track by their mean, added up one by one in the order of the frames."""
    for t in range(first.size - 1):
        total = 0.0
        for k in range(first[t], first[t + 1]):
            total += score[order[k]]
        mean = total / (first[t + 1] - first[t])
        for k in range(first[t], first[t + 1]):
            score[order[k]] = mean


@njit(cache=True, nogil=True)
def _associate(  # type: ignore[no-untyped-def]
    threshold, truth_start, truth_ignored, track_start, track, score, pardoned, offsets, prediction, distance,
    ever_matched, chosen, counts
):  # fmt: skip
    """One pass over the frames: fills chosen int64 [G] (pair of every object, -1 none), marks ever_matched bool [P] and
    adds to counts. Returns (sum of IoU of all pairs, sum of MODP over frames)."""
    total, modp = 0.0, 0.0
    taken = np.zeros(track.size, np.bool_)
    rows = np.empty(0, np.int64)
    for f in range(truth_start.size - 1):
        first, end = truth_start[f], truth_start[f + 1]
        if rows.size < end - first:
            rows = np.empty(2 * (end - first), np.int64)
        for g in range(first, end):
            chosen[g] = -1
            rows[g - first] = g
        # Objects and tracks that have one partner at most are each other's without any solving.
        clash = False
        for g in range(first, end):
            for e in range(offsets[g], offsets[g + 1]):
                p = prediction[e]
                if score[p] >= threshold:
                    clash |= chosen[g] >= 0 or taken[p]
                    chosen[g] = e
                    taken[p] = True
        for p in range(track_start[f], track_start[f + 1]):
            taken[p] = False
        if clash:
            chosen[first:end] = -1
            assign_rest(rows[: end - first], threshold, offsets, prediction, distance, score, taken, chosen)
        pairs, overlap = 0, 0.0
        for g in range(first, end):
            if chosen[g] < 0:
                if truth_ignored[g]:
                    counts[_IFN] += 1
                else:
                    counts[_FN] += 1
                continue
            e = chosen[g]
            ever_matched[prediction[e]] = True
            counts[_TP] += 1
            total += 1.0 - distance[e]
            if truth_ignored[g]:
                counts[_ITP] += 1
            else:
                pairs += 1
                overlap += 1.0 - distance[e]
        modp += overlap / pairs if pairs else 1.0
        for g in range(first, end):
            if chosen[g] >= 0:
                taken[prediction[chosen[g]]] = True
        for p in range(track_start[f], track_start[f + 1]):
            if score[p] >= threshold:
                counts[_TRACKS] += 1
                if not taken[p]:
                    if pardoned[p] and not ever_matched[p]:
                        counts[_ITR] += 1
                    else:
                        counts[_FP] += 1
    return total, modp


@njit(cache=True, nogil=True)
def _follow(first, order, ignored, chosen, prediction, track, counts):  # type: ignore[no-untyped-def]
    """Switches, fragments and tracked shares of every object: rows order[first[o]:first[o + 1]] in time."""
    for o in range(first.size - 1):
        low, end = first[o], first[o + 1]
        length, num_ignored, found = end - low, 0, 0
        for k in range(low, end):
            num_ignored += ignored[order[k]]
            found += chosen[order[k]] >= 0
        if num_ignored == length:
            counts[_IGNORED] += 1
            continue
        if found == 0:
            counts[_ML] += 1
            continue
        before = -1  # track in the frame before
        last = -1  # last track, forgotten in ignored frames
        tracked = 0
        for k in range(low, end):
            g = order[k]
            here = track[prediction[chosen[g]]] if chosen[g] >= 0 else -1
            if k == low:  # counts even where it is ignored
                tracked += here >= 0
                last = here
            elif ignored[g]:
                last = -1
            else:
                if last != here and last >= 0 and here >= 0 and before >= 0:
                    counts[_IDS] += 1
                # At the last frame the official test comes after ``last`` is renewed; both ask that it is known.
                following = 0
                if k + 1 < end:
                    following = chosen[order[k + 1]]
                    if before != here and last >= 0 and here >= 0 and following >= 0:
                        counts[_FRAG] += 1
                if here >= 0:
                    tracked += 1
                    last = here
                if k + 1 == end and before != here and last >= 0 and here >= 0:
                    counts[_FRAG] += 1
            before = here
        share = tracked / (length - num_ignored)
        if share > 0.8:
            counts[_MT] += 1
        elif share < 0.2:
            counts[_ML] += 1
        else:
            counts[_PT] += 1


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
        _mean_again(*self.of_tracks, self.score)
        total, modp = _associate(
            threshold, truth.start, truth.ignored, tracks.start, tracks.track, self.score, tracks.ignored,
            pairs.offsets, pairs.prediction, pairs.distance, self.ever_matched, self.chosen, counts,
        )  # fmt: skip
        _follow(*self.of_truth, truth.ignored, self.chosen, pairs.prediction, tracks.track, counts)
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
    thresholds, recalls = recall_thresholds(passes.matched_scores(), int(counts[_TP] + counts[_FN]))
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
    tp, fn, fp, ids = (int(counts[i]) for i in (_TP, _FN, _FP, _IDS))
    objects = int(counts[_MT] + counts[_PT] + counts[_ML])
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
    for name, i in (("mt", _MT), ("pt", _PT), ("ml", _ML)):
        out[name] = int(counts[i]) / objects if objects else 0.0
    if wanted:
        out["mota"] = 1 - (errors + ids) / wanted
        out["moda"] = 1 - errors / wanted
        out["motal"] = 1 - (errors + (math.log10(ids) if ids else 0)) / wanted
        out["smota"] = min(1.0, max(0.0, 1 - (errors + ids - (1 - recall) * wanted) / (recall * wanted)))
    return out
