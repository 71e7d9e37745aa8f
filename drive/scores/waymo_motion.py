"""Waymo's motion metrics: minADE, minFDE, miss rate, overlap rate, mAP and soft mAP by object type and horizon.

Equal to the operator ``motion_metrics`` of waymo_open_dataset 1.6.7 (metrics/{motion_metrics,motion_metrics_utils}.cc),
which does not give the soft mAP out. A prediction is a group of agents with several joint futures; with groups of one
agent these are the figures of the motion challenge, with pairs those of the interaction challenge.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from drive.scores.waymo_motion_shapes import NUM_BUCKETS, bucket_of, first_overlap

VEHICLE, PEDESTRIAN, CYCLIST, OTHER = 1, 2, 3, 4  # Track.ObjectType: not the numbers of the perception labels
TYPE_NAMES = {VEHICLE: "VEHICLE", PEDESTRIAN: "PEDESTRIAN", CYCLIST: "CYCLIST"}
_PRIORITY = np.array([0, 2, 3, 4, 1])  # of types 0..4: which one names a group of several
X, Y, LENGTH, WIDTH, HEADING, VX, VY = range(7)  # columns of the truth


@dataclass(frozen=True)
class Horizon:
    """A step of the prediction (0 is the first) up to which figures are taken, and how far off still is a hit."""

    step: int
    lateral_m: float
    longitudinal_m: float


@dataclass(frozen=True)
class MotionConfig:
    """motion_metrics.proto ``MotionMetricsConfig``; the defaults are the challenge's (3, 5 and 8 s)."""

    track_hz: int = 10
    prediction_hz: int = 2
    history: int = 10
    future: int = 80
    speed_low: float = 1.4
    speed_high: float = 11.0
    scale_low: float = 0.5
    scale_high: float = 1.0
    horizons: tuple[Horizon, ...] = (Horizon(5, 1.0, 2.0), Horizon(9, 1.8, 3.6), Horizon(15, 3.0, 6.0))
    max_predictions: int = 6

    def __post_init__(self) -> None:
        if self.track_hz % self.prediction_hz:
            raise ValueError(f"tracks of {self.track_hz} Hz are no multiple of predictions of {self.prediction_hz} Hz")
        if any(not 0 <= h.step < self.steps for h in self.horizons):
            raise ValueError(f"a horizon lies outside the {self.steps} predicted steps")
        if self.speed_low >= self.speed_high or self.max_predictions < 1:
            raise ValueError("speed_high must exceed speed_low, and at least one prediction must count")

    @property
    def steps(self) -> int:
        """Predicted steps; the first is one period after the current time."""
        return self.future * self.prediction_hz // self.track_hz

    @property
    def track_steps(self) -> np.ndarray:
        """The track's step of each predicted one, int64 [T]."""
        return (np.arange(self.steps) + 1) * (self.track_hz // self.prediction_hz) + self.history

    def names(self) -> list[str]:
        """Official names of the figures, as ``TYPE_VEHICLE_5``."""
        return [f"TYPE_{name}_{h.step}" for name in TYPE_NAMES.values() for h in self.horizons]


@dataclass(frozen=True)
class MotionBatch:
    """B scenarios in the operator's shapes: N agents, G groups of at most A agents, K futures of T steps.

    trajectory: float32 [B, G, K, A, T, 2], x and y in metres. score: float32 [B, G, K]. agent: int64 [B, G, A], rows of
    the truth; agent_valid: bool [B, G, A] (a group without any is skipped). truth: float32 [B, N, H, 7] x, y, length,
    width, heading, vx, vy at every step of the track; truth_valid: bool [B, N, H]. kind: int64 [B, N].
    """

    trajectory: np.ndarray
    score: np.ndarray
    agent: np.ndarray
    agent_valid: np.ndarray
    truth: np.ndarray
    truth_valid: np.ndarray
    kind: np.ndarray

    def check(self, config: MotionConfig) -> None:
        """ValueError for shapes that do not fit each other or the configuration, and for predicted unknown agents."""
        batch, groups, futures, agents = self.trajectory.shape[:4]
        count, length = self.truth.shape[1], config.history + config.future + 1
        wanted = {
            "trajectory": (self.trajectory.shape[4:], (config.steps, 2)),
            "score": (self.score.shape, (batch, groups, futures)),
            "agent": (self.agent.shape, (batch, groups, agents)),
            "agent_valid": (self.agent_valid.shape, (batch, groups, agents)),
            "truth": (self.truth.shape, (batch, count, length, 7)),
            "truth_valid": (self.truth_valid.shape, (batch, count, length)),
            "kind": (self.kind.shape, (batch, count)),
        }
        for name, (given, needed) in wanted.items():
            if given != needed:
                raise ValueError(f"{name} has the shape {given}, not {needed}")
        named = self.agent[self.agent_valid]
        if len(named) and not (named.min() >= 0 and named.max() < count):
            raise ValueError(f"a predicted agent is not one of the {count}")
        if not (np.isfinite(self.trajectory).all() and np.isfinite(self.score).all()):
            raise ValueError("a predicted position or a score is not finite")


@dataclass(frozen=True)
class MotionMetrics:
    """float32 [B] each in the order of ``config.names()``; -1 where no agent of the type was predicted."""

    names: tuple[str, ...]
    min_ade: np.ndarray
    min_fde: np.ndarray
    miss_rate: np.ndarray
    overlap_rate: np.ndarray
    mean_ap: np.ndarray
    soft_mean_ap: np.ndarray


@dataclass
class _Samples:
    """Futures of one type, horizon and shape of the path, for the mAP."""

    scores: list[np.ndarray] = field(default_factory=list)
    hits: list[np.ndarray] = field(default_factory=list)
    objects: int = 0


class MotionScore:
    """Takes batch after batch; ``result()`` gives the figures of all of them."""

    def __init__(self, config: MotionConfig | None = None) -> None:
        self.config = config or MotionConfig()
        rows = len(self.config.names())
        self._sums = np.zeros((4, rows))
        self._counts = np.zeros((4, rows), dtype=np.int64)
        self._seen = np.zeros(rows, dtype=bool)
        self._samples = [[[_Samples() for _ in range(NUM_BUCKETS)] for _ in range(rows)] for _ in range(2)]

    def update(self, batch: MotionBatch) -> None:
        """Add a batch. Raises ValueError for one that does not fit."""
        batch.check(self.config)
        g = _Groups.of(batch, self.config)
        for h, horizon in enumerate(self.config.horizons):
            (ade, fde), known = g.distances(horizon.step)
            hit, judged = g.hits(horizon)
            figures = np.stack([ade, fde, ~hit.any(axis=1), g.overlap <= horizon.step])
            measured = np.stack([known, judged, judged, np.ones(len(judged), bool)])
            for t, kind in enumerate(TYPE_NAMES):
                row, mine = t * len(self.config.horizons) + h, g.kind == kind
                self._seen[row] |= mine.any()
                self._counts[:, row] += (measured & mine).sum(axis=1)
                self._sums[:, row] += np.where(measured & mine, figures, 0.0).sum(axis=1)
                for bucket in range(NUM_BUCKETS):
                    rows = np.flatnonzero(mine & judged & (g.bucket == bucket))
                    self._add_samples(row, bucket, g.score[rows], hit[rows])

    def _add_samples(self, row: int, bucket: int, score: np.ndarray, hit: np.ndarray) -> None:
        """score float32, hit bool [Q, K] of groups of one kind: the best-scored hit of each is right, all else wrong
        (for the soft mAP further hits do not count at all)."""
        if not len(score):
            return
        order = np.argsort(-score, axis=1, kind="stable")
        score, hit = np.take_along_axis(score, order, axis=1), np.take_along_axis(hit, order, axis=1)
        first = hit & (np.cumsum(hit, axis=1) == 1)
        for soft, counts in enumerate((np.ones_like(hit), ~hit | first)):
            samples = self._samples[soft][row][bucket]
            samples.scores.append(score[counts])
            samples.hits.append(first[counts])
            samples.objects += len(score)

    def result(self) -> MotionMetrics:
        """Means over everything added so far."""
        means = np.divide(self._sums, self._counts, out=np.zeros_like(self._sums), where=self._counts > 0)
        ap = [[_mean_ap(buckets) for buckets in rows] for rows in self._samples]
        columns = [np.where(self._seen, column, -1.0).astype(np.float32) for column in (*means, *np.array(ap))]
        return MotionMetrics(tuple(self.config.names()), *columns)


@dataclass(frozen=True)
class _Groups:
    """Q predicted groups: difference f64 [Q, K, A, T, 2] to the truth, valid bool [Q, A, T] (True for absent agents),
    present bool [Q, A], heading f64 [Q, A, T], scale f64 [Q, A] of the thresholds, score float32 [Q, K], kind int64
    [Q], bucket int64 [Q] (-1: no shape), overlap int64 [Q] (first step with an overlap, else a large number)."""

    difference: np.ndarray
    valid: np.ndarray
    present: np.ndarray
    heading: np.ndarray
    scale: np.ndarray
    score: np.ndarray
    kind: np.ndarray
    bucket: np.ndarray
    overlap: np.ndarray

    @staticmethod
    def of(batch: MotionBatch, config: MotionConfig) -> _Groups:
        at = np.argwhere(batch.agent_valid.any(axis=2))
        b, m = at[:, 0], at[:, 1]
        present = batch.agent_valid[b, m]
        agent = np.where(present, batch.agent[b, m], 0)
        truth, seen = batch.truth[b[:, None], agent], batch.truth_valid[b[:, None], agent]
        steps, keep = config.track_steps, min(config.max_predictions, batch.score.shape[2])
        path = batch.trajectory[b, m].astype(np.float64)
        now = truth[:, :, config.history].astype(np.float64)
        kinds = np.where(present, batch.kind[b[:, None], agent], 0)
        best = _best_future(batch.score[b, m], keep)
        return _Groups(
            difference=path[:, :keep] - truth[:, None, :, steps, :2].astype(np.float64),
            valid=seen[:, :, steps] | ~present[:, :, None],
            present=present,
            heading=truth[:, :, steps, HEADING].astype(np.float64),
            scale=_speed_scale(np.hypot(now[..., VX], now[..., VY]), config),
            score=batch.score[b, m][:, :keep],
            kind=np.take_along_axis(kinds, _PRIORITY[kinds].argmax(axis=1)[:, None], axis=1)[:, 0],
            bucket=bucket_of(truth, seen, present, config.history),
            overlap=first_overlap(
                b,
                agent,
                present,
                path[np.arange(len(path)), best],
                batch.truth.astype(np.float64),
                batch.truth_valid,
                config.history,
                steps,
            ),
        )

    def distances(self, step: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        """((minADE, minFDE) f64 [Q] up to a step, metres; whether the first is known, bool [Q]): of a joint future the
        mean over its agents, unknown where one of them has no valid state."""
        far = np.hypot(self.difference[..., : step + 1, 0], self.difference[..., : step + 1, 1])
        counted = (self.valid[:, :, : step + 1] & self.present[:, :, None])[:, None]
        number = counted.sum(axis=3)
        mean = np.divide(np.where(counted, far, 0.0).sum(axis=3), number, out=np.zeros(far.shape[:3]), where=number > 0)
        known = np.all((number[:, 0] > 0) | ~self.present, axis=1)
        agents, there = self.present.sum(axis=1)[:, None], self.present[:, None]
        ade = (np.where(there, mean, 0.0).sum(axis=2) / agents).min(axis=1)
        fde = (np.where(there, far[..., step], 0.0).sum(axis=2) / agents).min(axis=1)
        return (ade, fde), known

    def hits(self, horizon: Horizon) -> tuple[np.ndarray, np.ndarray]:
        """Which futures end within the horizon's thresholds, bool [Q, K]; where that can be told, bool [Q]."""
        offset, heading = self.difference[..., horizon.step, :], self.heading[:, None, :, horizon.step]
        cos, sin = np.cos(-heading), np.sin(-heading)
        along = np.abs(offset[..., 0] * cos - offset[..., 1] * sin) / self.scale[:, None]
        across = np.abs(offset[..., 0] * sin + offset[..., 1] * cos) / self.scale[:, None]
        near = (across <= np.float64(np.float32(horizon.lateral_m))) & (
            along <= np.float64(np.float32(horizon.longitudinal_m))
        )
        judged = np.all(self.valid[:, :, horizon.step], axis=1)
        return np.all(near | ~self.present[:, None], axis=2) & judged[:, None], judged


def _best_future(score: np.ndarray, keep: int) -> np.ndarray:
    """The future with the largest share of the scores' sum (float32, as officially), int64 [Q]."""
    total = np.zeros(len(score), dtype=np.float32)
    for column in score.T:
        total = total + column
    share = np.divide(score, total[:, None], out=np.ones_like(score), where=total[:, None] != 0)
    return share[:, :keep].argmax(axis=1) if len(score) else np.zeros(0, dtype=np.int64)


def _speed_scale(speed: np.ndarray, config: MotionConfig) -> np.ndarray:
    """Factor of the thresholds by the agent's current speed (m/s)."""
    low, high = np.float32(config.speed_low), np.float32(config.speed_high)
    least, most = np.float32(config.scale_low), np.float32(config.scale_high)
    share = (speed - np.float64(low)) / np.float64(high - low)
    between = np.float64(least) + np.float64(most - least) * share
    return np.where(speed < low, np.float64(least), np.where(speed > high, np.float64(most), between))


def _mean_ap(buckets: list[_Samples]) -> float:
    """Mean AP over the shapes that occur, 0 without any."""
    values = [_area(s) for s in buckets if s.scores]
    return float(np.mean(values)) if values else 0.0


def _area(samples: _Samples) -> float:
    """Area under the interpolated precision-recall curve; of equal scores the wrong ones come first."""
    score, hit = np.concatenate(samples.scores), np.concatenate(samples.hits)
    hit = hit[np.lexsort((hit, -score))]
    right = np.cumsum(hit).astype(np.float32)
    precision = right / np.arange(1, len(hit) + 1, dtype=np.float32)
    recall = right / np.float32(samples.objects)
    best = np.maximum.accumulate(precision[::-1])[::-1].astype(np.float64)
    return float((np.diff(recall.astype(np.float64), prepend=0.0) * best).sum())
