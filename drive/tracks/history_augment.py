"""Training histories made worse on purpose, as real ones are: gaps, noise, a neighbour's detection, a short past."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drive.geometry.box import HEIGHT, LENGTH, VX, VY, YAW, Y
from drive.tracks.history_samples import Histories
from drive.tracks.history_steps import EGO_X, EGO_YAW, SCORE, VELOCITY_VALID


@dataclass(frozen=True)
class HistoryAugment:
    """Spec 2.1; all [inferred].

    Attributes:
        drop: Range of the share of observations that are dropped, drawn for each track: 0.1 to 0.3.
        swap: Share of observations that a neighbour's detection replaces: 0.05.
        truncate: Share of tracks of which only a random number of observations is kept, at least one.
        hide: Share of tracks whose detection in the present frame is hidden, so that they must go on without.
        place_m, size, yaw_rad, speed_mps, score: Standard deviations of the noise on every observation: metres, log
            size, radians, metres a second on measured velocities, logits / 4.
        mirror: Share of samples that are mirrored to the other side of the ego's way.
    """

    drop: tuple[float, float] = (0.1, 0.3)
    swap: float = 0.05
    truncate: float = 0.3
    hide: float = 0.05
    place_m: float = 0.05
    size: float = 0.02
    yaw_rad: float = 0.02
    speed_mps: float = 0.1
    score: float = 0.05
    mirror: float = 0.5


NO_HISTORY_AUGMENT = HistoryAugment((0.0, 0.0), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def worsen(
    rows: np.ndarray,
    valid: np.ndarray,
    histories: Histories,
    near_m: np.ndarray,
    config: HistoryAugment,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Histories with gaps, foreign detections and short memories.

    Args:
        rows: int64 [S, T] rows of detections, newest first; valid: bool [S, T], the first of each row True.
        near_m: [D], how far off a neighbour may be whose detection is taken for a track's.
    Returns:
        The same shapes, valid ones first.
    """
    s, t = rows.shape
    drop = rng.uniform(*config.drop, size=(s, 1))
    kept = valid & (rng.random((s, t)) >= drop)
    longest = np.where(rng.random(s) < config.truncate, rng.integers(1, t + 1, s), t)
    kept &= np.cumsum(kept, axis=1) <= longest[:, None]
    kept[:, 0] |= ~kept.any(axis=1)
    order = np.argsort(~kept, axis=1, kind="stable")
    rows, valid = np.take_along_axis(rows, order, axis=1), np.take_along_axis(kept, order, axis=1)

    frame = histories.frames[rows]
    first, last = histories.offsets[frame], histories.offsets[frame + 1]
    other = first + (rng.random((s, t)) * (last - first)).astype(np.int64)
    apart = np.hypot(*(histories.values[other, :2] - histories.values[rows, :2]).transpose(2, 0, 1))
    fits = (other != rows) & (histories.labels[other] == histories.labels[rows]) & (apart <= 2 * near_m[rows])
    swapped = valid & fits & (rng.random((s, t)) < config.swap * (last - first))  # most of those drawn do not fit
    return np.where(swapped, other, rows), valid


def noisy(values: np.ndarray, config: HistoryAugment, rng: np.random.Generator) -> np.ndarray:
    """Observations [..., 17] with noise on box, velocity and score."""
    out, shape = values.copy(), values.shape[:-1]
    out[..., :3] += config.place_m * rng.standard_normal((*shape, 3))
    out[..., LENGTH : HEIGHT + 1] *= np.exp(config.size * rng.standard_normal((*shape, 3)))
    out[..., YAW] += config.yaw_rad * rng.standard_normal(shape)
    measured = values[..., VELOCITY_VALID, None]
    out[..., VX : VY + 1] += config.speed_mps * measured * rng.standard_normal((*shape, 2))
    out[..., SCORE] += config.score * rng.standard_normal(shape)
    return out


def mirrored_observations(values: np.ndarray) -> np.ndarray:
    """Observations [..., 17] with y turned to -y in the fixed frame; the ego is mirrored with them."""
    out = values.copy()
    out[..., [Y, YAW, VY, EGO_X + 1, EGO_YAW]] *= -1.0
    return out


def mirrored_boxes(boxes: np.ndarray) -> np.ndarray:
    """Boxes [..., 9], likewise."""
    out = boxes.copy()
    out[..., [Y, YAW, VY]] *= -1.0
    return out
