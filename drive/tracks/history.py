"""What a network is told of a track and of the detections near it. Training and tracking both build it here.

An observation is one detection as a row of numbers; a history is a track's last T of them. Everything is stated
relative to the pose to which the history leads at the present instant (`extrapolate`), so that a track looks the same
wherever it is and however fast it moves. Arrays are numpy, float64 until they are features. The loops are compiled, in
``drive.tracks.history_steps``; the tracker calls them on the rows of its rings, without gathering observations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from drive.geometry.box import VX, VY
from drive.tracks.history_steps import (
    COLUMNS,
    MEASURED,
    VELOCITY_VALID,
    described,
    extrapolated,
    log_sizes,
    nearest,
    observed,
    traits,
)
from drive.tracks.inputs import usable
from drive.tracks.track import FrameDetections


@dataclass(frozen=True)
class HistoryConfig:
    """How histories are kept and described.

    Attributes:
        length: Observations kept of a track, T: 10 at 10 Hz, 6 at 2 Hz [inferred].
        candidates: Detections that a track looks at, at most, the nearest: 16 [inferred].
        gate_m: By class: how far from the track's predicted place they may lie; vehicles 8, pedestrians 3, cyclists 5
            [inferred].
        fit_s: Fall-off of an observation's weight with its age, where a velocity is fitted to the history.
        fit_prior_s2: Pull of the fit towards the detector's velocity (0 without): (error of a position / spread of
            velocities)^2.
        horizon_s: A pose is moved ahead by at most this time: 1 [inferred].
        appearance: Channels of the detector's features; 0 = none.
        scores: Whether the detector gives logits or probabilities.
        min_score: Detections below are not looked at.
    """

    length: int = 10
    candidates: int = 16
    gate_m: tuple[float, ...] = (8.0, 3.0, 5.0)
    fit_s: float = 0.5
    fit_prior_s2: float = 3e-4
    horizon_s: float = 1.0
    appearance: int = 0
    scores: Literal["logit", "probability"] = "probability"
    min_score: float = float("-inf")

    @property
    def channels(self) -> int:
        """Features of an observation."""
        return MEASURED + len(self.gate_m) + self.appearance

    @property
    def fit(self) -> tuple[float, float, float]:
        """What ``history_steps.extrapolated`` asks for."""
        return self.fit_s, self.fit_prior_s2, self.horizon_s

    @property
    def gates(self) -> np.ndarray:
        """``gate_m`` float64 [K]."""
        return np.array(self.gate_m, dtype=np.float64)


def sound(frame: FrameDetections, classes: int, config: HistoryConfig) -> np.ndarray:
    """bool [N]: detections that can be used (``inputs.usable``) and are not below the least score."""
    fine = usable(frame, classes)
    return fine if config.min_score == -np.inf else fine & (frame.scores >= config.min_score)


def observe(frames: list[FrameDetections], config: HistoryConfig) -> np.ndarray:
    """The detections of some frames, one after the other, as observations float64 [N, 17]. All must be sound."""
    if not frames:
        return np.zeros((0, COLUMNS))
    columns = [(f.boxes, f.velocity_valid, f.scores.astype(np.float64, copy=False), f.labels) for f in frames]
    joined = columns[0] if len(frames) == 1 else [np.concatenate(c) for c in zip(*columns, strict=True)]
    boxes, velocity_valid, scores, labels = joined
    offsets = np.array([0, *(len(frame) for frame in frames)], dtype=np.int64).cumsum()
    egos = np.array([frame.ego for frame in frames], dtype=np.float64)
    return observed(boxes, velocity_valid, scores, labels, egos, offsets, config.scores == "probability")


def extrapolate(values: np.ndarray, times: np.ndarray, valid: np.ndarray, config: HistoryConfig) -> np.ndarray:
    """Where histories lead: boxes float64 [N, 9] at the present instant, with the velocity that they were moved by.

    A straight line is fitted to the positions, recent ones counting more; the last box moves along it. With one
    observation the velocity is the detector's, or 0.

    Args:
        values: [N, T, 17] observations, the newest first; times: [N, T] seconds from the present, <= 0;
        valid: bool [N, T], the first of each row True.
    """
    return extrapolated(_table(values), np.where(valid, _rows(*valid.shape), -1), times, *config.fit)


def nearby(
    anchors: np.ndarray,
    anchor_labels: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    config: HistoryConfig,
    row_offsets: np.ndarray | None = None,
    column_offsets: np.ndarray | None = None,
) -> np.ndarray:
    """The detections that each track looks at, nearest first: rows int64 [N, K], -1 where there are no more.

    K is the largest number that any track has, at most ``config.candidates``. Offsets int64 [B + 1] say which rows and
    which columns belong together (a frame); without them all do.
    """
    rows = np.array([0, len(anchors)]) if row_offsets is None else row_offsets
    columns = np.array([0, len(boxes)]) if column_offsets is None else column_offsets
    return nearest(anchors, anchor_labels, config.gates, boxes, labels, config.candidates, rows, columns)


def describe(
    values: np.ndarray,
    times: np.ndarray,
    anchors: np.ndarray,
    last: np.ndarray,
    counts: np.ndarray,
    labels: np.ndarray,
    appearance: np.ndarray,
    config: HistoryConfig,
) -> np.ndarray:
    """Features float32 [N, M, F] of observations as seen from tracks.

    Args:
        values: [N, M, 17]; times: [N, M] seconds from the present.
        anchors: [N, 9] of ``extrapolate``; last: [N, 17], the newest observation of each track.
        counts: [N] observations of each track's history, labels: int64 [N].
        appearance: float32 [N, M, C].
    """
    table, classes = _table(values), len(config.gate_m)
    looks = np.ascontiguousarray(appearance, dtype=np.float32).reshape(len(table), config.appearance)
    track = anchors, log_sizes(np.ascontiguousarray(last)), counts / config.length, labels
    return described(table, traits(table), looks, _rows(*times.shape), times, *track, classes)


def describe_alone(
    seen: np.ndarray, own: np.ndarray, labels: np.ndarray, looks: np.ndarray, config: HistoryConfig
) -> np.ndarray:
    """Features float32 [D, F] of detections as seen from themselves; own: their ``traits``."""
    poses = seen[:, :9].copy()
    poses[:, VX : VY + 1] *= seen[:, VELOCITY_VALID, None] > 0
    here = np.zeros((len(seen), 1))
    track = poses, own[:, :3], here[:, 0], labels
    return described(seen, own, looks, _rows(len(seen), 1), here, *track, len(config.gate_m))[:, 0]


def _table(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).reshape(-1, COLUMNS)


def _rows(n: int, m: int) -> np.ndarray:
    return np.arange(n * m).reshape(n, m)
