"""Hand-made frames of detections, and a tracker run over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from drive.tracks.track import FrameDetections, TrackedFrame

PERIOD_NS = 100_000_000


def seen(
    frame: float,
    boxes: Sequence[tuple[float, ...]],
    labels: Sequence[int] | None = None,
    scores: Sequence[float] | None = None,
    velocities: Sequence[tuple[float, float]] | None = None,
) -> FrameDetections:
    """Detections of frame number ``frame`` at 10 Hz: cars at (x, y), or whole boxes x y z l w h yaw; score 0.9."""
    whole = [tuple(b) if len(b) == 7 else (b[0], b[1], 0.0, 4.0, 2.0, 1.5, 0.0) for b in boxes]
    count = len(boxes)
    velocity = np.array([(0.0, 0.0)] * count if velocities is None else velocities).reshape(count, 2)
    return FrameDetections(
        round((frame + 1) * PERIOD_NS),
        np.concatenate([np.array(whole, dtype=np.float64).reshape(count, 7), velocity], axis=1),
        np.full(count, velocities is not None),
        np.full(count, 0.9) if scores is None else np.array(scores, dtype=np.float64),
        np.zeros(count, np.int64) if labels is None else np.array(labels, np.int64),
        np.zeros((count, 0), np.float32),
    )


def run(tracker: Any, frames: Sequence[FrameDetections]) -> tuple[Any, list[TrackedFrame]]:
    """(last state, what was reported) over the frames of a sequence."""
    state, out = tracker.start(), []
    for frame in frames:
        state, tracked = tracker.step(state, frame)
        out.append(tracked)
    return state, out


def street(frames: int, seed: int = 0, classes: int = 3) -> list[FrameDetections]:
    """Objects of all classes that come, move, hide for some frames and go, with clutter; scores are logits."""
    rng = np.random.default_rng(seed)
    count = 12
    sizes = [(4.0, 2.0, 1.5), (0.8, 0.7, 1.8), (1.8, 0.7, 1.7)]
    labels = np.arange(count) % classes
    place, speed = rng.uniform(-30, 30, (count, 2)), rng.normal(0, 5, (count, 2))
    first, last = rng.integers(0, frames // 2, count), rng.integers(frames // 2, frames + 1, count)
    out = []
    for f in range(frames):
        there = (first <= f) & (f < last) & (rng.random(count) > 0.15)
        at = (place + speed * 0.1 * f + rng.normal(0, 0.05, (count, 2)))[there]
        kinds = [*labels[there], *rng.integers(0, classes, 2)]
        at = np.concatenate([at, rng.uniform(-30, 30, (2, 2))])
        boxes = [(x, y, 0.0, *sizes[k % 3], 0.1) for (x, y), k in zip(at, kinds, strict=True)]
        out.append(seen(f, boxes, kinds, rng.uniform(-1, 5, len(boxes)).tolist()))
    return out
