"""Waymo's mapping of labels to predictions over the frames, at one score cutoff after another (compiled)."""

from __future__ import annotations

import numpy as np
from numba import njit

from drive.scores.waymo_assign import NO_MATCH, add_row

FALSE, MISMATCH, COST, MATCHED, OBJECTS, MISSED = 0, 1, 2, 3, 4, 5  # columns of the counts; MISSED + difficulty
DIFFICULTIES = 4


@njit(cache=True, nogil=True)
def follow(  # type: ignore[no-untyped-def]
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
    matched,
):
    """Go through all frames once a cutoff; add to out [shards, cutoffs, 9]; fill matched [cutoffs, P] if it has rows.

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
                    out[shard_l[j], c, OBJECTS] += 1
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
                    out[shard_l[j], c, MISSED + difficulty[j]] += 1
            for p in range(low, high):
                if shard_p[p] < 0 or stamp_p[key_p[p]] != stamp or row_p[key_p[p]] != p:
                    continue
                e = match_edge[p]
                if e == NO_MATCH:
                    out[shard_p[p], c, FALSE] += not in_zone[p]
                    continue
                out[shard_p[p], c, MATCHED] += 1
                if matched.shape[0]:
                    matched[c, p] = label[e]
                out[shard_p[p], c, COST] += 1.0 - iou[e]
                here, former = partner_l[key_l[label[e]]], partner_p[key_p[p]]
                out[shard_p[p], c, MISMATCH] += here != NO_MATCH and here != key_p[p]
                if former != NO_MATCH and matched_l[former] != stamp:
                    # Another object loses its prediction: a mismatch where it is gone, else it is a miss already.
                    out[shard_p[p], c, MISMATCH] += stamp_l[former] != stamp
                    partner_l[former] = NO_MATCH
            for p in range(low, high):
                if match_edge[p] != NO_MATCH and partner_l[key_l[label[match_edge[p]]]] != NO_MATCH:
                    partner_p[partner_l[key_l[label[match_edge[p]]]]] = NO_MATCH
            for p in range(low, high):
                if match_edge[p] != NO_MATCH:
                    partner_l[key_l[label[match_edge[p]]]] = key_p[p]
                    partner_p[key_p[p]] = key_l[label[match_edge[p]]]
