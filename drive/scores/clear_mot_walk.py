"""One pass of AB3DMOT's metric over all frames (compiled): association frame by frame, then every object's story."""

from __future__ import annotations

import numpy as np
from numba import njit

from drive.scores.nuscenes_tracking_assign import assign_rest

# What a pass counts, in this order. tp and fp are boxes; itp, ifn and itr what of them is ignored (itp is in tp too).
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
TP, ITP, FN, IFN, FP, ITR, TRACKS, IDS, FRAG, MT, PT, ML, IGNORED = range(len(COUNTS))


@njit(cache=True, nogil=True)
def mean_again(first, order, score):  # type: ignore[no-untyped-def]
    """Replace the scores of every track by their mean, added up one by one in the order of the frames."""
    for t in range(first.size - 1):
        total = 0.0
        for k in range(first[t], first[t + 1]):
            total += score[order[k]]
        mean = total / (first[t + 1] - first[t])
        for k in range(first[t], first[t + 1]):
            score[order[k]] = mean


@njit(cache=True, nogil=True)
def associate(  # type: ignore[no-untyped-def]
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
                    counts[IFN] += 1
                else:
                    counts[FN] += 1
                continue
            e = chosen[g]
            ever_matched[prediction[e]] = True
            counts[TP] += 1
            total += 1.0 - distance[e]
            if truth_ignored[g]:
                counts[ITP] += 1
            else:
                pairs += 1
                overlap += 1.0 - distance[e]
        modp += overlap / pairs if pairs else 1.0
        for g in range(first, end):
            if chosen[g] >= 0:
                taken[prediction[chosen[g]]] = True
        for p in range(track_start[f], track_start[f + 1]):
            if score[p] >= threshold:
                counts[TRACKS] += 1
                if not taken[p]:
                    if pardoned[p] and not ever_matched[p]:
                        counts[ITR] += 1
                    else:
                        counts[FP] += 1
    return total, modp


@njit(cache=True, nogil=True)
def follow(first, order, ignored, chosen, prediction, track, counts):  # type: ignore[no-untyped-def]
    """Switches, fragments and tracked shares of every object: rows order[first[o]:first[o + 1]] in time."""
    for o in range(first.size - 1):
        low, end = first[o], first[o + 1]
        length, num_ignored, found = end - low, 0, 0
        for k in range(low, end):
            num_ignored += ignored[order[k]]
            found += chosen[order[k]] >= 0
        if num_ignored == length:
            counts[IGNORED] += 1
            continue
        if found == 0:
            counts[ML] += 1
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
                    counts[IDS] += 1
                # At the last frame the official test comes after ``last`` is renewed; both ask that it is known.
                following = 0
                if k + 1 < end:
                    following = chosen[order[k + 1]]
                    if before != here and last >= 0 and here >= 0 and following >= 0:
                        counts[FRAG] += 1
                if here >= 0:
                    tracked += 1
                    last = here
                if k + 1 == end and before != here and last >= 0 and here >= 0:
                    counts[FRAG] += 1
            before = here
        share = tracked / (length - num_ignored)
        if share > 0.8:
            counts[MT] += 1
        elif share < 0.2:
            counts[ML] += 1
        else:
            counts[PT] += 1
