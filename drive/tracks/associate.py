"""Which track belongs to which detection: all classes in one call, each with its own cost, limit and algorithm.

Tracks and detections are handed over sorted by class, so that each class is one problem of ops.assignment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import torch

from drive.geometry.box import HEIGHT, LENGTH, WIDTH, X, Z
from ops.assignment import Candidates, assign, assign_greedy, candidates
from ops.rotated_iou import convex_giou_3d_paired


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
    pairs, problems = _pairs(rules, tracks, track_labels, detections, detection_labels)
    row, column = pairs.rows().numpy(), pairs.column.numpy()
    label = track_labels[row]
    cost = _costs(rules.giou[label], tracks, row, detections, column, pairs.cost.numpy())
    wanted = np.full(len(cost), True) if rules.refuse_late else cost <= rules.most[label]
    detection_of = np.full(len(tracks), -1)
    cost_of = np.full(len(tracks), np.inf)
    for greedy in np.unique(rules.greedy):
        own = pairs.keep(torch.from_numpy(wanted & (rules.greedy[label] == greedy)), torch.from_numpy(cost))
        way = assign_greedy if greedy else assign
        found = way(own, len(detections), row_offsets=problems).column.numpy()
        detection_of = np.where(found >= 0, found, detection_of)
    paired = detection_of[row] == column
    cost_of[row[paired]] = cost[paired]
    return _refused(rules, detection_of, cost_of, track_labels, len(detections))


def near_any(
    rules: Rules, tracks: np.ndarray, track_labels: np.ndarray, detections: np.ndarray, detection_labels: np.ndarray
) -> np.ndarray:
    """bool [N]: tracks with a detection within the limit, whichever other track has it too. Arguments as `match`."""
    pairs, _ = _pairs(replace(rules, refuse_late=False), tracks, track_labels, detections, detection_labels)
    row, column = pairs.rows().numpy(), pairs.column.numpy()
    label = track_labels[row]
    cost = _costs(rules.giou[label], tracks, row, detections, column, pairs.cost.numpy())
    near = np.zeros(len(tracks), dtype=bool)
    near[row[cost <= rules.most[label]]] = True
    return near


def _costs(
    giou: np.ndarray,
    tracks: np.ndarray,
    row: np.ndarray,
    detections: np.ndarray,
    column: np.ndarray,
    from_above: np.ndarray,
) -> np.ndarray:
    """float64 [E]: minus the GIoU of pairs (row, column) where ``giou``, else their distance in 3D."""
    cost = np.hypot(from_above, tracks[row, Z] - detections[column, Z])
    if giou.any():
        a, b = (torch.from_numpy(boxes[of[giou]]) for boxes, of in ((tracks, row), (detections, column)))
        cost[giou] = -convex_giou_3d_paired(a, b).numpy()
    return cost


def _refused(
    rules: Rules, detection_of: np.ndarray, cost: np.ndarray, track_labels: np.ndarray, detections: int
) -> Matched:
    """The matches, without those that cost too much."""
    track = np.flatnonzero(detection_of >= 0)
    detection = detection_of[track]
    label = track_labels[track]
    good = cost[track] <= rules.most[label]
    rank = np.lexsort((detection[~good], np.where(rules.greedy[label], cost[track], 0.0)[~good], label[~good]))
    free = np.ones(detections, dtype=bool)
    free[detection] = False
    return Matched(track[good], detection[good], np.concatenate([np.flatnonzero(free), detection[~good][rank]]))


def _pairs(
    rules: Rules, tracks: np.ndarray, track_labels: np.ndarray, detections: np.ndarray, detection_labels: np.ndarray
) -> tuple[Candidates, torch.Tensor]:
    """(pairs that may be within the limit, with their distance from above; tracks of each class)."""
    classes = np.arange(len(rules.most) + 1)
    problems = torch.from_numpy(np.searchsorted(track_labels, classes))
    columns = torch.from_numpy(np.searchsorted(detection_labels, classes))
    if rules.refuse_late:
        gate = np.full(len(tracks), np.inf)
    else:
        gate = np.where(rules.giou, np.inf, rules.most)[track_labels]
        by_giou = rules.giou[track_labels]
        gate[by_giou] = _giou_reach(rules, tracks, track_labels, detections, detection_labels)[by_giou]
    found = candidates(
        torch.from_numpy(np.ascontiguousarray(tracks[:, X : X + 2])),
        torch.from_numpy(np.ascontiguousarray(detections[:, X : X + 2])),
        torch.from_numpy(gate),
        row_offsets=problems,
        column_offsets=columns,
    )
    return found, problems


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
