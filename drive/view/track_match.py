"""What a picture of tracks must show of the labels: which were followed, by whom, and where an identity changed.

For pictures only, and simple on purpose: a label and a tracked box of its class belong together where their centres lie
within ``NEAR_M`` of one another seen from above; a pair of the frame before stays together while it can, the rest are
paired nearest first. The scores have their own rules (``drive.scores``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drive.geometry.box import transform_boxes
from drive.logs.store import Log
from drive.samples.classes import ClassMap
from drive.scores.ground_truth import counted_labels, ego_tokens
from drive.tracks.sequence import TrackSet

NEAR_M = 2.0


@dataclass(frozen=True)
class Truth:
    """Labels of the frames of one log, flat; boxes float64 [N, 9] in the fixed frame. offsets: int64 [F + 1].

    neutral: of each frame float64 [M, 2], the centres of labels of other categories: a box there is no false one.
    """

    offsets: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    track: np.ndarray
    neutral: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Switch:
    """A labelled object that another track took over: from track ``before`` to ``after`` in frame ``frame``."""

    frame: int
    truth: int
    label: int
    before: int
    after: int
    x: float
    y: float


@dataclass(frozen=True)
class Matches:
    """shown: bool [rows of tracks]; pair: int64 [rows of tracks], row of the label or -1; false: bool [rows of tracks],
    shown and neither paired nor at a label that does not count; found: bool [labels]."""

    shown: np.ndarray
    pair: np.ndarray
    false: np.ndarray
    found: np.ndarray
    switches: tuple[Switch, ...]


def read_truth(log: Log, indices: list[int], class_map: ClassMap) -> Truth:
    """Labels of some frames of a log; those of categories outside the map, and the ego's own, are neutral."""
    boxes, labels, track, counts = [np.zeros((0, 9))], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [0]
    neutral, ego = [], ego_tokens(log)
    for index in indices:
        content = log.boxes(index)
        label = counted_labels(content, class_map, ego)
        kept = label >= 0
        placed = transform_boxes(log.frame(index).global_from_ego, content.boxes)
        boxes.append(placed[kept])
        neutral.append(placed[~kept, :2])
        labels.append(label[kept])
        track.append(content.track[kept].astype(np.int64))
        counts.append(int(kept.sum()))
    offsets = np.cumsum(counts).astype(np.int64)
    return Truth(offsets, np.concatenate(boxes), np.concatenate(labels), np.concatenate(track), tuple(neutral))


def match(tracks: TrackSet, truth: Truth, least_score: np.ndarray) -> Matches:
    """Pairs of one log.

    Args:
        tracks: of this log only, its frames those of ``truth``.
        least_score: float64 [K]; of each class, boxes below it are not shown and not paired.
    """
    shown = tracks.scores >= least_score[tracks.labels]
    pair, found, false = np.full(len(shown), -1), np.zeros(len(truth.labels), dtype=bool), shown.copy()
    last: dict[int, int] = {}  # label's track -> id that followed it last
    switches = []
    for f in range(len(tracks.frame_ids)):
        mine = np.arange(tracks.offsets[f], tracks.offsets[f + 1])
        mine = mine[shown[mine]]
        theirs = np.arange(truth.offsets[f], truth.offsets[f + 1])
        apart = np.linalg.norm(truth.boxes[theirs, None, :2] - tracks.boxes[None, mine, :2], axis=2)
        near = (apart <= NEAR_M) & (truth.labels[theirs, None] == tracks.labels[None, mine])
        same = np.array([last.get(t, -1) for t in truth.track[theirs].tolist()])[:, None] == tracks.ids[None, mine]
        rows, columns = np.nonzero(near)
        order = np.lexsort((apart[rows, columns], ~same[rows, columns]))
        taken: set[int] = set()
        for r, c in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
            if found[theirs[r]] or c in taken:
                continue
            taken.add(c)
            found[theirs[r]] = True
            pair[mine[c]] = theirs[r]
            who, now = int(truth.track[theirs[r]]), int(tracks.ids[mine[c]])
            if last.get(who, now) != now:
                x, y = truth.boxes[theirs[r], :2].tolist()
                switches.append(Switch(f, who, int(truth.labels[theirs[r]]), last[who], now, x, y))
            last[who] = now
        beside = np.linalg.norm(truth.neutral[f][:, None] - tracks.boxes[None, mine, :2], axis=2)
        false[mine] = (pair[mine] < 0) & (beside.min(axis=0, initial=np.inf) > NEAR_M)
    return Matches(shown, pair, false, found, tuple(switches))


def best_scores(scores: np.ndarray, labels: np.ndarray, right: np.ndarray, classes: int) -> np.ndarray:
    """Of each class the score from which on right boxes outnumber wrong ones the most, float64 [classes].

    That is where MOTA is best, changes of identity aside. A class without a right box shows nothing (inf).
    """
    best = np.full(classes, np.inf)
    for k in range(classes):
        mine = np.flatnonzero(labels == k)
        mine = mine[np.argsort(-scores[mine], kind="stable")]
        gain = np.cumsum(np.where(right[mine], 1, -1))
        last_of_score = np.append(scores[mine][1:] != scores[mine][:-1], True)[: len(mine)]
        gain = np.where(last_of_score, gain, -1)
        if len(mine) and gain.max() > 0:
            best[k] = scores[mine[int(gain.argmax())]]
    return best
