"""Maximum-weight matching of predictions to labels for every score cutoff in one pass.

Waymo's operator solves the assignment anew for each cutoff. Lowering the cutoff only adds predictions, and an optimal
matching stays optimal after one best alternating path from each new prediction (Edmonds and Karp 1972): so one sweep
from the highest score down visits every cutoff's optimum, at the cost of a single assignment. What changes is written
at the cutoff where it changes; sums over the cutoffs then give each one's counts.
"""

from __future__ import annotations

import numpy as np
from numba import njit

NO_MATCH = -1


@njit(cache=True, nogil=True)
def add_row(row, mark, start, label, weight, tie, match_edge, match_row, gain, via, queue, changed):  # type: ignore[no-untyped-def]
    """Bring prediction `row` into an optimal matching; returns how many predictions changed (their rows in `changed`).

    start int64 [P + 1], label, weight, tie int64 [E]: the edges of each prediction; tie decides between matchings of
    equal weight. match_edge int64 [P], match_row int64 [L]: the matching. gain int64 [P, 3] (weight, tie, state), via
    int64 [P] (edge by which the one before took this prediction's label), queue int64 [P], changed int64 [P]: room.
    mark: even, larger than any that `gain` has seen; it saves clearing the room.
    """
    known, waits = mark, mark + 1
    gain[row, 0] = gain[row, 1] = 0
    gain[row, 2] = waits
    via[row] = NO_MATCH
    queue[0] = row
    head, waiting = 0, 1
    best_weight, best_tie, best_edge, best_end = 0, 0, NO_MATCH, row
    while waiting:
        i = queue[head]
        head = head + 1 if head + 1 < queue.size else 0
        waiting -= 1
        gain[i, 2] = known
        for e in range(start[i], start[i + 1]):
            if weight[e] < 0 or e == match_edge[i]:
                continue
            w, t = gain[i, 0] + weight[e], gain[i, 1] + tie[e]
            j = match_row[label[e]]
            if j != NO_MATCH:
                w, t = w - weight[match_edge[j]], t - tie[match_edge[j]]
                if gain[j, 2] >= known and (w < gain[j, 0] or (w == gain[j, 0] and t <= gain[j, 1])):
                    continue
                gain[j, 0], gain[j, 1], via[j] = w, t, e
                if gain[j, 2] != waits:
                    gain[j, 2] = waits
                    tail = head + waiting
                    queue[tail if tail < queue.size else tail - queue.size] = j
                    waiting += 1
            if w > best_weight or (w == best_weight and t > best_tie):
                best_weight, best_tie = w, t
                best_edge, best_end = (e, i) if j == NO_MATCH else (NO_MATCH, j)
    return _walk_back(row, best_end, best_edge, start, label, match_edge, match_row, via, changed)


@njit(cache=True, nogil=True)
def _walk_back(row, end, edge, start, label, match_edge, match_row, via, changed):  # type: ignore[no-untyped-def]
    """Give every prediction on the path from `row` to `end` its new edge; `end` itself takes `edge` (or none)."""
    if end == row and edge == NO_MATCH:
        return 0
    count, here = 0, end
    while True:
        match_edge[here] = edge
        if edge != NO_MATCH:
            match_row[label[edge]] = here
        changed[count] = here
        count += 1
        if here == row:
            return count
        edge = via[here]
        # The edge by which `here` lost its label belongs to the prediction before it.
        here = np.searchsorted(start, edge, side="right") - 1


@njit(cache=True, nogil=True)
def sweep(start_p, rank, start, label, weight, tie, good, heading, affinity, label_shard, difficulty, first, many, out):  # type: ignore[no-untyped-def]
    """Match the frames one by one; add to out [shards, cutoffs, 8] what changes at each cutoff.

    start_p int64 [F + 1]: predictions of each frame. rank int64 [P]: how many cutoffs (rising) each passes. start,
    label, weight, tie: the edges. good bool, heading, affinity float [E]: whether the pair counts when matched, and
    its weights. label_shard int64 [L] (-1: counts nowhere), difficulty int64 [L] 0..3. first, many int64 [P]: the run
    of shards in which a prediction is false while unmatched. Columns of out: right, false, heading, affinity, matched
    labels of difficulty 0..3.
    """
    largest = 0
    for f in range(start_p.size - 1):
        largest = max(largest, start_p[f + 1] - start_p[f])
    match_edge, match_row = np.full(rank.size, NO_MATCH), np.full(label_shard.size, NO_MATCH)
    before = np.full(rank.size, NO_MATCH)
    gain, via = np.zeros((largest, 3), np.int64), np.empty(largest, np.int64)
    mark = 0
    queue, changed = np.empty(largest, np.int64), np.empty(largest, np.int64)
    for f in range(start_p.size - 1):
        low, high = start_p[f], start_p[f + 1]
        edges = start[low : high + 1]
        taken = match_edge[low:high]
        order = np.argsort(-rank[low:high], kind="mergesort")
        for i in order:
            p = low + i
            if rank[p] == 0:
                break
            k = rank[p] - 1
            for s in range(first[p], first[p] + many[p]):
                out[s, k, 1] += 1
            if edges[i] == edges[i + 1]:
                continue
            n, mark = high - low, mark + 2
            count = add_row(
                i, mark, edges, label, weight, tie, taken, match_row, gain[:n], via[:n], queue[:n], changed[:n]
            )
            for c in range(count):
                q = low + changed[c]
                _note(q, before[q], -1, k, label, good, heading, affinity, label_shard, first, many, out)
                _note(q, match_edge[q], 1, k, label, good, heading, affinity, label_shard, first, many, out)
                before[q] = match_edge[q]
            if count and match_edge[low + changed[0]] != NO_MATCH:  # the path ended at a label that was free
                j = label[match_edge[low + changed[0]]]
                if label_shard[j] >= 0:
                    out[label_shard[j], k, 4 + difficulty[j]] += 1


@njit(cache=True, nogil=True)
def _note(q, edge, sign, k, label, good, heading, affinity, label_shard, first, many, out):  # type: ignore[no-untyped-def]
    """Prediction q gains (sign 1) or loses (-1) its match by `edge` at cutoff k."""
    if edge == NO_MATCH:
        return
    for s in range(first[q], first[q] + many[q]):
        out[s, k, 1] -= sign
    shard = label_shard[label[edge]]
    if shard >= 0 and good[edge]:
        out[shard, k, 0] += sign
        out[shard, k, 2] += sign * heading[edge]
        out[shard, k, 3] += sign * affinity[edge]
