"""SimpleTrack: suppression, a Kalman filter, matching by 3D GIoU in two stages (Pang, Li and Wang 2021, 2111.09621).

Boxes that overlap better ones are taken away first. Detections with a good score are matched with the tracks; a track
without a match is kept where any detection with at least a poor score is near: its filter is updated with its own
prediction, and the poor box itself is not used. The filter moves by the time stamps.

Not here: SimpleTrack's form for nuScenes at 10 Hz with other rules between key frames, and ``min_hits_to_birth``, which
there only names a track's state: a new track is reported at once with 0 as with 3.

Bad input: a frame that is not later than the last one is a UserError. A detection with a box or a score that is not
finite, or with a side that is not positive, is left out and counted (``left_out``). Of equal detections one is kept. A
gap in time longer than a class's ``max_age`` ends its tracks (``clock="stamps"``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drive.geometry.angles import wrap_angle
from drive.geometry.box import VX, YAW
from drive.tracks import parameters
from drive.tracks.associate import Rules, match, near_any
from drive.tracks.box_filter import BoxFilter
from drive.tracks.inputs import seconds_since, usable
from drive.tracks.life import Clock, Life, join, take
from drive.tracks.parameters import SimpleTrackClass
from drive.tracks.suppress import kept_by_iou_3d
from drive.tracks.track import FrameDetections, TrackedFrame

COASTED_SCORE = 0.01  # a track's score times this in every frame without a match (mot_3d/tracklet/tracklet.py)


@dataclass(frozen=True)
class SimpleTrackConfig:
    """SimpleTrack's parameters.

    Attributes:
        classes: One a class, in the order of the detections' labels. Scores are in the detector's own unit.
        period_s: Seconds between frames of the data that the classes' ``max_age`` was tuned on.
        clock: What ``max_age`` counts: "stamps" or "frames" (published). The filter always goes by the stamps.
        refuse_late: Match all pairs of a class and drop the dear matches afterwards (published), instead of matching
            only pairs within the limit; see ``associate.Rules``.
        report_coasted: Tracks without a match in a frame are reported all the same, predicted and with a score that
            falls by ``COASTED_SCORE`` a frame (published for nuScenes; fits probabilities, not logits), or not (Waymo).
        first_variance, process_variance: Diagonals for the box's entries and for its velocity's, in metres and seconds;
            the process variance is that of a step of any length.
        measurement_variance: Diagonal for the box's entries.
    """

    classes: tuple[SimpleTrackClass, ...]
    period_s: float
    clock: Clock = "stamps"
    refuse_late: bool = False
    report_coasted: bool = False
    first_variance: tuple[float, float] = parameters.KALMAN_FIRST_VARIANCE
    process_variance: tuple[float, float] = parameters.SIMPLE_TRACK_PROCESS_VARIANCE
    measurement_variance: float = parameters.KALMAN_MEASUREMENT_VARIANCE

    @staticmethod
    def nuscenes(class_names: tuple[str, ...] = tuple(parameters.SIMPLE_TRACK_NUSCENES)) -> SimpleTrackConfig:
        """The published set for key frames. Raises UserError for a class that it does not have."""
        classes = parameters.of_classes(parameters.SIMPLE_TRACK_NUSCENES, class_names)
        return SimpleTrackConfig(classes, parameters.NUSCENES_PERIOD_S, report_coasted=True)

    @staticmethod
    def waymo(class_names: tuple[str, ...] = tuple(parameters.SIMPLE_TRACK_WAYMO)) -> SimpleTrackConfig:
        """The published set. Raises UserError for a class that it does not have."""
        classes = parameters.of_classes(parameters.SIMPLE_TRACK_WAYMO, class_names)
        return SimpleTrackConfig(classes, parameters.WAYMO_PERIOD_S)

    @staticmethod
    def kitti(class_names: tuple[str, ...] = tuple(parameters.SIMPLE_TRACK_KITTI)) -> SimpleTrackConfig:
        """A set of ours (``parameters.SIMPLE_TRACK_KITTI``). Raises UserError for a class that it does not have."""
        classes = parameters.of_classes(parameters.SIMPLE_TRACK_KITTI, class_names)
        return SimpleTrackConfig(classes, parameters.KITTI_PERIOD_S)

    def build(self) -> SimpleTrack:
        return SimpleTrack(self)


@dataclass(frozen=True)
class SimpleTrackState:
    """N live tracks, sorted by label and then by id.

    Attributes:
        frames: Frames seen so far. timestamp_ns: of the last one (0 before the first).
        next_id: Of the next new track. left_out: detections so far that could not be used.
        ids, labels, hits (matches), misses (frames since the track was last kept), seen_ns (time of its filter: it was
            matched then, or kept by the second stage): int64 [N].
        scores: float64 [N].
        mean: float64 [N, 10] x y z yaw length width height vx vy vz at ``seen_ns``, metres and seconds.
        covariance: float64 [N, 10, 10].
    """

    frames: int
    timestamp_ns: int
    next_id: int
    left_out: int
    ids: np.ndarray
    labels: np.ndarray
    hits: np.ndarray
    misses: np.ndarray
    seen_ns: np.ndarray
    scores: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray


class SimpleTrack:
    """The tracker; see the module."""

    def __init__(self, config: SimpleTrackConfig) -> None:
        self.config = config
        self.class_names = tuple(c.name for c in config.classes)
        self._rules = Rules.of(config.classes, config.refuse_late)
        self._life = Life(config.clock, config.period_s, np.array([c.max_age for c in config.classes], dtype=np.int64))
        self._first_score = np.array([c.first_score for c in config.classes])
        second = [np.inf if c.second_score is None else c.second_score for c in config.classes]
        self._second_score = np.array(second, dtype=np.float64)
        self._suppress = np.array([c.suppress_iou for c in config.classes])
        self._filter = BoxFilter(
            1.0, "centre", config.first_variance, config.process_variance, config.measurement_variance
        )

    def start(self) -> SimpleTrackState:
        none = np.zeros(0, dtype=np.int64)
        mean = np.zeros((0, 10))
        return SimpleTrackState(0, 0, 1, 0, none, none, none, none, none, np.zeros(0), mean, np.zeros((0, 10, 10)))

    def step(self, state: SimpleTrackState, detections: FrameDetections) -> tuple[SimpleTrackState, TrackedFrame]:
        """One frame on. Raises UserError where the frame is not later than the last one."""
        now_ns = detections.timestamp_ns
        if state.frames:
            seconds_since(state.timestamp_ns, detections)
        rows = np.flatnonzero(usable(detections, len(self.class_names)))
        left_out = len(detections) - len(rows)
        given = detections.boxes[rows], detections.scores[rows], detections.labels[rows]
        rows = rows[kept_by_iou_3d(*given, self._suppress)]
        rows = rows[np.argsort(detections.labels[rows], kind="stable")]
        boxes, labels, scores = detections.boxes[rows], detections.labels[rows], detections.scores[rows]
        good = np.flatnonzero(scores >= self._first_score[labels])

        old = take(state, self._life.can_be_matched(state.labels, state.misses, state.seen_ns, now_ns))
        passed_s = (now_ns - old.seen_ns) * 1e-9
        ahead = self._filter.ahead(old.mean, passed_s)
        found = match(self._rules, ahead, old.labels, boxes[good], labels[good])
        matched = np.zeros(len(old.ids), dtype=bool)
        matched[found.track] = True
        taken = good[found.detection]
        kept = self._kept(ahead, old.labels, matched, boxes, labels, scores)

        # Only what is matched or kept gets a new filter; the others are predicted from where they were last seen.
        updated = np.concatenate([found.track, kept])
        own = self._filter.measurements(ahead[kept])
        mean, covariance = old.mean.copy(), old.covariance.copy()
        mean[updated], covariance[updated] = self._filter.step(
            old.mean[updated],
            old.covariance[updated],
            passed_s[updated],
            1.0,
            np.arange(len(updated)),
            np.concatenate([self._filter.measurements(boxes[taken]), own]),
        )
        hits, misses, seen_ns = old.hits.copy(), old.misses + 1, old.seen_ns.copy()
        hits[found.track] += 1
        misses[updated] = 0
        seen_ns[updated] = now_ns
        last = old.scores * COASTED_SCORE
        last[found.track] = scores[taken]
        detection = np.zeros(len(old.ids), dtype=np.int64)
        detection[found.track] = rows[taken]

        new = good[found.unmatched]
        count = len(new)
        new_mean, new_covariance = self._filter.begin(self._filter.measurements(boxes[new]))
        now = SimpleTrackState(
            state.frames + 1,
            now_ns,
            state.next_id + count,
            state.left_out + left_out,
            join(old.ids, np.arange(state.next_id, state.next_id + count)),
            join(old.labels, labels[new]),
            join(hits, np.ones(count, np.int64)),
            join(misses, np.zeros(count, np.int64)),
            join(seen_ns, np.full(count, now_ns)),
            join(last, scores[new]),
            join(mean, new_mean),
            join(covariance, new_covariance),
        )
        shown = join(matched, np.ones(count, dtype=bool))
        return self._reported(now, shown, join(detection, rows[new]))

    def _kept(
        self,
        ahead: np.ndarray,
        track_labels: np.ndarray,
        matched: np.ndarray,
        boxes: np.ndarray,
        labels: np.ndarray,
        scores: np.ndarray,
    ) -> np.ndarray:
        """Tracks without a match that the second stage keeps: int64. Matched detections count too (published)."""
        lost = np.flatnonzero(~matched)
        some = scores > self._second_score[labels]
        if not len(lost) or not some.any():
            return lost[:0]
        return lost[near_any(self._rules, ahead[lost], track_labels[lost], boxes[some], labels[some])]

    def _reported(
        self, now: SimpleTrackState, matched: np.ndarray, detection: np.ndarray
    ) -> tuple[SimpleTrackState, TrackedFrame]:
        order = np.argsort(now.labels, kind="stable")
        order = order[self._life.goes_on(now.labels, now.misses, now.seen_ns, now.timestamp_ns)[order]]
        alive, matched, detection = take(now, order), matched[order], detection[order]
        shown = np.full(len(order), True) if self.config.report_coasted else matched
        tracks = take(alive, shown)
        count = len(tracks.ids)
        has_velocity = tracks.hits >= 2  # one place is no velocity
        boxes = self._filter.ahead(tracks.mean, (now.timestamp_ns - tracks.seen_ns) * 1e-9)
        boxes[:, YAW] = wrap_angle(boxes[:, YAW])
        boxes[~has_velocity, VX:] = 0.0
        sigma = np.zeros((count, 4))
        sigma[has_velocity, :2] = self._filter.velocity_sigma(tracks.covariance[has_velocity])
        frame = TrackedFrame(
            now.timestamp_ns,
            tracks.ids,
            boxes,
            tracks.scores,
            tracks.labels,
            has_velocity,
            np.zeros((count, 2)),
            np.zeros(count, dtype=bool),
            sigma,
            has_velocity,
            detection[shown],
            matched[shown],
        )
        return alive, frame
