"""HOTA: detection and association of tracks in one number (Luiten et al., IJCV 2021, arXiv 2009.07736).

Equal to TrackEval 1.3 (trackeval/metrics/hota.py) in every count and to rounding in every figure, for one sequence and
for several together. Similarity is 3D IoU (``overlap_pairs``, distance = 1 - IoU) or 1 - distance / limit of centres.
Where objects and tracks are ignored (KITTI's DontCare and neighbouring classes), they are taken out before, as
TrackEval's KITTI loader does: ``without_ignored``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from drive.scores.clear_mot_boxes import MotBoxes
from drive.scores.nuscenes_tracking_assign import complete_assignment
from drive.scores.nuscenes_tracking_match import Pairs

ALPHAS = np.arange(0.05, 0.99, 0.05)  # 19 thresholds of similarity
CURVES = ("hota", "deta", "assa", "detre", "detpr", "assre", "asspr", "loca", "owta")
_EPS = float(np.finfo("float").eps)


@dataclass(frozen=True)
class Hota:
    """curves: {name of CURVES: float64 [19]}, one value an ALPHA; tp, fn, fp: int64 [19].

    values: the means over ALPHAS, and ``hota0``, ``loca0``, ``hotaloca0`` at the first. NaN where there is no object.
    """

    curves: dict[str, np.ndarray]
    tp: np.ndarray
    fn: np.ndarray
    fp: np.ndarray
    values: dict[str, float]


@njit(cache=True, nogil=True)
def _match(truth_start, offsets, prediction, score, chosen):  # type: ignore[no-untyped-def]
    """In every frame the pairs of greatest total score; fills chosen int64 [G] (pair of every object, -1 none)."""
    for f in range(truth_start.size - 1):
        first, end = truth_start[f], truth_start[f + 1]
        columns = np.unique(prediction[offsets[first] : offsets[end]])
        if columns.size == 0:
            continue
        n, m = end - first, columns.size
        turned = n > m
        cost = np.zeros((m, n) if turned else (n, m))
        pair = np.full(cost.shape, -1, np.int64)
        for g in range(first, end):
            for e in range(offsets[g], offsets[g + 1]):
                j = np.searchsorted(columns, prediction[e])
                i, k = (j, g - first) if turned else (g - first, j)
                cost[i, k] = -score[e]
                pair[i, k] = e
        found = complete_assignment(cost)
        for i in range(found.size):
            e = pair[i, found[i]]
            if e >= 0:
                chosen[first + (found[i] if turned else i)] = e


def similarity_of(pairs: Pairs, limit_m: float | None = None) -> np.ndarray:
    """Similarity f64 [E] in 0..1 of pairs by IoU, or of pairs by distance within ``limit_m``."""
    return 1.0 - (pairs.distance if limit_m is None else pairs.distance / limit_m)


def evaluate_hota(truth: MotBoxes, tracks: MotBoxes, pairs: Pairs, similarity: np.ndarray) -> Hota:
    """HOTA of one class over all frames. ``pairs`` must hold every pair of similarity above 0 (IoU: ``min_iou`` tiny);
    ``similarity`` f64 [E]. What is marked ignored counts like the rest."""
    num_truth, num_tracks = len(truth), len(tracks)
    row = np.repeat(np.arange(num_truth), np.diff(pairs.offsets))
    length = [np.bincount(side.track) if len(side) else np.zeros(1, np.int64) for side in (truth, tracks)]
    key = truth.track[row] * (int(tracks.track.max(initial=0)) + 1) + tracks.track[pairs.prediction]
    names, couple = np.unique(key, return_inverse=True)
    couple = couple.reshape(-1)
    first = np.zeros(len(names), np.int64)
    first[couple] = np.arange(len(row))
    lengths = [length[0][truth.track[row[first]]], length[1][tracks.track[pairs.prediction[first]]]]

    of_truth, of_tracks = np.bincount(row, similarity, num_truth), np.bincount(pairs.prediction, similarity, num_tracks)
    around = of_truth[row] + of_tracks[pairs.prediction] - similarity
    soft = np.divide(similarity, around, out=np.zeros(len(row)), where=around > _EPS)
    potential = np.bincount(couple, soft, len(names))
    alignment = potential / (lengths[0] + lengths[1] - potential)

    chosen = np.full(num_truth, -1, np.int64)
    _match(truth.start, pairs.offsets, pairs.prediction, alignment[couple] * similarity, chosen)
    matched = chosen[chosen >= 0]
    close = similarity[matched]
    tp = np.zeros(len(ALPHAS), np.int64)
    sums = {name: np.zeros(len(ALPHAS)) for name in ("assa", "assre", "asspr", "loca")}
    for a, alpha in enumerate(ALPHAS.tolist()):
        right = close >= alpha - _EPS
        count = np.bincount(couple[matched[right]], minlength=len(names))
        tp[a] = right.sum()
        sums["loca"][a] = close[right].sum()
        sums["assa"][a] = (count * (count / np.maximum(1, lengths[0] + lengths[1] - count))).sum()
        sums["assre"][a] = (count * (count / np.maximum(1, lengths[0]))).sum()
        sums["asspr"][a] = (count * (count / np.maximum(1, lengths[1]))).sum()
    return _figures(tp, num_truth - tp, num_tracks - tp, sums)


def _figures(tp: np.ndarray, fn: np.ndarray, fp: np.ndarray, sums: dict[str, np.ndarray]) -> Hota:
    curves = {name: sums[name] / np.maximum(1, tp) for name in ("assa", "assre", "asspr")}
    curves["loca"] = np.maximum(1e-10, sums["loca"]) / np.maximum(1e-10, tp)
    curves["detre"] = tp / np.maximum(1, tp + fn)
    curves["detpr"] = tp / np.maximum(1, tp + fp)
    curves["deta"] = tp / np.maximum(1, tp + fn + fp)
    curves["hota"] = np.sqrt(curves["deta"] * curves["assa"])
    curves["owta"] = np.sqrt(curves["detre"] * curves["assa"])
    values = {name: float(curves[name].mean()) for name in CURVES}
    values |= {"hota0": float(curves["hota"][0]), "loca0": float(curves["loca"][0])}
    values["hotaloca0"] = values["hota0"] * values["loca0"]
    if not (tp + fn).any():
        values = dict.fromkeys(values, float("nan"))
    return Hota({name: curves[name] for name in CURVES}, tp, fn, fp, values)
