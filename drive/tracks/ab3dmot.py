"""AB3DMOT: a Kalman filter a track, matched by 3D GIoU or distance (Weng et al., IROS 2020, arXiv 1907.03961).

The published form takes every frame as one step of time, whatever the stamps say; ``clock="frames"`` is that form.
By default a step is as long as the stamps say: time counts in periods of the data set that the numbers were tuned on
(0.1 s for KITTI), and the process noise of a step grows with it, so that both forms agree on frames one period apart.

Bad input: a frame that is not later than the last one is a UserError. A detection with a box or a score that is not
finite, or with a side that is not positive, is left out and counted (``State.left_out``). Of two equal detections one
goes on the track and the other starts a track of its own. A gap in time longer than a class's ``max_age`` ends its
tracks (``clock="stamps"``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from drive.geometry.angles import wrap_angle
from drive.geometry.box import VX, YAW
from drive.tracks import parameters
from drive.tracks.associate import Rules, match
from drive.tracks.box_filter import BoxFilter
from drive.tracks.inputs import seconds_since, usable
from drive.tracks.life import Clock, Life, join, take
from drive.tracks.parameters import Ab3dmotClass
from drive.tracks.track import FrameDetections, TrackedFrame


@dataclass(frozen=True)
class Ab3dmotConfig:
    """AB3DMOT's parameters.

    Attributes:
        classes: One a class, in the order of the detections' labels.
        period_s: Seconds between frames of the data that ``classes`` was tuned on: one step of the filter.
        clock: "stamps" (a step lasts as long as the time stamps say) or "frames" (every frame is a period: published).
        refuse_late: Match all pairs of a class and drop the dear matches afterwards (published), instead of matching
            only pairs within the limit; see ``associate.Rules``.
        anchor: Which point of the box is filtered: "bottom" centre (published) or "centre".
        first_variance, process_variance: Diagonals for the box's entries and for its velocity's, in metres and periods.
        measurement_variance: Diagonal for the box's entries.
    """

    classes: tuple[Ab3dmotClass, ...]
    period_s: float
    clock: Clock = "stamps"
    refuse_late: bool = False
    anchor: Literal["bottom", "centre"] = "bottom"
    first_variance: tuple[float, float] = parameters.KALMAN_FIRST_VARIANCE
    process_variance: tuple[float, float] = parameters.AB3DMOT_PROCESS_VARIANCE
    measurement_variance: float = parameters.KALMAN_MEASUREMENT_VARIANCE

    @staticmethod
    def kitti(class_names: tuple[str, ...] = ("Car", "Pedestrian", "Cyclist")) -> Ab3dmotConfig:
        """The set for PointRCNN on KITTI. Raises UserError for a class that it does not have."""
        classes = parameters.of_classes(parameters.AB3DMOT_KITTI, class_names)
        return Ab3dmotConfig(classes, parameters.KITTI_PERIOD_S)

    @staticmethod
    def nuscenes(
        class_names: tuple[str, ...] = tuple(parameters.AB3DMOT_NUSCENES_CENTERPOINT),
        detector: Literal["centerpoint", "megvii"] = "centerpoint",
    ) -> Ab3dmotConfig:
        """The set for a detector on nuScenes. Raises UserError for a class that it does not have."""
        tables = {
            "centerpoint": parameters.AB3DMOT_NUSCENES_CENTERPOINT,
            "megvii": parameters.AB3DMOT_NUSCENES_MEGVII,
        }
        return Ab3dmotConfig(parameters.of_classes(tables[detector], class_names), parameters.NUSCENES_PERIOD_S)

    def build(self) -> Ab3dmot:
        return Ab3dmot(self)


@dataclass(frozen=True)
class Ab3dmotState:
    """N live tracks, sorted by label and then by id.

    Attributes:
        frames: Frames seen so far. timestamp_ns: of the last one (0 before the first).
        next_id: Of the next new track. left_out: detections so far that could not be used.
        ids, labels, hits (matches), misses (frames since the last match), seen_ns (time of the last match): int64 [N].
        scores: float64 [N], of the last matched detection.
        mean: float64 [N, 10] x y z yaw length width height vx vy vz, where (x, y, z) is the anchor and velocity is in
            metres a period. covariance: float64 [N, 10, 10].
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


class Ab3dmot:
    """The tracker; see the module."""

    def __init__(self, config: Ab3dmotConfig) -> None:
        self.config = config
        self.class_names = tuple(c.name for c in config.classes)
        self._rules = Rules.of(config.classes, config.refuse_late)
        self._life = Life(config.clock, config.period_s, np.array([c.max_age for c in config.classes], dtype=np.int64))
        self._min_hits = np.array([c.min_hits for c in config.classes], dtype=np.int64)
        self._filter = BoxFilter(
            config.period_s, config.anchor, config.first_variance, config.process_variance, config.measurement_variance
        )

    def start(self) -> Ab3dmotState:
        none = np.zeros(0, dtype=np.int64)
        mean = np.zeros((0, 10))
        return Ab3dmotState(0, 0, 1, 0, none, none, none, none, none, np.zeros(0), mean, np.zeros((0, 10, 10)))

    def step(self, state: Ab3dmotState, detections: FrameDetections) -> tuple[Ab3dmotState, TrackedFrame]:
        """One frame on. Raises UserError where the frame is not later than the last one."""
        now_ns = detections.timestamp_ns
        passed_s = seconds_since(state.timestamp_ns, detections) if state.frames else self.config.period_s
        periods = passed_s / self.config.period_s if self.config.clock == "stamps" else 1.0
        rows = np.flatnonzero(usable(detections, len(self.class_names)))
        rows = rows[np.argsort(detections.labels[rows], kind="stable")]
        boxes, labels, scores = detections.boxes[rows], detections.labels[rows], detections.scores[rows]
        measured = self._filter.measurements(boxes)
        old = take(state, self._life.can_be_matched(state.labels, state.misses, state.seen_ns, now_ns))

        # Matched where the tracks will be; only then is the whole filter moved, prediction and update in one pass.
        found = match(self._rules, self._filter.ahead(old.mean, periods), old.labels, boxes, labels)
        mean, covariance = self._filter.step(
            old.mean,
            old.covariance,
            np.full(len(old.ids), periods),
            periods,
            found.track,
            measured[found.detection],
        )
        hits, misses, seen_ns, last = old.hits.copy(), old.misses + 1, old.seen_ns.copy(), old.scores.copy()
        detection = np.zeros(len(old.ids), dtype=np.int64)
        hits[found.track] += 1
        misses[found.track] = 0
        seen_ns[found.track] = now_ns
        last[found.track] = scores[found.detection]
        detection[found.track] = rows[found.detection]

        new = found.unmatched
        count = len(new)
        new_mean, new_covariance = self._filter.begin(measured[new])
        now = Ab3dmotState(
            state.frames + 1,
            now_ns,
            state.next_id + count,
            state.left_out + len(detections) - len(rows),
            join(old.ids, np.arange(state.next_id, state.next_id + count)),
            join(old.labels, labels[new]),
            join(hits, np.ones(count, np.int64)),
            join(misses, np.zeros(count, np.int64)),
            join(seen_ns, np.full(count, now_ns)),
            join(last, scores[new]),
            join(mean, new_mean),
            join(covariance, new_covariance),
        )
        return self._reported(now, join(detection, rows[new]))

    def _reported(self, now: Ab3dmotState, detection: np.ndarray) -> tuple[Ab3dmotState, TrackedFrame]:
        order = np.argsort(now.labels, kind="stable")
        order = order[self._life.goes_on(now.labels, now.misses, now.seen_ns, now.timestamp_ns)[order]]
        alive = take(now, order)
        min_hits = self._min_hits[alive.labels]
        shown = (alive.hits >= min_hits) | (alive.frames <= min_hits)
        tracks = take(alive, shown)
        count = len(tracks.ids)
        has_velocity = tracks.hits >= 2  # one place is no velocity
        boxes = self._filter.boxes(tracks.mean)
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
            detection[order][shown],
            tracks.misses == 0,
        )
        return alive, frame
