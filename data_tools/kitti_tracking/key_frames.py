"""Which frames of a log at 10 Hz are nuScenes' key frames.

ScenarioNet's nuScenes scenes hold a state every 0.1 s, resampled from the key frames by a clock that is not the
recording's: it agrees at the first and at the last key frame and is up to 0.3 s off between them (scenes 0061, 0103
and 1094 of mini; at 9 m/s that moves everything by 2.7 m against detections of the key frame itself). The key frames'
own times are not in the files. So each key frame is taken to be that frame, of those around 5 k, whose labels lie
nearest to what was detected in it, with a price on every change of the clock from one key frame to the next. This
looks at labels to set a clock, one small whole number a key frame, the same for every tracker; it chooses among the
log's frames and moves no box.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from drive.logs.store import Log

REACH = 4  # frames, to either side: a key frame never passes the next one
CHANGE_M = 0.05  # price of setting the clock by one frame, in metres of mean distance
FAR_M = 2.0  # what is farther from every label counts as this far
SCORE_SHARE = 0.25  # of a key frame's detections, the best by score


def key_frame_indices(
    log: Log,
    found: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    class_names: tuple[str, ...],
    per_key_frame: int,
) -> list[int]:
    """Index in the log of every key frame, increasing.

    Args:
        found: (boxes [N, 9] in the ego frame, labels int64 [N], scores [N]) of key frame 0, 1, ...
        class_names: of the labels: nuScenes' own (``car``, ``pedestrian``, ...).
        per_key_frame: frames from one key frame to the next; must be more than REACH.
    """
    shifts = np.arange(-REACH, REACH + 1)
    cost = np.zeros((len(found), len(shifts)))
    for k, (boxes, labels, scores) in enumerate(found):
        best = np.argsort(-scores, kind="stable")[: int(np.ceil(SCORE_SHARE * len(scores)))]
        names = [class_names[label] for label in labels[best]]
        indices = k * per_key_frame + shifts
        inside = (indices >= 0) & (indices < log.num_frames)
        for s in np.flatnonzero(inside):
            cost[k, s] = _distance(log, int(indices[s]), boxes[best], names)
        cost[k, ~inside] = np.inf
    if len(found):
        cost[0] = np.where(shifts == 0, cost[0], np.inf)  # both clocks begin together
    way = _cheapest(cost, CHANGE_M * np.abs(shifts[:, None] - shifts[None]))
    return [k * per_key_frame + int(shifts[s]) for k, s in enumerate(way)]


def _distance(log: Log, index: int, boxes: np.ndarray, names: Sequence[str]) -> float:
    """Mean distance of boxes to the nearest label of their kind in a frame, metres; 0 of no box."""
    if not len(boxes):
        return 0.0
    labels = log.boxes(index)
    apart = np.linalg.norm(boxes[:, None, :2] - labels.boxes[None, :, :2], axis=2)
    apart[[[name not in category for category in labels.category] for name in names]] = np.inf
    return float(np.minimum(apart.min(axis=1, initial=np.inf), FAR_M).mean())


def _cheapest(cost: np.ndarray, change: np.ndarray) -> list[int]:
    """The column of every row with the least sum of cost [K, S] and change [S, S] from row to row (Viterbi)."""
    if not len(cost):
        return []
    total, back = cost[0], []
    for row in cost[1:]:
        ways = total[:, None] + change
        back.append(ways.argmin(axis=0))
        total = ways.min(axis=0) + row
    way = [int(total.argmin())]
    for step in reversed(back):
        way.append(int(step[way[-1]]))
    return way[::-1]
