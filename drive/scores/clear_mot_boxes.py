"""Boxes of one class with their tracks, and which pairs of them are near enough to be one object.

What the class-wise tracking metrics of this folder compare: AB3DMOT's (clear_mot_recall), plain CLEAR MOT
(clear_mot), HOTA (hota) and STT's (stt_state).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from drive.scores.nuscenes_tracking_match import Pairs, near_pairs
from ops.rotated_iou.cpu import prepare, row_iou


@dataclass(frozen=True)
class MotBoxes:
    """N boxes of one class in F frames (those of all sequences one after another), grouped by frame.

    Truth and tracks of a frame are in one common upright frame, whichever.

    Attributes:
        start: int64 [F + 1], first row of every frame.
        boxes: float64 [N, >= 7], BOX_COLUMNS.
        track: int64 [N], the object's number, 0 or more: unique over all sequences, at most once a frame.
        score: float64 [N] (0 for truth).
        ignored: bool [N]. Truth: neither wanted nor punished. Tracks: not punished where they match nothing.

    Raises:
        ValueError: shapes that do not fit, an object with two boxes in a frame, a number below 0, a value that is not
            finite, a side that is not positive.
    """

    start: np.ndarray
    boxes: np.ndarray
    track: np.ndarray
    score: np.ndarray
    ignored: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.track)
        if not (len(self.start) and self.start[0] == 0 and self.start[-1] == n and (np.diff(self.start) >= 0).all()):
            raise ValueError(f"start must rise from 0 to the {n} boxes")
        if not (len(self.boxes) == len(self.score) == len(self.ignored) == n):
            raise ValueError(
                f"{n} tracks, {len(self.boxes)} boxes, {len(self.score)} scores, {len(self.ignored)} marks"
            )
        if not n:
            return
        if not (np.isfinite(self.boxes).all() and np.isfinite(self.score).all()):
            raise ValueError("a box or a score is not finite")
        if self.boxes[:, 3:6].min() <= 0:
            raise ValueError("a box has a side that is not positive")
        if self.track.min() < 0:
            raise ValueError("a track's number is below 0")
        frame = self.frame
        order = np.lexsort((self.track, frame))
        twice = (np.diff(frame[order]) == 0) & (np.diff(self.track[order]) == 0)
        if twice.any():
            row = order[np.flatnonzero(twice)[0]]
            raise ValueError(f"track {self.track[row]} has two boxes in frame {frame[row]}")

    def __len__(self) -> int:
        return len(self.track)

    @property
    def num_frames(self) -> int:
        return len(self.start) - 1

    @property
    def frame(self) -> np.ndarray:
        """int64 [N]."""
        return np.repeat(np.arange(self.num_frames), np.diff(self.start))

    def take(self, rows: np.ndarray) -> MotBoxes:
        """The boxes at ``rows`` (mask or increasing indices), all frames kept."""
        start = np.searchsorted(self.frame[rows], np.arange(self.num_frames + 1)).astype(np.int64)
        return MotBoxes(start, self.boxes[rows], self.track[rows], self.score[rows], self.ignored[rows])

    @staticmethod
    def of(
        frame: np.ndarray,
        num_frames: int,
        boxes: np.ndarray,
        track: np.ndarray,
        score: np.ndarray | None = None,
        ignored: np.ndarray | None = None,
    ) -> MotBoxes:
        """Of rows grouped by ``frame`` int64 [N], not decreasing."""
        n = len(frame)
        if n and (np.any(np.diff(frame) < 0) or frame[0] < 0 or frame[-1] >= num_frames):
            raise ValueError(f"frames must rise within 0..{num_frames - 1}")
        return MotBoxes(
            np.searchsorted(frame, np.arange(num_frames + 1)).astype(np.int64),
            np.ascontiguousarray(boxes, dtype=np.float64).reshape(n, -1 if n else 9),
            np.asarray(track, np.int64),
            np.zeros(n) if score is None else np.asarray(score, np.float64),
            np.zeros(n, bool) if ignored is None else np.asarray(ignored, bool),
        )


@njit(cache=True, nogil=True)
def _overlapping(truth_start, truth, track_start, tracks, limit, three_d, fill, offsets, prediction, distance):  # type: ignore[no-untyped-def]
    """Walks all pairs of every frame; returns how many are kept and, where ``fill``, writes them."""
    count = 0
    for f in range(truth_start.size - 1):
        for g in range(truth_start[f], truth_start[f + 1]):
            for p in range(track_start[f], track_start[f + 1]):
                d = 1.0 - row_iou(truth, g, tracks, p, three_d)
                if d <= limit:
                    if fill:
                        prediction[count] = p
                        distance[count] = d
                    count += 1
            offsets[g + 1] = count
    return count


def overlap_pairs(truth: MotBoxes, tracks: MotBoxes, min_iou: float, *, three_d: bool = True) -> Pairs:
    """Pairs of a frame whose IoU is at least ``min_iou`` (above 0); ``distance`` is 1 - IoU.

    The comparison is AB3DMOT's, of 1 - IoU with 1 - ``min_iou``. ValueError for other numbers of frames.
    """
    if truth.num_frames != tracks.num_frames:
        raise ValueError(f"{truth.num_frames} frames of truth, {tracks.num_frames} of tracks")
    if not 0 < min_iou <= 1:
        raise ValueError(f"the least IoU must lie in (0, 1], not {min_iou}")
    rows = [prepare(side.boxes, three_d)[0] for side in (truth, tracks)]
    limit, none = 1.0 - min_iou, np.zeros(0, np.int64)
    offsets = np.zeros(len(truth) + 1, np.int64)
    arguments = (truth.start, rows[0], tracks.start, rows[1], limit, three_d)
    count = _overlapping(*arguments, False, offsets, none, np.zeros(0))
    prediction, distance = np.zeros(count, np.int64), np.zeros(count)
    _overlapping(*arguments, True, offsets, prediction, distance)
    return Pairs(offsets, prediction, distance)


def centre_pairs(truth: MotBoxes, tracks: MotBoxes, limit_m: float) -> Pairs:
    """Pairs of a frame whose centres are less than ``limit_m`` apart in the ground plane; ``distance`` in metres."""
    if truth.num_frames != tracks.num_frames:
        raise ValueError(f"{truth.num_frames} frames of truth, {tracks.num_frames} of tracks")
    xy = [np.ascontiguousarray(side.boxes[:, :2]) for side in (truth, tracks)]
    return near_pairs(truth.start, xy[0], tracks.start, xy[1], limit_m)
