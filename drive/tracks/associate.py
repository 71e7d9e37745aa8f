"""Which track belongs to which detection: all classes in one call, each with its own cost, limit and algorithm.

Tracks and detections are handed over sorted by class, so that each class is one problem of ops.assignment. All is one
compiled step on the kernels of ops: at a few hundred boxes ten calls from Python take longer than the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numba import njit

from drive.geometry.box import LENGTH, WIDTH, X, Z
from ops.assignment.cpu import FREE, candidates_of, greedy, optimal
from ops.rotated_iou.cpu import prepare
from ops.rotated_iou.hull import row_giou


class ClassRule(Protocol):
    """How the pairs of one class are judged (drive.tracks.parameters)."""

    @property
    def matching(self) -> Literal["optimal", "greedy"]: ...

    @property
    def metric(self) -> Literal["giou", "distance"]: ...

    @property
    def limit(self) -> float: ...


@dataclass(frozen=True)
class Rules:
    """The rules of K classes as columns.

    Attributes:
        giou: bool [K], the cost is minus the GIoU; else the distance of the centres in 3D, metres.
        most: float64 [K], the greatest cost of a pair.
        greedy: bool [K].
        refuse_late: The published way: every pair of a class may be matched, and a match that costs too much is dropped
            afterwards. Such a pair may take a detection away from a track that it would fit, and cost grows with
            tracks times detections. False: only pairs within the limit are matched.
    """

    giou: np.ndarray
    most: np.ndarray
    greedy: np.ndarray
    refuse_late: bool

    @staticmethod
    def of(classes: Sequence[ClassRule], refuse_late: bool = False) -> Rules:
        giou = np.array([c.metric == "giou" for c in classes], dtype=bool)
        limit = np.array([c.limit for c in classes], dtype=np.float64)
        greedy = np.array([c.matching == "greedy" for c in classes], dtype=bool)
        return Rules(giou, np.where(giou, -limit, limit), greedy, refuse_late)


@dataclass(frozen=True)
class Matched:
    """K pairs, and the detections without one.

    Attributes:
        track, detection: int64 [K].
        unmatched: int64, detections without a track, in the order in which they start tracks: by row; with
            ``refuse_late`` those that were matched at first come last (AB3DMOT's order of ids), by rising cost where
            the class is greedy.
    """

    track: np.ndarray
    detection: np.ndarray
    unmatched: np.ndarray


def match(
    rules: Rules, tracks: np.ndarray, track_labels: np.ndarray, detections: np.ndarray, detection_labels: np.ndarray
) -> Matched:
    """Pairs of boxes tracks [N, >=7] and detections [M, >=7] (BOX_COLUMNS, finite) of equal label.

    Both must be sorted by label.
    """
    given = tracks, track_labels, detections, detection_labels
    track, detection, paid, unmatched = _matched(*given, rules.giou, rules.most, rules.greedy, rules.refuse_late)
    if not rules.refuse_late:
        return Matched(track, detection, unmatched)
    label = track_labels[track]
    bad = paid > rules.most[label]
    rank = np.lexsort((detection[bad], np.where(rules.greedy[label], paid, 0.0)[bad], label[bad]))
    return Matched(track[~bad], detection[~bad], np.concatenate([unmatched, detection[bad][rank]]))


def near_any(
    rules: Rules, tracks: np.ndarray, track_labels: np.ndarray, detections: np.ndarray, detection_labels: np.ndarray
) -> np.ndarray:
    """bool [N]: tracks with a detection within the limit, whichever other track has it too. Arguments as `match`."""
    of_tracks, of_detections = (_starts(labels, len(rules.most)) for labels in (track_labels, detection_labels))
    offsets, _, _ = _pairs(tracks, of_tracks, detections, of_detections, rules.giou, rules.most, False)
    return offsets[1:] > offsets[:-1]


@njit(cache=True, nogil=True)
def _starts(labels, count):  # type: ignore[no-untyped-def]
    """int64 [count + 1]: where each label begins in sorted labels."""
    out = np.zeros(count + 1, np.int64)
    for label in labels:
        out[label + 1] += 1
    for k in range(count):
        out[k + 1] += out[k]
    return out


@njit(cache=True, nogil=True)
def _matched(tracks, track_labels, detections, labels, giou, most, by_cost, late):  # type: ignore[no-untyped-def]
    """(track, its detection, what the pair costs) of every pair, by track; the detections without one."""
    of_tracks, of_detections = _starts(track_labels, len(most)), _starts(labels, len(most))
    offsets, column, cost = _pairs(tracks, of_tracks, detections, of_detections, giou, most, late)
    detection_of, track_of = np.full(len(tracks), FREE, np.int64), np.full(len(detections), FREE, np.int64)
    no_order, paid = np.empty(0, np.int64), np.zeros(len(tracks))
    for k in range(len(most)):
        if by_cost[k]:
            greedy(k, k + 1, of_tracks, offsets, column, cost, no_order, track_of, detection_of)
        else:
            optimal(k, k + 1, of_tracks, offsets, column, cost, track_of, detection_of)
    track = np.flatnonzero(detection_of >= 0)
    for i in track:
        for e in range(offsets[i], offsets[i + 1]):
            if column[e] == detection_of[i]:
                paid[i] = cost[e]
    return track, detection_of[track], paid[track], np.flatnonzero(track_of == FREE)


@njit(cache=True, nogil=True)
def _pairs(tracks, of_tracks, detections, of_detections, giou, most, late):  # type: ignore[no-untyped-def]
    """(offsets [N + 1], detection [E], cost [E]): the pairs of each track within the limit, or where ``late`` all.

    The cost is minus the GIoU where ``giou`` [K], else the distance in 3D.
    """
    N = len(tracks)
    gate, offsets = np.full(N, np.inf), np.zeros(N + 1, np.int64)
    for k in range(0 if late else len(most)):
        first, last = of_tracks[k], of_tracks[k + 1]
        if giou[k]:
            found = detections[of_detections[k] : of_detections[k + 1]]
            gate[first:last] = _giou_reach(tracks[first:last], found, -most[k])
        else:
            gate[first:last] = most[k]
    here, there = tracks[:, X:Z].copy(), detections[:, X:Z].copy()
    no_covariance = np.empty((0, 2, 2))
    column, cost, _ = candidates_of(
        0, len(most), here, there, gate, no_covariance, -1, of_tracks, of_detections, offsets[1:]
    )
    shapes = len(tracks) if giou.any() else 0  # distances need none
    a, reach_a = prepare(tracks[:shapes], True)
    b, reach_b = prepare(detections[: len(detections) if shapes else 0], True)
    corner_x, corner_y = np.empty(8), np.empty(8)
    first, used = 0, 0
    for k in range(len(most)):
        for i in range(of_tracks[k], of_tracks[k + 1]):
            count = offsets[i + 1]
            for e in range(first, first + count):
                j = column[e]
                if giou[k]:
                    paid = -row_giou(a, reach_a, i, b, reach_b, j, corner_x, corner_y)
                else:
                    paid = np.hypot(cost[e], tracks[i, Z] - detections[j, Z])
                if late or paid <= most[k]:
                    column[used], cost[used] = j, paid
                    used += 1
            first += count
            offsets[i + 1] = used
    return offsets, column[:used], cost[:used]


@njit(cache=True, nogil=True)
def _giou_reach(tracks, detections, least):  # type: ignore[no-untyped-def]
    """Metres from each track beyond which no detection can have a GIoU of ``least`` or more.

    Boxes that do not touch have GIoU = U / C - 1. Seen from above, the hull C holds the trapezium between the two
    chords across the line of the centres, each at least as long as its box is narrow, and is as high as the higher box:
    C >= H d (n_a + n_b) / 2, while U <= H (A_a + A_b). So d <= 2 (A_a + A_b) / ((1 + least) (n_a + n_b)).
    """
    area, reach, narrow = 0.0, 0.0, np.inf
    for j in range(len(detections)):
        length, width = detections[j, LENGTH], detections[j, WIDTH]
        area, narrow = max(area, length * width), min(narrow, length, width)
        reach = max(reach, np.hypot(length, width))
    out = np.empty(len(tracks))
    for i in range(len(tracks)):
        length, width = tracks[i, LENGTH], tracks[i, WIDTH]
        spread = (1 + least) * (min(length, width) + narrow)
        apart = 2 * (length * width + area) / spread if spread > 0 else np.inf
        out[i] = max((np.hypot(length, width) + reach) / 2, apart)
    return out
