"""CenterPoint's tracker: detections moved back by their velocity take the nearest track, the best first.

(Yin, Zhou and Kraehenbuehl, CVPR 2021, arXiv 2006.11275.) A detection goes to where it was at the last frame and is
matched from above with the tracks there, each at most once, in order of falling score. A track without a match moves
on by its velocity and is not reported.

Beside the published form: where the detector measured no velocity, the track is moved forward instead, by the velocity
between its last two places (``missing_velocity="displacement"``; published: as if the object stood still).

Bad input: a frame that is not later than the last one is a UserError. A detection with a box or a score that is not
finite, or with a side that is not positive, is left out and counted (``left_out``); a velocity that is not finite is
none. Of two equal detections one takes the track and the other starts one of its own. A gap in time longer than
``max_age`` periods ends all tracks (``clock="stamps"``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from drive.geometry.angles import wrap_angle
from drive.geometry.box import VX, YAW, X, Z
from drive.tracks import parameters
from drive.tracks.inputs import measured_velocity, seconds_since, usable
from drive.tracks.life import Clock, Life, take
from drive.tracks.parameters import GreedyClass
from drive.tracks.track import FrameDetections, TrackedFrame
from ops.assignment import cpu as assignment


@dataclass(frozen=True)
class CenterGreedyConfig:
    """The tracker's parameters.

    Attributes:
        classes: One a class, in the order of the detections' labels.
        period_s: Seconds between frames of the data that ``max_age`` was tuned on.
        max_age: Periods (or frames, see ``clock``) without a match after which a track ends.
        clock: What ``max_age`` counts: "stamps" or "frames" (published). Motion always goes by the stamps.
        coast: How far a track without a match moves: "stamps" (its velocity times the time that passed) or "last" (in
            every frame the way that it made in the step before its last match: published).
        missing_velocity: What a detection without a measured velocity is compared with: the track moved by the velocity
            between its last two places ("displacement"), or the track where it was ("still": published).
    """

    classes: tuple[GreedyClass, ...]
    period_s: float
    max_age: int = parameters.GREEDY_MAX_AGE
    clock: Clock = "stamps"
    coast: Literal["stamps", "last"] = "stamps"
    missing_velocity: Literal["displacement", "still"] = "displacement"

    @staticmethod
    def nuscenes(class_names: tuple[str, ...] = tuple(parameters.GREEDY_NUSCENES)) -> CenterGreedyConfig:
        """The published set. Raises UserError for a class that it does not have."""
        classes = parameters.of_classes(parameters.GREEDY_NUSCENES, class_names)
        return CenterGreedyConfig(classes, parameters.NUSCENES_PERIOD_S)

    @staticmethod
    def waymo(class_names: tuple[str, ...] = tuple(parameters.GREEDY_WAYMO)) -> CenterGreedyConfig:
        """The published set. Raises UserError for a class that it does not have."""
        classes = parameters.of_classes(parameters.GREEDY_WAYMO, class_names)
        return CenterGreedyConfig(classes, parameters.WAYMO_PERIOD_S)

    @staticmethod
    def kitti(class_names: tuple[str, ...] = tuple(parameters.GREEDY_KITTI)) -> CenterGreedyConfig:
        """A set of ours (``parameters.GREEDY_KITTI``). Raises UserError for a class that it does not have."""
        classes = parameters.of_classes(parameters.GREEDY_KITTI, class_names)
        return CenterGreedyConfig(classes, parameters.KITTI_PERIOD_S)

    def build(self) -> CenterGreedy:
        return CenterGreedy(self)


@dataclass(frozen=True)
class CenterGreedyState:
    """N live tracks, sorted by label.

    Attributes:
        frames: Frames seen so far. timestamp_ns: of the last one (0 before the first).
        next_id: Of the next new track. left_out: detections so far that could not be used.
        ids, labels, misses (frames since the last match), seen_ns (time of the last match): int64 [N].
        boxes: float64 [N, 9], of the last matched detection, with the velocity that the track goes on by.
        velocity_valid: bool [N]: that velocity was measured, or is one between two places.
        step_s: float64 [N], seconds from the frame before the last match to the match.
    """

    frames: int
    timestamp_ns: int
    next_id: int
    left_out: int
    ids: np.ndarray
    labels: np.ndarray
    misses: np.ndarray
    seen_ns: np.ndarray
    boxes: np.ndarray
    velocity_valid: np.ndarray
    step_s: np.ndarray


class CenterGreedy:
    """The tracker; see the module."""

    def __init__(self, config: CenterGreedyConfig) -> None:
        self.config = config
        self.class_names = tuple(c.name for c in config.classes)
        self._life = Life(config.clock, config.period_s, np.full(len(config.classes), config.max_age))
        self._gate = np.array([c.gate_m for c in config.classes], dtype=np.float64)
        births = [-np.inf if c.birth_score is None else c.birth_score for c in config.classes]
        self._birth_score = np.array(births, dtype=np.float64)

    def start(self) -> CenterGreedyState:
        none = np.zeros(0, dtype=np.int64)
        boxes = np.zeros((0, 9))
        return CenterGreedyState(0, 0, 1, 0, none, none, none, none, boxes, np.zeros(0, dtype=bool), np.zeros(0))

    def step(self, state: CenterGreedyState, detections: FrameDetections) -> tuple[CenterGreedyState, TrackedFrame]:
        """One frame on. Raises UserError where the frame is not later than the last one."""
        now_ns = detections.timestamp_ns
        passed_s = seconds_since(state.timestamp_ns, detections) if state.frames else 0.0
        measured = measured_velocity(detections)
        rows = np.flatnonzero(usable(detections, len(self.class_names)))
        rows = rows[np.lexsort((~measured[rows], detections.labels[rows]))]
        boxes, labels, scores = detections.boxes[rows], detections.labels[rows], detections.scores[rows]
        measured = measured[rows]
        boxes[~measured, VX:] = 0.0
        old = take(state, self._life.can_be_matched(state.labels, state.misses, state.seen_ns, now_ns))
        track_of = self._match(old, self._places(old, state.timestamp_ns), boxes, labels, scores, measured, passed_s)

        known = measured.copy()
        found = np.flatnonzero(track_of >= 0)
        track = track_of[found]
        if self.config.missing_velocity == "displacement":
            blind = ~measured[found]
            moved = boxes[found[blind], X:Z] - old.boxes[track[blind], X:Z]
            boxes[found[blind], VX:] = moved / ((now_ns - old.seen_ns[track[blind]]) * 1e-9)[:, None]
            known[found[blind]] = True
        born = (track_of < 0) & (scores > self._birth_score[labels])
        ids = np.zeros(len(rows), dtype=np.int64)
        ids[found] = old.ids[track]
        ids[born] = state.next_id + np.argsort(np.argsort(rows[born]))  # in the order of the detections
        seen = (track_of >= 0) | born
        missed = np.ones(len(old.ids), dtype=bool)
        missed[track] = False
        missed &= self._life.goes_on(old.labels, old.misses + 1, old.seen_ns, now_ns)

        count = int(seen.sum())
        all_labels = np.concatenate([labels[seen], old.labels[missed]])
        order = np.argsort(all_labels, kind="stable")
        now = CenterGreedyState(
            state.frames + 1,
            now_ns,
            state.next_id + int(born.sum()),
            state.left_out + len(detections) - len(rows),
            np.concatenate([ids[seen], old.ids[missed]])[order],
            all_labels[order],
            np.concatenate([np.zeros(count, np.int64), old.misses[missed] + 1])[order],
            np.concatenate([np.full(count, now_ns), old.seen_ns[missed]])[order],
            np.concatenate([boxes[seen], old.boxes[missed]])[order],
            np.concatenate([known[seen], old.velocity_valid[missed]])[order],
            np.concatenate([np.full(count, passed_s), old.step_s[missed]])[order],
        )
        return now, self._reported(now_ns, ids[seen], boxes[seen], scores[seen], labels[seen], known[seen], rows[seen])

    def _places(self, tracks: CenterGreedyState, last_ns: int) -> np.ndarray:
        """Where the tracks were in the last frame, from above: [N, 2]."""
        if self.config.coast == "last":
            coasted_s = tracks.misses * tracks.step_s
        else:
            coasted_s = (last_ns - tracks.seen_ns) * 1e-9
        return tracks.boxes[:, X:Z] + tracks.boxes[:, VX:] * coasted_s[:, None]

    def _match(
        self,
        tracks: CenterGreedyState,
        places: np.ndarray,
        boxes: np.ndarray,
        labels: np.ndarray,
        scores: np.ndarray,
        measured: np.ndarray,
        passed_s: float,
    ) -> np.ndarray:
        """int64 [M]: the track of each detection, -1 where none. Detections are sorted by label, then ~measured."""
        count = len(places)
        # Every track stands for two: where it was, for detections that can be moved back, and where it should be now.
        forward = places if self.config.missing_velocity == "still" else places + tracks.boxes[:, VX:] * passed_s
        problem_of = np.concatenate([2 * tracks.labels, 2 * tracks.labels + 1])
        order = np.argsort(problem_of, kind="stable")
        problems = np.arange(2 * len(self._gate) + 1)
        offsets, column, distance = assignment.candidates(
            boxes[:, X:Z] - boxes[:, VX:] * passed_s,
            np.concatenate([places, forward])[order],
            self._gate[labels],
            np.zeros((0, 2, 2)),
            -1,
            np.searchsorted(2 * labels + ~measured, problems),
            np.searchsorted(problem_of[order], problems),
            threads=1,
        )
        to_track = order % max(count, 1)
        best_first = np.lexsort((-scores, labels))
        by_class = np.searchsorted(labels, np.arange(len(self._gate) + 1))
        if not len(best_first):  # an empty order would mean: no order
            return np.zeros(0, dtype=np.int64)
        found, _ = assignment.assign(by_class, offsets, to_track[column], distance, count, best_first, threads=1)
        return found

    @staticmethod
    def _reported(
        now_ns: int,
        ids: np.ndarray,
        boxes: np.ndarray,
        scores: np.ndarray,
        labels: np.ndarray,
        known: np.ndarray,
        rows: np.ndarray,
    ) -> TrackedFrame:
        count = len(ids)
        boxes = boxes.copy()
        boxes[:, YAW] = wrap_angle(boxes[:, YAW])
        none = np.zeros(count, dtype=bool)
        zeros = np.zeros((count, 2)), np.zeros((count, 4))
        matched = np.ones(count, dtype=bool)
        return TrackedFrame(now_ns, ids, boxes, scores, labels, known, zeros[0], none, zeros[1], none, rows, matched)
