"""Boxes with tracks, and what the nuScenes tracking task does to them before it compares any.

nuscenes-devkit 1.2, eval/tracking/loaders.py ``create_tracks``: every box of a predicted track gets the track's mean
score; then the frames in which a track is absent between its first and its last are filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drive.geometry.clock import NS_PER_US
from drive.logs.store import Log
from drive.samples.classes import NUSCENES_CLASSES, ClassMap
from drive.scores.eval_boxes import EvalBoxes, EvalFrames
from drive.scores.ground_truth import counted_labels, ego_tokens, load_ground_truth

TRACKING_NAMES = ("bicycle", "bus", "car", "motorcycle", "pedestrian", "trailer", "truck")
NUSCENES_TRACKING_CLASSES: ClassMap = NUSCENES_CLASSES.only(TRACKING_NAMES)


@dataclass(frozen=True)
class TrackedBoxes:
    """N boxes and int64 [N] the track of each: unique over all logs, one box a frame at most."""

    boxes: EvalBoxes
    track: np.ndarray

    def __post_init__(self) -> None:
        if len(self.track) != len(self.boxes):
            raise ValueError(f"{len(self.boxes)} boxes, {len(self.track)} tracks")

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, rows: np.ndarray) -> TrackedBoxes:
        """The boxes at ``rows`` (mask or increasing indices)."""
        return TrackedBoxes(self.boxes.take(rows), self.track[rows])


@dataclass(frozen=True)
class TrackFrames:
    """F frames, those of one log side by side and in order of time. timestamp_us: int64 [F]; log: int64 [F]."""

    frames: EvalFrames
    timestamp_us: np.ndarray
    log: np.ndarray

    def __post_init__(self) -> None:
        same = np.diff(self.log) == 0
        if len(self.log) and len(np.unique(self.log)) != 1 + np.count_nonzero(~same):
            raise ValueError("the frames of a log must stand side by side")
        if (np.diff(self.timestamp_us)[same] <= 0).any():
            raise ValueError("the frames of a log must be in order of time")


def load_tracking_truth(
    log_paths: Sequence[Path], class_map: ClassMap = NUSCENES_TRACKING_CLASSES
) -> tuple[TrackFrames, TrackedBoxes]:
    """Labelled frames of logs and their annotated tracks, global frame. UserError as load_ground_truth."""
    truth = load_ground_truth(log_paths, class_map)
    tracks, times, rows, first = [], [], [], 0
    for number, path in enumerate(log_paths):
        log = Log.open(path)
        labelled = np.flatnonzero(~np.asarray(log.frame_interpolated, dtype=bool))
        ego = ego_tokens(log)
        for index in labelled.tolist():
            content = log.boxes(index)
            tracks.append(first + content.track[counted_labels(content, class_map, ego) >= 0].astype(np.int64))
        times.append(log.frame_timestamps_ns[labelled] // NS_PER_US)
        rows.append(np.full(len(labelled), number, np.int64))
        first += len(log.track_tokens)
    none = np.zeros(0, np.int64)
    frames = TrackFrames(truth.frames, np.concatenate([none, *times]), np.concatenate([none, *rows]))
    return frames, TrackedBoxes(truth.boxes, np.concatenate([none, *tracks]))


def mean_scores(tracked: TrackedBoxes) -> TrackedBoxes:
    """Every box with the mean score of its track."""
    score = tracked.boxes.score.copy()
    order = np.argsort(tracked.track, kind="stable")
    _, start, count = np.unique(tracked.track[order], return_index=True, return_counts=True)
    for length in np.unique(count):
        # Tracks of one length together: numpy then adds each row as the devkit's np.mean adds a list, to the last bit.
        rows = order[start[count == length][:, None] + np.arange(length)]
        score[rows] = np.mean(np.ascontiguousarray(tracked.boxes.score[rows]), axis=1)[:, None]
    b = tracked.boxes
    boxes = EvalBoxes(b.frame, b.boxes, b.velocity_valid, b.label, score, b.attribute, b.num_points)
    return TrackedBoxes(boxes, tracked.track)


def fill_gaps(tracked: TrackedBoxes, frames: TrackFrames) -> TrackedBoxes:
    """A box for every frame between the first and the last of a track; class of the later of its two neighbours.

    Only centre and score are interpolated, which is all that the metric uses; the other columns are the later box's.
    The weight of the later box is (its time - t) / (its time - the earlier one's), as in the devkit 1.2: right in the
    middle of a gap of one frame, mirrored elsewhere. Equal numbers matter more here than the better formula. Filled
    boxes stand behind the recorded ones of their frame, in the order in which their tracks first appeared.
    """
    b = tracked.boxes
    if not len(tracked):
        return tracked
    order = np.argsort(tracked.track, kind="stable")  # by track, then frame
    left, right = order[:-1], order[1:]
    gap = np.where(tracked.track[left] == tracked.track[right], b.frame[right] - b.frame[left] - 1, 0)
    if (gap < 0).any():
        twice = left[np.flatnonzero(gap < 0)[0]]
        raise ValueError(f"track {tracked.track[twice]} has two boxes in frame {frames.frames.ids[b.frame[twice]]}")
    left, right = np.repeat(left, gap), np.repeat(right, gap)
    step = np.arange(len(left)) - np.repeat(np.cumsum(gap) - gap, gap)
    frame = b.frame[left] + 1 + step
    time = frames.timestamp_us
    share = (time[b.frame[right]] - time[frame]) / (time[b.frame[right]] - time[b.frame[left]])
    filled = b.boxes[right].copy()
    filled[:, :3] = (1.0 - share)[:, None] * b.boxes[left, :3] + share[:, None] * b.boxes[right, :3]
    score = (1.0 - share) * b.score[left] + share * b.score[right]

    rows = np.concatenate([np.arange(len(b)), right])
    all_frames, track = np.concatenate([b.frame, frame]), tracked.track[rows]
    _, first, inverse = np.unique(tracked.track, return_index=True, return_inverse=True)
    rank = np.concatenate([np.arange(len(b)), len(b) + first[inverse[right]]])
    order = np.lexsort((rank, all_frames))
    rows = rows[order]
    boxes = EvalBoxes(
        frame=all_frames[order],
        boxes=np.concatenate([b.boxes, filled])[order],
        velocity_valid=b.velocity_valid[rows],
        label=b.label[rows],
        score=np.concatenate([b.score, score])[order],
        attribute=b.attribute[rows],
        num_points=b.num_points[rows],
    )
    return TrackedBoxes(boxes, track[order])
