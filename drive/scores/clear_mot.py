"""Plain CLEAR MOT and identity figures of all tracks, without a score threshold.

Equal to py-motmetrics 1.4 (Bernardin and Stiefelhagen 2008; IDF1 of Ristani et al. 2016): an object keeps the track
that it had last while that is near enough, what is left is assigned by least distance, as many pairs as possible.
MOTP is the mean distance of pairs, so that lower is better: 1 - IoU or metres. Ignored objects and tracks must be taken
out before: ``without_ignored``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from drive.scores.clear_mot_boxes import MotBoxes
from drive.scores.nuscenes_tracking_assign import assign_rest, complete_assignment
from drive.scores.nuscenes_tracking_match import Pairs, clear_mot

_FROM_CLEAR = {
    "matches": "matches", "ids": "switches", "fn": "misses", "fp": "false_positives", "frag": "fragments",
    "mt_count": "mostly_tracked", "ml_count": "mostly_lost",
}  # fmt: skip


@dataclass(frozen=True)
class ClearMot:
    """values: mota, motp, recall, precision, idf1, idp, idr, NaN where not defined. counts: tp (matches and switches),
    fn, fp, ids, matches, frag, mt_count (tracked in 80 % or more of their frames), pt_count, ml_count (less than 20 %),
    idtp, idfn, idfp, objects, tracks (boxes), trajectories, track_trajectories."""

    values: dict[str, float]
    counts: dict[str, int]


def without_ignored(truth: MotBoxes, tracks: MotBoxes, pairs: Pairs) -> tuple[MotBoxes, MotBoxes]:
    """Both sides without what is ignored: tracks that match an ignored object in their frame, ignored tracks that match
    nothing, and ignored objects.

    The rule of TrackEval's KITTI loader. Matching: as many pairs of ``pairs`` as possible, at the least distance.
    """
    score, taken = np.zeros(len(tracks)), np.zeros(len(tracks), bool)
    chosen = np.full(len(truth), -1, np.int64)
    for f in np.flatnonzero(np.diff(pairs.offsets[truth.start])).tolist():
        rows = np.arange(truth.start[f], truth.start[f + 1])
        assign_rest(rows, -np.inf, pairs.offsets, pairs.prediction, pairs.distance, score, taken, chosen)
    matched = np.flatnonzero(chosen >= 0)
    partner = pairs.prediction[chosen[matched]]
    keep = ~tracks.ignored
    keep[partner] = ~truth.ignored[matched]
    return truth.take(~truth.ignored), tracks.take(keep)


def evaluate_clear(truth: MotBoxes, tracks: MotBoxes, pairs: Pairs) -> ClearMot:
    """All figures of one class. What is marked ignored counts like the rest."""
    objects, index = np.unique(truth.track, return_inverse=True)
    clear = clear_mot(
        np.array([-np.inf]), truth.start, index.reshape(-1).astype(np.int64), tracks.start, tracks.track, tracks.score,
        pairs,
    )  # fmt: skip
    counts = {name: int(clear.of(source)[0]) for name, source in _FROM_CLEAR.items()}
    tp = counts["matches"] + counts["ids"]
    idtp = _identity_matches(truth, tracks, pairs)
    counts |= {
        "tp": tp,
        "pt_count": len(objects) - counts["mt_count"] - counts["ml_count"],
        "idtp": idtp,
        "idfn": len(truth) - idtp,
        "idfp": len(tracks) - idtp,
        "objects": len(truth),
        "tracks": len(tracks),
        "trajectories": len(objects),
        "track_trajectories": len(np.unique(tracks.track)),
    }
    errors = counts["fn"] + counts["fp"] + counts["ids"]
    values = {
        "mota": 1 - errors / len(truth) if len(truth) else math.nan,
        "motp": _ratio(float(clear.of("distance")[0]), tp),
        "recall": _ratio(tp, len(truth)),
        "precision": _ratio(tp, tp + counts["fp"]),
        "idf1": _ratio(2 * idtp, len(truth) + len(tracks)),
        "idp": _ratio(idtp, len(tracks)),
        "idr": _ratio(idtp, len(truth)),
    }
    return ClearMot(values, counts)


def _ratio(part: float, whole: int) -> float:
    return part / whole if whole else math.nan


def _identity_matches(truth: MotBoxes, tracks: MotBoxes, pairs: Pairs) -> int:
    """Frames in which objects are near their tracks, under the one-to-one mapping of the two that makes it most."""
    row = np.repeat(np.arange(len(truth)), np.diff(pairs.offsets))
    couples, frames = np.unique(
        np.stack([truth.track[row], tracks.track[pairs.prediction]], axis=1), axis=0, return_counts=True
    )
    total = 0
    for part in _groups(couples):
        rows, columns = (np.unique(couples[part, side], return_inverse=True) for side in (0, 1))
        gain = np.zeros((len(rows[0]), len(columns[0])))
        gain[rows[1].reshape(-1), columns[1].reshape(-1)] = frames[part]
        if len(gain) > gain.shape[1]:
            gain = np.ascontiguousarray(gain.T)
        total += int(gain[np.arange(len(gain)), complete_assignment(-gain)].sum())
    return total


def _groups(couples: np.ndarray) -> list[np.ndarray]:
    """Rows of couples int64 [E, 2] by connected component, so that each is solved alone."""
    parent: dict[tuple[int, int], tuple[int, int]] = {}

    def root(node: tuple[int, int]) -> tuple[int, int]:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in couples.tolist():
        parent[root((0, a))] = root((1, b))
    roots = [root((0, a)) for a in couples[:, 0].tolist()]
    names = {name: number for number, name in enumerate(dict.fromkeys(roots))}
    group = np.array([names[name] for name in roots], np.int64)
    order = np.argsort(group, kind="stable")
    return np.split(order, np.cumsum(np.bincount(group))[:-1]) if len(group) else []
