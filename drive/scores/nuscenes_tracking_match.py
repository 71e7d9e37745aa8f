"""CLEAR-MOT association over time for one class, and what it counts, at one score threshold after another.

Semantics of nuscenes-devkit 1.2 (eval/tracking/{algo,metrics}.py) with py-motmetrics 1.4 (MOTAccumulator.update, after
Bernardin and Stiefelhagen 2008). In every frame an object first keeps the track that it had last, however long ago, if
that is there and near enough; what is then left is assigned so that as many pairs as possible form, at the least sum
of distances. A pair whose object had another track before is a switch.

Pairs nearer than the limit do not depend on the threshold: they are found once (``near_pairs``), and every threshold
walks over those few. Frames where neither an object nor a track is left count for nothing, time included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from drive.scores.nuscenes_tracking_assign import assign_rest

MISSED, MATCHED, SWITCHED = 0, 1, 2

# What one threshold counts, in this order.
COUNTS = (
    "matches",
    "switches",
    "misses",
    "false_positives",
    "frames",
    "distance",
    "mostly_tracked",
    "mostly_lost",
    "fragments",
    "tracked_objects",
    "start_frames",
    "gap_frames",
)


@dataclass(frozen=True)
class Pairs:
    """E candidate pairs of one class, grouped by object in the order of the objects' rows.

    offsets: int64 [G + 1] into the pairs; prediction: int64 [E] rows; distance: f64 [E] metres, all under the limit.
    """

    offsets: np.ndarray
    prediction: np.ndarray
    distance: np.ndarray


@njit(cache=True, nogil=True)
def _near_pairs(
    truth_start: np.ndarray, truth_xy: np.ndarray, pred_start: np.ndarray, pred_xy: np.ndarray, limit: float,
    fill: bool, offsets: np.ndarray, prediction: np.ndarray, distance: np.ndarray,
) -> int:  # fmt: skip
    count = 0
    for f in range(len(truth_start) - 1):
        for g in range(truth_start[f], truth_start[f + 1]):
            for p in range(pred_start[f], pred_start[f + 1]):
                dx, dy = pred_xy[p, 0] - truth_xy[g, 0], pred_xy[p, 1] - truth_xy[g, 1]
                d = np.sqrt(dx * dx + dy * dy)
                if d < limit:
                    if fill:
                        prediction[count] = p
                        distance[count] = d
                    count += 1
            offsets[g + 1] = count
    return count


def near_pairs(
    truth_start: np.ndarray, truth_xy: np.ndarray, pred_start: np.ndarray, pred_xy: np.ndarray, limit_m: float
) -> Pairs:
    """Pairs of the same frame that are strictly nearer than the limit.

    truth_start, pred_start: int64 [F + 1] rows by frame; truth_xy [G, 2], pred_xy [P, 2] f64, global.

    The devkit takes these distances from squared norms of global coordinates (sklearn's euclidean_distances), which at
    1 km costs it all digits below 1e-5 m where two boxes coincide; here they are exact.
    """
    offsets = np.zeros(len(truth_xy) + 1, dtype=np.int64)
    none, nothing = np.zeros(0, np.int64), np.zeros(0)
    count = _near_pairs(truth_start, truth_xy, pred_start, pred_xy, limit_m, False, offsets, none, nothing)
    prediction, distance = np.zeros(count, np.int64), np.zeros(count)
    _near_pairs(truth_start, truth_xy, pred_start, pred_xy, limit_m, True, offsets, prediction, distance)
    return Pairs(offsets, prediction, distance)


@njit(cache=True, nogil=True)
def _walk(
    threshold: float, truth_start: np.ndarray, truth_track: np.ndarray, num_objects: int, pred_start: np.ndarray,
    pred_track: np.ndarray, pred_score: np.ndarray, offsets: np.ndarray, prediction: np.ndarray, distance: np.ndarray,
    state: np.ndarray, matched_pred: np.ndarray, counts: np.ndarray,
) -> None:  # fmt: skip
    """One pass over all frames. Fills state int8 [G], matched_pred bool [P] (MATCHED only) and counts f64 [COUNTS]."""
    last_track = np.full(num_objects, -1, np.int64)
    seen = np.zeros(num_objects, np.int64)
    tracked = np.zeros(num_objects, np.int64)
    last_seen, last_hit = np.full(num_objects, -1, np.int64), np.full(num_objects, -1, np.int64)
    gap, longest = np.zeros(num_objects, np.int64), np.zeros(num_objects, np.int64)
    lost_since_hit = np.zeros(num_objects, np.bool_)
    taken = np.zeros(len(pred_track), np.bool_)
    chosen = np.full(len(truth_track), -1, np.int64)
    counts[:] = 0.0
    matched_pred[:] = False
    frame = 0
    for f in range(len(truth_start) - 1):
        first, end = truth_start[f], truth_start[f + 1]
        shown = 0
        for p in range(pred_start[f], pred_start[f + 1]):
            if pred_score[p] >= threshold:
                shown += 1
        if first == end and shown == 0:
            continue
        left = 0
        for g in range(first, end):
            before = last_track[truth_track[g]]
            if before >= 0:
                for e in range(offsets[g], offsets[g + 1]):
                    p = prediction[e]
                    if pred_track[p] == before:
                        if pred_score[p] >= threshold and not taken[p]:
                            chosen[g] = e
                            taken[p] = True
                        break
            if chosen[g] < 0:
                left += 1
        if left and shown:
            rest = np.empty(left, np.int64)
            left = 0
            for g in range(first, end):
                if chosen[g] < 0:
                    rest[left] = g
                    left += 1
            assign_rest(rest, threshold, offsets, prediction, distance, pred_score, taken, chosen)
        used = 0
        for g in range(first, end):
            o = truth_track[g]
            if last_seen[o] >= 0:
                gap[o] += frame - last_seen[o] - 1  # frames that count, without this object
            seen[o] += 1
            last_seen[o] = frame
            if chosen[g] < 0:
                state[g] = MISSED
                counts[2] += 1
                gap[o] += 1
                lost_since_hit[o] = True
                continue
            e = chosen[g]
            p = prediction[e]
            used += 1
            taken[p] = True
            state[g] = SWITCHED if last_track[o] >= 0 and last_track[o] != pred_track[p] else MATCHED
            counts[1 if state[g] == SWITCHED else 0] += 1
            matched_pred[p] = state[g] == MATCHED
            counts[5] += distance[e]
            last_track[o] = pred_track[p]
            if last_hit[o] < 0:
                counts[10] += gap[o]  # it was missed since it appeared
            elif lost_since_hit[o]:
                counts[8] += 1
            last_hit[o] = frame
            lost_since_hit[o] = False
            tracked[o] += 1
            longest[o] = max(longest[o], gap[o])
            gap[o] = 0
        counts[3] += shown - used
        frame += 1
    counts[4] = frame
    for o in range(num_objects):
        if seen[o] == 0:
            continue
        share = tracked[o] / seen[o]
        if share >= 0.8:
            counts[6] += 1
        elif share < 0.2:
            counts[7] += 1
        if tracked[o]:
            counts[9] += 1
            counts[11] += max(longest[o], gap[o])


@dataclass(frozen=True)
class Clear:
    """Association of one class at T thresholds.

    counts: f64 [T, 12] in the order of COUNTS; ``start_frames`` is the sum over tracked objects of the frames before
    their first pair, ``gap_frames`` of their longest run without one. Of the last threshold: state int8 [G] (MISSED,
    MATCHED or SWITCHED) and matched bool [P], the predictions in pairs that are no switch.
    """

    counts: np.ndarray
    state: np.ndarray
    matched: np.ndarray

    def of(self, name: str) -> np.ndarray:
        """One of COUNTS, f64 [T]."""
        return self.counts[:, COUNTS.index(name)]


def clear_mot(
    thresholds: np.ndarray,
    truth_start: np.ndarray,
    truth_track: np.ndarray,
    pred_start: np.ndarray,
    pred_track: np.ndarray,
    pred_score: np.ndarray,
    pairs: Pairs,
) -> Clear:
    """Walk over the frames once a threshold; predictions with a score of at least the threshold take part.

    Tracks and objects are integers that are unique over all logs, 0 <= object < G; a track has at most one box a frame.
    """
    counts = np.zeros((len(thresholds), len(COUNTS)))
    state, matched = np.zeros(len(truth_track), np.int8), np.zeros(len(pred_track), np.bool_)
    num_objects = int(truth_track.max(initial=-1)) + 1
    for t, threshold in enumerate(thresholds.tolist()):
        _walk(
            threshold, truth_start, truth_track, num_objects, pred_start, pred_track, pred_score, pairs.offsets,
            pairs.prediction, pairs.distance, state, matched, counts[t],
        )  # fmt: skip
    return Clear(counts, state, matched)
