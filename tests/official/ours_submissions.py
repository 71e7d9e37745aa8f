"""Our side of compare_submissions.py: write the three kinds of files and, as .npz, what stands in them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from data_tools.submit import (
    DETECTION_3D,
    TRACKING_3D,
    Method,
    MotionPrediction,
    SubmittedBoxes,
    write_waymo_boxes,
    write_waymo_motion,
)


def main(folder: Path) -> None:
    rng = np.random.default_rng(0)
    n = 500
    boxes = SubmittedBoxes(
        context=[f"segment-{i % 7}" for i in range(n)],
        timestamp_us=1_500_000_000_000_000 + np.arange(n) // 50 * 100_000,
        boxes=rng.uniform(0.1, 60.0, (n, 7)),
        label=rng.integers(1, 5, n),
        score=rng.random(n),
        track=[f"track-{i}" for i in range(n)],
        velocity=rng.normal(0, 5, (n, 2)),
        overlaps_nlz=rng.random(n) < 0.1,
    )
    method = Method("me@example.org", "ours", ("A", "B"), "somewhere", "words", "https://example.org")
    write_waymo_boxes(folder / "detection.bin", boxes, DETECTION_3D, method, past_frames=3, latency_s=0.1)
    write_waymo_boxes(folder / "tracking.bin", boxes, TRACKING_3D, method)
    write_waymo_boxes(folder / "objects.bin", boxes)
    motion = [
        MotionPrediction(f"scenario-{i // 4}", i, rng.normal(0, 100, (1 + i % 6, 16, 2)), rng.random(1 + i % 6))
        for i in range(40)
    ]
    write_waymo_motion(folder / "motion.bin", motion, method, uses_lidar=True)
    np.savez(
        folder / "expected.npz",
        timestamp=boxes.timestamp_us, boxes=boxes.boxes, label=boxes.label, score=boxes.score,
        velocity=boxes.velocity, nlz=boxes.overlaps_nlz,
        trajectories=np.concatenate([p.trajectories for p in motion]),
        confidence=np.concatenate([p.confidence for p in motion]),
        modes=np.array([len(p.confidence) for p in motion]),
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
