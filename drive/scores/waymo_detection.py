"""Waymo's detection metric: AP, AP weighted by heading (APH), AP weighted by longitudinal affinity (APL).

Our own vectorised code, equal to the operator ``detection_metrics`` of waymo_open_dataset 1.6.7 (metrics/
{detection_metrics,metrics_utils,matcher,breakdown_generator,iou}.cc), float32 rounding and ties included. One
tie is settled otherwise: of two labels with the very same box the official search may leave the other one unmatched,
which shows where their difficulties differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from drive.scores.waymo_assign import sweep
from drive.scores.waymo_boxes import BothSides, WaymoBoxes
from drive.scores.waymo_breakdowns import LABEL_ONLY, camera_views, own_shard
from drive.scores.waymo_config import GENERATORS, SHARDS, TYPE_NAMES, WaymoConfig, shard_count
from drive.scores.waymo_pairs import Pairs, find_pairs

_BOXES_AT_ONCE = 200_000
_DIFFICULTIES = 4  # 0 (unset), 1, 2, and 3 for anything harder than both levels


@dataclass(frozen=True)
class WaymoDetectionMetrics:
    """B figures in the order of ``config.rows()``, S cutoffs.

    ap, aph, apl: float32 [B]. precision_recall: float32 [B, S, 5] precision, recall, true positives, false positives,
    false negatives. aph_precision, apl_precision: float32 [B, S]. breakdown: int64 [B, 3] generator number, shard,
    level. names: official names. cutoffs: float32 [S]. truth_count: int64 [B] labels of the shard up to the level.
    """

    config: WaymoConfig
    ap: np.ndarray
    aph: np.ndarray
    apl: np.ndarray
    precision_recall: np.ndarray
    aph_precision: np.ndarray
    apl_precision: np.ndarray
    breakdown: np.ndarray
    names: tuple[str, ...]
    cutoffs: np.ndarray
    truth_count: np.ndarray

    def of(self, name: str) -> tuple[float, float]:
        """(AP, APH) of a figure by its official name."""
        row = self.names.index(name)
        return float(self.ap[row]), float(self.aph[row])


def evaluate(labels: WaymoBoxes, predictions: WaymoBoxes, config: WaymoConfig | None = None) -> WaymoDetectionMetrics:
    """All figures of the breakdowns of ``config`` over all frames that occur on either side."""
    config = config or WaymoConfig()
    cutoffs = config.cutoffs(predictions.score)
    rising = np.argsort(cutoffs, kind="stable")
    # What changes at each cutoff adds up over the frames.
    names = [name for name, _ in config.breakdowns]
    changes = [np.zeros((shard_count(name), len(cutoffs), 4 + _DIFFICULTIES)) for name in names]
    for sides in BothSides.of(labels, predictions).parts(_BOXES_AT_ONCE):
        rank = np.searchsorted(cutoffs[rising], sides.predictions.score, side="right").astype(np.int64)
        pairs = find_pairs(sides.predictions, sides.labels, sides.start_p, sides.start_l, config)
        for name, out in zip(names, changes, strict=True):
            for part in _matchings(name, sides, pairs):
                _count(part, sides, rank, config, out)
    counts, totals = [], [_label_counts(name, labels) for name in names]
    for out in changes:
        # A change at a cutoff holds for all lower ones.
        sums = np.empty_like(out)
        sums[:, rising] = np.cumsum(out[:, ::-1], axis=1)[:, ::-1]
        counts.append(sums)
    return _figures(config, cutoffs, counts, totals)


@dataclass(frozen=True)
class _Matching:
    """One matching problem of a breakdown: which pairs take part, and where its outcomes count (see ``sweep``)."""

    pairs: Pairs
    label_shard: np.ndarray
    first: np.ndarray
    many: np.ndarray


def _matchings(name: str, sides: BothSides, pairs: Pairs) -> list[_Matching]:
    predictions, labels = sides.predictions, sides.labels
    shard_l = own_shard(name, labels)
    if name not in LABEL_ONLY:
        shard_p = own_shard(name, predictions)
        inside = (shard_p[pairs.prediction] == shard_l[pairs.label]) & (shard_p[pairs.prediction] >= 0)
        return [_Matching(pairs.take(inside), shard_l, shard_p, (shard_p >= 0).astype(np.int64))]
    count = len(SHARDS[name])
    if name == "VELOCITY":
        first, many = (predictions.kind - 1) * count, np.full(len(predictions), count, dtype=np.int64)
        nearest = _best_overlap(pairs, len(predictions))
        known = nearest >= 0
        first[known], many[known] = shard_l[nearest[known]], 1
        return [_Matching(pairs, shard_l, first, many)]
    views_p, views_l = camera_views(predictions), camera_views(labels)
    parts = []
    for camera in range(count):
        part = pairs.take(views_p[pairs.prediction, camera] & views_l[pairs.label, camera])
        here = np.where((shard_l >= 0) & (shard_l % count == camera), shard_l, -1)
        nearest = _best_overlap(part, len(predictions))
        elsewhere = (nearest >= 0) & (here[nearest] < 0) if len(labels) else np.zeros(len(predictions), bool)
        many = (views_p[:, camera] & ~elsewhere).astype(np.int64)
        parts.append(_Matching(part, here, (predictions.kind - 1) * count + camera, many))
    return parts


def _best_overlap(pairs: Pairs, count: int) -> np.ndarray:
    """Label with the largest IoU (at least 0.01; of equal ones the last) of each prediction, int64 [P], -1 for none."""
    order = np.argsort(pairs.iou, kind="stable")
    order = order[pairs.iou[order] >= 0.01]
    best = np.full(count, -1, dtype=np.int64)
    best[pairs.prediction[order]] = pairs.label[order]
    return best


def _count(part: _Matching, sides: BothSides, rank: np.ndarray, config: WaymoConfig, changes: np.ndarray) -> None:
    pairs = part.pairs.take(part.pairs.weight >= 0)
    start = np.searchsorted(pairs.prediction, np.arange(len(sides.predictions) + 1)).astype(np.int64)
    # Of equal weights the official search keeps the earlier prediction, then the earlier label.
    tie = -pairs.prediction * (len(sides.labels) + 1) - pairs.label
    many = np.where(sides.predictions.in_no_label_zone, 0, part.many)
    sweep(
        sides.start_p,
        rank,
        start,
        pairs.label,
        pairs.weight,
        tie,
        pairs.heading > np.float32(config.min_heading_accuracy),
        pairs.heading,
        pairs.affinity,
        part.label_shard,
        np.clip(sides.labels.difficulty, 0, _DIFFICULTIES - 1),
        part.first,
        many,
        changes,
    )


def _label_counts(name: str, labels: WaymoBoxes) -> np.ndarray:
    """Labels by shard and difficulty, int64 [shards, 4]."""
    shard = own_shard(name, labels)
    inside = shard >= 0
    hard = np.clip(labels.difficulty, 0, _DIFFICULTIES - 1)
    flat = np.bincount((shard * _DIFFICULTIES + hard)[inside], minlength=shard_count(name) * _DIFFICULTIES)
    return flat.reshape(-1, _DIFFICULTIES)


def _figures(
    config: WaymoConfig, cutoffs: np.ndarray, counts: list[np.ndarray], totals: list[np.ndarray]
) -> WaymoDetectionMetrics:
    rows = config.rows()
    table = np.zeros((len(rows), len(cutoffs), 5), dtype=np.float32)
    weighted = np.zeros((2, len(rows), len(cutoffs)), dtype=np.float32)
    ap = np.zeros((3, len(rows)), dtype=np.float32)
    truth = np.zeros(len(rows), dtype=np.int64)
    delta = np.float32(config.desired_recall_delta)
    for row, (b, shard, level) in enumerate(rows):
        sums = counts[b][shard]
        right, false = np.rint(sums[:, 0]), np.rint(sums[:, 1])
        truth[row] = totals[b][shard, : level + 1].sum()
        missed = truth[row] - np.rint(sums[:, 4 : 5 + level].sum(axis=1))
        recall = _ratio(right, right + missed)
        table[row] = np.stack([_precision(right, right + false, recall, config), recall, right, false, missed], axis=1)
        ap[0, row] = mean_precision(table[row, :, 0].copy(), recall, delta)
        for k in range(2):
            weighted[k, row] = _precision(sums[:, 2 + k], right + false, recall, config)
            ap[1 + k, row] = mean_precision(weighted[k, row], recall, delta)
    breakdown = [(GENERATORS[config.breakdowns[b][0]], shard, level) for b, shard, level in rows]
    return WaymoDetectionMetrics(
        config=config,
        ap=ap[0],
        aph=ap[1],
        apl=ap[2],
        precision_recall=table,
        aph_precision=weighted[0],
        apl_precision=weighted[1],
        breakdown=np.array(breakdown, dtype=np.int64).reshape(-1, 3),
        names=tuple(config.names()),
        cutoffs=cutoffs,
        truth_count=truth,
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """float32 quotient, 0 where the whole is 0."""
    part, whole = part.astype(np.float32), whole.astype(np.float32)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _precision(part: np.ndarray, whole: np.ndarray, recall: np.ndarray, config: WaymoConfig) -> np.ndarray:
    precision = _ratio(part, whole)
    precision[precision < np.float32(config.min_precision)] = 0
    precision[recall == 0] = 1
    return precision


@njit(cache=True, nogil=True)
def mean_precision(precision, recall, delta):  # type: ignore[no-untyped-def]
    """Area under the precision-recall curve, float32 (metrics_utils.cc ``ComputeMeanAveragePrecision``).

    precision, recall, delta: float32 [S], [S] and a number. Precision is the best at this recall or a higher one;
    gaps in recall wider than delta keep the higher side's precision except for their last delta. Kept in float32
    throughout: a gap of a whole number of deltas falls to one side or the other by its rounding.
    """
    order = np.argsort(-recall, kind="mergesort")
    half, slack, nothing = 0.5, np.float32(1e-6), np.float32(0.0)
    area, best = nothing, nothing
    last_r, last_p, begun = nothing, nothing, False
    position, i = nothing, 0  # the first step starts from recall 0, as the official walk does
    while i <= order.size:
        here, top = nothing, np.float32(1.0)
        if i < order.size:
            here, top = recall[order[i]], precision[order[i]]
        i += 1
        while i < order.size and recall[order[i]] == here:
            top = max(top, precision[order[i]])
            i += 1
        if here == nothing:
            # The point at recall 0 takes the precision of the lowest real recall.
            i = order.size + 1
        while np.float32(position - here) > np.float32(delta + slack):
            position = np.float32(position - delta)
            area = np.float32(area + half * np.float32(last_r - position) * np.float32(last_p + best))
            last_r, last_p, begun = position, best, True
        if here == nothing:
            top = nothing
        best = max(top, best)
        if begun:
            area = np.float32(area + half * np.float32(last_r - here) * np.float32(last_p + best))
        last_r, last_p, position, begun = here, best, here, True
    return area


def leaderboard(metrics: WaymoDetectionMetrics, level: int = 2) -> tuple[float, float]:
    """(mAP, mAPH): the mean over vehicle, pedestrian and cyclist of the OBJECT_TYPE figures at ``level``."""
    names = [f"OBJECT_TYPE_TYPE_{name}_LEVEL_{level}" for name in TYPE_NAMES.values() if name != "SIGN"]
    values = np.array([metrics.of(name) for name in names])
    return float(values[:, 0].mean()), float(values[:, 1].mean())
