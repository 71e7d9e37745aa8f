"""Which track belongs to which detection: all classes in one call, each with its own cost, limit and algorithm.

Tracks and detections are handed over sorted by class, so that each class is one problem of ops.assignment. The compiled
kernels of ops are called directly: at a few hundred boxes the checks of their public functions take longer than they.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numba import njit

from drive.geometry.box import HEIGHT, LENGTH, WIDTH, X, Z
from ops.assignment import cpu as assignment
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
    pairs = _pairs(rules, tracks, track_labels, detections, detection_labels)
    problems = np.searchsorted(track_labels, np.arange(len(rules.most) + 1))
    detection_of = np.full(len(tracks), -1)
    for greedy in (False, True):
        if (rules.greedy == greedy).any():
            offsets, column, cost = _of_classes(rules.greedy == greedy, track_labels, *pairs)
            order = np.zeros(0, np.int64) if greedy else None
            found = assignment.assign(problems, offsets, column, cost, len(detections), order, threads=1)
            detection_of = np.maximum(detection_of, found[0])
    return _refused(rules, detection_of, track_labels, len(detections), *pairs)


def near_any(
    rules: Rules, tracks: np.ndarray, track_labels: np.ndarray, detections: np.ndarray, detection_labels: np.ndarray
) -> np.ndarray:
    """bool [N]: tracks with a detection within the limit, whichever other track has it too. Arguments as `match`."""
    offsets, _, cost = _pairs(rules, tracks, track_labels, detections, detection_labels)
    within = np.concatenate([[0], np.cumsum(cost <= np.repeat(rules.most[track_labels], np.diff(offsets)))])
    return within[offsets[1:]] > within[offsets[:-1]]


def _pairs(
    rules: Rules, tracks: np.ndarray, track_labels: np.ndarray, detections: np.ndarray, detection_labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(offsets [N + 1], detection [E], cost [E]) of the pairs of each track that may be matched."""
    classes = np.arange(len(rules.most) + 1)
    by_giou = rules.giou[track_labels]
    if rules.refuse_late:
        gate = np.full(len(tracks), np.inf)
    else:
        reach = _giou_reach(rules, tracks, track_labels, detections, detection_labels)
        gate = np.where(by_giou, reach, rules.most[track_labels])
    offsets, column, distance = assignment.candidates(
        np.ascontiguousarray(tracks[:, X:Z]),
        np.ascontiguousarray(detections[:, X:Z]),
        gate,
        np.zeros((0, 2, 2)),
        -1,
        np.searchsorted(track_labels, classes),
        np.searchsorted(detection_labels, classes),
        threads=1,
    )
    most = np.full(len(tracks), np.inf) if rules.refuse_late else rules.most[track_labels]
    return _judged(offsets, column, distance, tracks, detections, by_giou, most)


@njit(cache=True, nogil=True)
def _judged(offsets, column, distance, tracks, detections, by_giou, most):  # type: ignore[no-untyped-def]
    """The pairs that cost at most ``most`` [N], with their cost: minus the GIoU, or the distance in 3D."""
    a, reach_a = prepare(tracks, True)
    b, reach_b = prepare(detections, True)
    x, y = np.empty(8), np.empty(8)
    kept, used = np.zeros_like(offsets), 0
    out_column, out_cost = np.empty_like(column), np.empty_like(distance)
    for i in range(len(tracks)):
        for e in range(offsets[i], offsets[i + 1]):
            j = column[e]
            if by_giou[i]:
                cost = -row_giou(a, reach_a, i, b, reach_b, j, x, y)
            else:
                cost = np.hypot(distance[e], tracks[i, Z] - detections[j, Z])
            if cost <= most[i]:
                out_column[used], out_cost[used] = j, cost
                used += 1
        kept[i + 1] = used
    return kept, out_column[:used], out_cost[:used]


@njit(cache=True, nogil=True)
def _of_classes(wanted, track_labels, offsets, column, cost):  # type: ignore[no-untyped-def]
    """The pairs of the classes ``wanted`` bool [K] only."""
    kept, used = np.zeros_like(offsets), 0
    out_column, out_cost = np.empty_like(column), np.empty_like(cost)
    for i in range(len(track_labels)):
        if wanted[track_labels[i]]:
            for e in range(offsets[i], offsets[i + 1]):
                out_column[used], out_cost[used] = column[e], cost[e]
                used += 1
        kept[i + 1] = used
    return kept, out_column[:used], out_cost[:used]


def _refused(
    rules: Rules,
    detection_of: np.ndarray,
    track_labels: np.ndarray,
    detections: int,
    offsets: np.ndarray,
    column: np.ndarray,
    cost: np.ndarray,
) -> Matched:
    """The matches, without those that cost too much (only with ``refuse_late`` are there any)."""
    track = np.flatnonzero(detection_of >= 0)
    detection = detection_of[track]
    free = np.full(detections, True)
    free[detection] = False
    unmatched = np.flatnonzero(free)
    if not rules.refuse_late:
        return Matched(track, detection, unmatched)
    row = np.repeat(np.arange(len(detection_of)), np.diff(offsets))
    of_match = np.empty(len(detection_of))
    mine = detection_of[row] == column
    of_match[row[mine]] = cost[mine]
    label, paid = track_labels[track], of_match[track]
    bad = paid > rules.most[label]
    rank = np.lexsort((detection[bad], np.where(rules.greedy[label], paid, 0.0)[bad], label[bad]))
    return Matched(track[~bad], detection[~bad], np.concatenate([unmatched, detection[bad][rank]]))


def _giou_reach(
    rules: Rules, tracks: np.ndarray, track_labels: np.ndarray, detections: np.ndarray, detection_labels: np.ndarray
) -> np.ndarray:
    """Metres from each track beyond which no detection of its class can have a GIoU within the limit.

    Boxes that do not touch have GIoU = U / C - 1. Seen from above, the hull C holds the trapezium between the two
    chords across the line of the centres, each at least as long as its box is narrow, and is as high as the higher box:
    C >= H d (n_a + n_b) / 2, while U <= H (A_a + A_b). So d <= 2 (A_a + A_b) / ((1 + least GIoU) (n_a + n_b)).
    """
    classes = len(rules.most)
    area, reach, narrow = np.zeros(classes), np.zeros(classes), np.full(classes, np.inf)
    np.maximum.at(area, detection_labels, detections[:, LENGTH] * detections[:, WIDTH])
    np.maximum.at(reach, detection_labels, np.hypot(detections[:, LENGTH], detections[:, WIDTH]))
    np.minimum.at(narrow, detection_labels, detections[:, LENGTH:HEIGHT].min(axis=1))
    length, width, of = tracks[:, LENGTH], tracks[:, WIDTH], track_labels
    touching = (np.hypot(length, width) + reach[of]) / 2
    spread = (1.0 - rules.most)[of] * (np.minimum(length, width) + narrow[of])
    with np.errstate(divide="ignore"):
        apart = np.where(spread > 0, 2 * (length * width + area[of]) / spread, np.inf)
    return np.maximum(touching, apart)
