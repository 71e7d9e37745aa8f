"""What a network is told of a track and of the detections near it. Training and tracking both build it here.

An observation is one detection as a row of numbers; a history is a track's last T of them. Everything is stated
relative to the pose to which the history leads at the present instant (`extrapolate`), so that a track looks the same
wherever it is and however fast it moves. Arrays are numpy, float64 until they are features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from drive.geometry.box import HEIGHT, LENGTH, VX, VY, YAW
from drive.tracks.inputs import measured_velocity, usable
from drive.tracks.track import FrameDetections
from ops.assignment import candidates

COLUMNS = 17
"""Of an observation: BOX_COLUMNS 0-8, velocity valid 9, score 10, ego x y z yaw 11-14, rival 15-16."""
VELOCITY_VALID, SCORE, EGO_X, EGO_YAW, RIVAL = 9, 10, 11, 14, 15
MEASURED = 25
"""Features of an observation without its class and its appearance."""
_RIVAL_M = 4.0
_BOUND = 20.0


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


def sound(frame: FrameDetections, classes: int, config: HistoryConfig) -> np.ndarray:
    """bool [N]: detections that can be used (``inputs.usable``) and are not below the least score."""
    with np.errstate(invalid="ignore"):
        return usable(frame, classes) & (frame.scores >= config.min_score)


def observe(frames: list[FrameDetections], config: HistoryConfig) -> np.ndarray:
    """The detections of some frames, one after the other, as observations float64 [N, 17]. All must be sound."""
    if not frames:
        return np.zeros((0, COLUMNS))
    counts = np.array([len(frame) for frame in frames])
    out = np.zeros((int(counts.sum()), COLUMNS))
    out[:, :9] = np.concatenate([frame.boxes for frame in frames])
    measured = np.concatenate([measured_velocity(frame) for frame in frames])
    out[~measured, VX : VY + 1] = 0.0
    out[:, VELOCITY_VALID] = measured
    scores = np.concatenate([frame.scores for frame in frames]).astype(np.float64)
    if config.scores == "probability":
        kept = scores.clip(1e-3, 1 - 1e-3)
        scores = np.log(kept / (1 - kept))
    out[:, SCORE] = scores / 4.0
    out[:, EGO_X : EGO_YAW + 1] = np.repeat(np.stack([frame.ego for frame in frames]), counts, axis=0)
    labels = np.concatenate([frame.labels for frame in frames])
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    out[:, RIVAL : RIVAL + 2] = _rivals(out, labels, offsets)
    return out


def _rivals(values: np.ndarray, labels: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Of each detection: distance to the nearest surer one of its class (1 = 4 m or more), and how much surer."""
    xy, bounds = torch.from_numpy(np.ascontiguousarray(values[:, :2])), torch.from_numpy(offsets)
    pairs = candidates(xy, xy, _RIVAL_M, row_offsets=bounds, column_offsets=bounds)
    row, column, distance = pairs.rows().numpy(), pairs.column.numpy(), pairs.cost.numpy()
    score = values[:, SCORE]
    surer = (labels[row] == labels[column]) & (score[column] > score[row])
    row, column, distance = row[surer], column[surer], distance[surer]
    order = np.lexsort((distance, row))
    row, column, distance = row[order], column[order], distance[order]
    first = np.concatenate([[True], row[1:] != row[:-1]])[: len(row)]
    out = np.tile([1.0, 0.0], (len(values), 1))
    out[row[first], 0] = distance[first] / _RIVAL_M
    out[row[first], 1] = score[column[first]] - score[row[first]]
    return out


def extrapolate(values: np.ndarray, times: np.ndarray, valid: np.ndarray, config: HistoryConfig) -> np.ndarray:
    """Where histories lead: boxes float64 [N, 9] at the present instant, with the velocity that they were moved by.

    A straight line is fitted to the positions, recent ones counting more; the last box moves along it. With one
    observation the velocity is the detector's, or 0.

    Args:
        values: [N, T, 17] observations, the newest first; times: [N, T] seconds from the present, <= 0;
        valid: bool [N, T], the first of each row True.
    """
    last = values[:, 0]
    weight = np.where(valid, np.exp((times - times[:, :1]) / config.fit_s), 0.0)
    weight /= weight.sum(axis=1, keepdims=True).clip(1e-12)
    age = times - (weight * times).sum(axis=1, keepdims=True)
    place = values[..., :2]
    offset = place - (weight[..., None] * place).sum(axis=1, keepdims=True)
    prior = last[:, VX : VY + 1] * last[:, VELOCITY_VALID, None]
    spread = (weight * age**2).sum(axis=1)
    error = (weight[..., None] * age[..., None] * (offset - prior[:, None] * age[..., None])).sum(axis=1)
    velocity = prior + error / (spread + config.fit_prior_s2)[:, None]
    out = last[:, :9].copy()
    out[:, :2] += velocity * np.minimum(-times[:, :1], config.horizon_s)
    out[:, VX : VY + 1] = velocity
    return out


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

    K is the largest number that any track has, at most ``config.candidates``. Offsets as in ``ops.assignment``.
    """
    rows = torch.from_numpy(np.ascontiguousarray(anchors[:, :2]))
    columns = torch.from_numpy(np.ascontiguousarray(boxes[:, :2]))
    gate = torch.from_numpy(np.asarray(config.gate_m, dtype=np.float64)[anchor_labels])
    bounds = [None if o is None else torch.from_numpy(o) for o in (row_offsets, column_offsets)]
    pairs = candidates(rows, columns, gate, row_offsets=bounds[0], column_offsets=bounds[1])
    row, column, distance = pairs.rows().numpy(), pairs.column.numpy(), pairs.cost.numpy()
    same = anchor_labels[row] == labels[column]
    row, column, distance = row[same], column[same], distance[same]
    order = np.lexsort((distance, row))
    row, column = row[order], column[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    kept = rank < config.candidates
    row, column, rank = row[kept], column[kept], rank[kept]
    out = np.full((len(anchors), int(rank.max(initial=-1)) + 1), -1, dtype=np.int64)
    out[row, rank] = column
    return out


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
    n, m = times.shape
    out = np.zeros((n, m, config.channels), dtype=np.float32)
    cos, sin = np.cos(anchors[:, None, YAW]), np.sin(anchors[:, None, YAW])
    moved = values[..., :2] - anchors[:, None, :2] - anchors[:, None, VX : VY + 1] * times[..., None]
    speed = anchors[:, None, VX : VY + 1]
    relative = values[..., VX : VY + 1] - speed
    measured = values[..., VELOCITY_VALID]
    size = np.log(values[..., LENGTH : HEIGHT + 1].clip(1e-3))
    seen = values[..., :2] - values[..., EGO_X : EGO_X + 2]
    bearing = np.arctan2(seen[..., 1], seen[..., 0])
    turn = values[..., YAW] - anchors[:, None, YAW]
    columns = (
        np.arcsinh(_turned(moved, cos, sin) / 0.5),
        np.arcsinh((values[..., 2:3] - anchors[:, None, 2:3]) / 0.5),
        np.broadcast_to(_turned(speed, cos, sin) / 10, (n, m, 2)),
        size,
        5 * (size - np.log(last[:, None, LENGTH : HEIGHT + 1].clip(1e-3))),
        np.stack([np.sin(turn), np.cos(turn)], axis=-1),
        np.arcsinh(_turned(relative, cos, sin) / 2) * measured[..., None],
        np.stack([measured, values[..., SCORE], np.hypot(seen[..., 0], seen[..., 1]) / 40], axis=-1),
        _angle(bearing - values[..., EGO_YAW]),
        _angle(values[..., YAW] - bearing),
        values[..., RIVAL : RIVAL + 2],
        np.broadcast_to((counts / config.length)[:, None, None], (n, m, 1)),
    )
    out[..., :MEASURED] = np.concatenate(columns, axis=-1).clip(-_BOUND, _BOUND)
    out[np.arange(n), :, MEASURED + labels] = 1.0
    if config.appearance:
        out[..., MEASURED + len(config.gate_m) :] = np.nan_to_num(appearance).clip(-_BOUND, _BOUND)
    return out


def describe_alone(seen: np.ndarray, labels: np.ndarray, looks: np.ndarray, config: HistoryConfig) -> np.ndarray:
    """Features float32 [D, F] of detections as seen from themselves."""
    measured = seen[:, VELOCITY_VALID, None] > 0
    own = np.concatenate([seen[:, :VX], np.where(measured, seen[:, VX : VY + 1], 0.0)], axis=1)
    here = np.zeros((len(seen), 1))
    return describe(seen[:, None], here, own, seen, here[:, 0], labels, looks[:, None], config)[:, 0]


def _turned(vectors: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """Vectors [..., 2] of the fixed frame in a frame that is turned by the angle."""
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack([cos * x + sin * y, cos * y - sin * x], axis=-1)


def _angle(angle: np.ndarray) -> np.ndarray:
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1)
