"""Waymo's tracking metric: MOTA, MOTP, misses, mismatches and false positives at the best score cutoff.

Equal to the operator ``tracking_metrics`` of waymo_open_dataset 1.6.7 (metrics/{tracking_metrics,mot}.cc; the mapping
procedure of Bernardin and Stiefelhagen 2008). Two things to know of the official program: a figure whose MOTA is not
above 0 at any cutoff is left at zeros, and its Python operator passes no tracking difficulty, so that its level 1
equals its level 2 (the C++ tool and this code tell them apart; labels of difficulty 0 give the operator's numbers).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from drive.scores.waymo_assign import NO_MATCH, add_row
from drive.scores.waymo_boxes import BothSides, WaymoBoxes
from drive.scores.waymo_breakdowns import nearest_speeds, own_shard
from drive.scores.waymo_config import GENERATORS, WaymoConfig, shard_count
from drive.scores.waymo_pairs import Pairs, find_pairs

_FALSE, _MISMATCH, _COST, _MATCHED, _OBJECTS, _MISSED = 0, 1, 2, 3, 4, 5  # columns of the counts; _MISSED + difficulty
_DIFFICULTIES = 4


@dataclass(frozen=True)
class WaymoTracks:
    """Boxes with the sequence they lie in (any sortable ids [N]) and their object's number (int64 [N])."""

    boxes: WaymoBoxes
    sequence: np.ndarray
    track: np.ndarray

    def __post_init__(self) -> None:
        if not len(self.boxes) == len(self.sequence) == len(self.track):
            raise ValueError(
                f"{len(self.boxes)} boxes, {len(self.sequence)} sequence ids, {len(self.track)} object numbers"
            )


@dataclass(frozen=True)
class WaymoTrackingMetrics:
    """B figures in the order of ``config.rows()``.

    mota, motp, miss, mismatch, false, cutoff: float32 [B] (ratios to the labels; motp the mean 1 - IoU; cutoff the
    score at which MOTA is best). objects: int64 [B] labels counted at that cutoff. breakdown: int64 [B, 3].
    """

    config: WaymoConfig
    mota: np.ndarray
    motp: np.ndarray
    miss: np.ndarray
    mismatch: np.ndarray
    false: np.ndarray
    cutoff: np.ndarray
    objects: np.ndarray
    breakdown: np.ndarray
    names: tuple[str, ...]


def evaluate_tracks(
    labels: WaymoTracks, predictions: WaymoTracks, config: WaymoConfig | None = None
) -> WaymoTrackingMetrics:
    """All figures of the breakdowns. ValueError where an object is labelled twice in a frame; of predictions the first
    that passes the cutoff counts, as officially."""
    config = config or WaymoConfig()
    cutoffs = config.cutoffs(predictions.boxes.score)
    sides, sequence_of_frame = _by_sequence(labels, predictions)
    pairs = find_pairs(sides.predictions, sides.labels, sides.start_p, sides.start_l, config)
    pairs = pairs.take(pairs.weight >= 0)
    tracks = predictions.track[sides.order_p], labels.track[sides.order_l]
    counts = []
    for name, _ in config.breakdowns:
        speed = _first_frame_speeds(sides, sequence_of_frame) if name == "VELOCITY" else None
        shards = own_shard(name, sides.predictions, speed), own_shard(name, sides.labels)
        counts.append(_count(sides, sequence_of_frame, pairs, tracks, shards, cutoffs, shard_count(name)))
    return _figures(config, cutoffs, counts)


def _by_sequence(labels: WaymoTracks, predictions: WaymoTracks) -> tuple[BothSides, np.ndarray]:
    """Both sides with one number a (sequence, frame), in this order; the sequence of each, int64 [F]."""
    both = (predictions, labels)
    inverse = np.unique(np.concatenate([t.sequence for t in both]), return_inverse=True)[1]
    keys = np.stack([inverse, np.concatenate([t.boxes.frame for t in both])], axis=1).astype(np.int64).reshape(-1, 2)
    ids, place = np.unique(keys, axis=0, return_inverse=True)
    place = place.reshape(-1)
    split = len(predictions.boxes)
    sides = BothSides.of(_renumbered(labels.boxes, place[split:]), _renumbered(predictions.boxes, place[:split]))
    return sides, ids[:, 0]


def _renumbered(boxes: WaymoBoxes, frame: np.ndarray) -> WaymoBoxes:
    return WaymoBoxes(
        frame, boxes.boxes, boxes.kind, boxes.score, boxes.in_no_label_zone, boxes.difficulty, boxes.speed
    )


def _first_frame_speeds(sides: BothSides, sequence_of_frame: np.ndarray) -> np.ndarray:
    """Speeds of the predictions by their nearest label; 0 in sequences whose first frame has none (as officially)."""
    speed = nearest_speeds(sides.predictions, sides.labels, sides.start_p, sides.start_l)
    firsts = np.flatnonzero(np.diff(sequence_of_frame, prepend=-1))
    empty = sequence_of_frame[firsts[sides.start_p[firsts] == sides.start_p[firsts + 1]]]
    speed[np.isin(np.repeat(sequence_of_frame, np.diff(sides.start_p)), empty)] = 0
    return speed


def _count(
    sides: BothSides,
    sequence_of_frame: np.ndarray,
    pairs: Pairs,
    tracks: tuple[np.ndarray, np.ndarray],
    shards: tuple[np.ndarray, np.ndarray],
    cutoffs: np.ndarray,
    count: int,
) -> np.ndarray:
    """Counts of one breakdown, float64 [shards, cutoffs, 9]."""
    keys = []
    for start, track, shard in zip((sides.start_p, sides.start_l), tracks, shards, strict=True):
        sequence = np.repeat(sequence_of_frame, np.diff(start))
        rows = np.stack([sequence, shard, track.astype(np.int64)], axis=1)
        keys.append(np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64))
    frame_l = np.repeat(np.arange(len(sequence_of_frame)), np.diff(sides.start_l))
    seen = np.stack([frame_l, keys[1]], axis=1)[shards[1] >= 0]
    if len(np.unique(seen, axis=0)) < len(seen):
        raise ValueError("an object is labelled twice in a frame")
    inside = (shards[0][pairs.prediction] == shards[1][pairs.label]) & (shards[0][pairs.prediction] >= 0)
    pairs = pairs.take(inside)
    out = np.zeros((count, len(cutoffs), _MISSED + _DIFFICULTIES))
    _follow(
        sides.start_p,
        sides.start_l,
        sides.predictions.score,
        sides.predictions.in_no_label_zone,
        shards[0],
        keys[0],
        shards[1],
        keys[1],
        np.clip(sides.labels.difficulty, 0, _DIFFICULTIES - 1),
        np.searchsorted(pairs.prediction, np.arange(len(sides.predictions) + 1)).astype(np.int64),
        pairs.label,
        pairs.weight,
        -pairs.prediction * (len(sides.labels) + 1) - pairs.label,
        pairs.iou.astype(np.float64),
        cutoffs,
        out,
    )
    return out


@njit(cache=True, nogil=True)
def _follow(  # type: ignore[no-untyped-def]
    start_p,
    start_l,
    score,
    in_zone,
    shard_p,
    key_p,
    shard_l,
    key_l,
    difficulty,
    start,
    label,
    weight,
    tie,
    iou,
    cutoffs,
    out,
):
    """Go through all frames once a cutoff; add to out [shards, cutoffs, 9].

    key_p, key_l: number of the object within its sequence and shard. The mapping of labels to predictions lives on
    from frame to frame by these numbers: partner_l [keys], partner_p [keys], NO_MATCH for none.
    """
    largest = 0
    for f in range(start_p.size - 1):
        largest = max(largest, start_p[f + 1] - start_p[f])
    match_edge, match_row = np.full(score.size, NO_MATCH), np.full(shard_l.size, NO_MATCH)
    gain, via = np.zeros((largest, 3), np.int64), np.empty(largest, np.int64)
    queue, changed = np.empty(largest, np.int64), np.empty(largest, np.int64)
    num_p, num_l = key_p.max() + 1 if key_p.size else 0, key_l.max() + 1 if key_l.size else 0
    partner_p, partner_l = np.empty(num_p, np.int64), np.empty(num_l, np.int64)
    row_p, stamp_p = np.empty(num_p, np.int64), np.zeros(num_p, np.int64)
    stamp_l, matched_l = np.zeros(num_l, np.int64), np.zeros(num_l, np.int64)
    allowed = weight.copy()
    mark, stamp = 0, 0
    for c in range(cutoffs.size):
        partner_p[:] = NO_MATCH
        partner_l[:] = NO_MATCH
        for f in range(start_p.size - 1):
            stamp += 1
            low, high = start_p[f], start_p[f + 1]
            for p in range(low, high):
                match_edge[p] = NO_MATCH
                if shard_p[p] >= 0 and score[p] >= cutoffs[c] and stamp_p[key_p[p]] != stamp:
                    stamp_p[key_p[p]] = stamp
                    row_p[key_p[p]] = p
            for j in range(start_l[f], start_l[f + 1]):
                match_row[j] = NO_MATCH
                if shard_l[j] >= 0:
                    stamp_l[key_l[j]] = stamp
                    out[shard_l[j], c, _OBJECTS] += 1
            for e in range(start[low], start[high]):
                allowed[e] = weight[e]
            # Pairs of before that still may match stay together, whatever else would fit better.
            for p in range(low, high):
                if shard_p[p] < 0 or stamp_p[key_p[p]] != stamp or row_p[key_p[p]] != p:
                    continue
                for e in range(start[p], start[p + 1]):
                    if partner_p[key_p[p]] == key_l[label[e]] and partner_l[key_l[label[e]]] == key_p[p]:
                        match_edge[p] = e
                        match_row[label[e]] = p - low
            for e in range(start[low], start[high]):
                if match_row[label[e]] != NO_MATCH:
                    allowed[e] = -1
            for p in range(low, high):
                present = shard_p[p] >= 0 and stamp_p[key_p[p]] == stamp and row_p[key_p[p]] == p
                if present and match_edge[p] == NO_MATCH and start[p] < start[p + 1]:
                    n, mark = high - low, mark + 2
                    add_row(
                        p - low,
                        mark,
                        start[low : high + 1],
                        label,
                        allowed,
                        tie,
                        match_edge[low:high],
                        match_row,
                        gain[:n],
                        via[:n],
                        queue[:n],
                        changed[:n],
                    )
            for p in range(low, high):
                if match_edge[p] != NO_MATCH:
                    matched_l[key_l[label[match_edge[p]]]] = stamp
            for j in range(start_l[f], start_l[f + 1]):
                if shard_l[j] >= 0 and match_row[j] == NO_MATCH:
                    out[shard_l[j], c, _MISSED + difficulty[j]] += 1
            for p in range(low, high):
                if shard_p[p] < 0 or stamp_p[key_p[p]] != stamp or row_p[key_p[p]] != p:
                    continue
                e = match_edge[p]
                if e == NO_MATCH:
                    out[shard_p[p], c, _FALSE] += not in_zone[p]
                    continue
                out[shard_p[p], c, _MATCHED] += 1
                out[shard_p[p], c, _COST] += 1.0 - iou[e]
                here, former = partner_l[key_l[label[e]]], partner_p[key_p[p]]
                out[shard_p[p], c, _MISMATCH] += here != NO_MATCH and here != key_p[p]
                if former != NO_MATCH and matched_l[former] != stamp:
                    # Another object loses its prediction: a mismatch where it is gone, else it is a miss already.
                    out[shard_p[p], c, _MISMATCH] += stamp_l[former] != stamp
                    partner_l[former] = NO_MATCH
            for p in range(low, high):
                if match_edge[p] != NO_MATCH and partner_l[key_l[label[match_edge[p]]]] != NO_MATCH:
                    partner_p[partner_l[key_l[label[match_edge[p]]]]] = NO_MATCH
            for p in range(low, high):
                if match_edge[p] != NO_MATCH:
                    partner_l[key_l[label[match_edge[p]]]] = key_p[p]
                    partner_p[key_p[p]] = key_l[label[match_edge[p]]]


def _figures(config: WaymoConfig, cutoffs: np.ndarray, counts: list[np.ndarray]) -> WaymoTrackingMetrics:
    rows = config.rows()
    best = np.zeros((6, len(rows)), dtype=np.float32)
    objects = np.zeros(len(rows), dtype=np.int64)
    for row, (b, shard, level) in enumerate(rows):
        sums = counts[b][shard]
        missed = sums[:, _MISSED : _MISSED + level + 1].sum(axis=1)
        truth = sums[:, _OBJECTS] - sums[:, _MISSED + level + 1 :].sum(axis=1)
        known = truth > 0
        # Ratios and their sum in float32, in the official order: ties between cutoffs go to the first.
        ratios = [
            np.divide(
                part.astype(np.float32), truth.astype(np.float32), where=known, out=np.zeros(len(truth), np.float32)
            )
            for part in (missed, sums[:, _FALSE], sums[:, _MISMATCH])
        ]
        mota = np.where(known, np.float32(1) - (ratios[0] + ratios[1] + ratios[2]), np.float32(0))
        at = int(mota.argmax())
        objects[row] = int(truth[known][-1]) if known.any() else 0
        if mota[at] <= 0:
            continue
        motp = sums[at, _COST] / sums[at, _MATCHED] if sums[at, _MATCHED] else 0.0
        best[:, row] = mota[at], motp, ratios[0][at], ratios[2][at], ratios[1][at], cutoffs[at]
        objects[row] = int(truth[at])
    breakdown = [(GENERATORS[config.breakdowns[b][0]], shard, level) for b, shard, level in rows]
    return WaymoTrackingMetrics(
        config=config,
        mota=best[0],
        motp=best[1],
        miss=best[2],
        mismatch=best[3],
        false=best[4],
        cutoff=best[5],
        objects=objects,
        breakdown=np.array(breakdown, dtype=np.int64).reshape(-1, 3),
        names=tuple(config.names()),
    )
