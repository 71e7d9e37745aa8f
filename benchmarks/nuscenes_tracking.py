"""Our nuScenes tracking metric against nuscenes-devkit's: same process, interleaved, no result unless they are equal.

One class (car), 40 thresholds, from filtered tracks in memory to all figures. The devkit needs about 3 s a scene: the
default is 4 scenes for both, and ours alone on the val split's 150 (``--scenes`` and ``--alone``).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.nuscenes_metrics import machine
from drive.scores.eval_boxes import EvalBoxes, EvalFrames
from drive.scores.nuscenes_tracking import CURVES, TrackingConfig, TrackingMetrics, evaluate_tracking
from drive.scores.nuscenes_tracking_boxes import TrackedBoxes, TrackFrames

CAR = TrackingConfig().class_names.index("car")
FRAMES = 40


def split(scenes: int, seed: int) -> tuple[TrackFrames, TrackedBoxes, TrackedBoxes]:
    """Scenes of 40 frames with 10 cars a frame as in val, and 25 predicted boxes a frame that follow them badly."""
    rng = np.random.default_rng(seed)
    ids = [f"s{s}f{f}" for s in range(scenes) for f in range(FRAMES)]
    log = np.repeat(np.arange(scenes), FRAMES)
    times = log * 10**9 + np.tile(np.arange(FRAMES), scenes) * 500_000
    frames = TrackFrames(EvalFrames.without_racks(ids, np.zeros((len(ids), 2))), times, log)

    truth: list[tuple[float, ...]] = []
    found: list[tuple[float, ...]] = []
    for s in range(scenes):
        for o in range(20):
            number = s * 1000 + o
            start, speed = rng.uniform(-45, 45, 2), rng.normal(0, 3, 2)
            first = int(rng.integers(0, FRAMES - 8))
            last = min(FRAMES - 1, first + int(rng.integers(8, 34)))
            score, track = rng.random(), number
            for f in range(first, last + 1):
                centre = start + speed * f * 0.5
                truth.append((s * FRAMES + f, number, *centre, 0.0))
                if rng.random() < 0.04:
                    track += 100
                if rng.random() < 0.85:
                    place = centre + rng.normal(0, 0.5, 2)
                    found.append((s * FRAMES + f, track, *place, np.clip(score + rng.normal(0, 0.1), 0, 1)))
        for g in range(60):  # ghosts
            start, first = rng.uniform(-50, 50, 2), int(rng.integers(0, FRAMES - 5))
            for f in range(first, min(FRAMES, first + int(rng.integers(1, 20)))):
                place = start + rng.normal(0, 0.3, 2)
                found.append((s * FRAMES + f, 10**6 * (s + 1) + g, *place, rng.random() * 0.6))
    return frames, pack(truth), pack(found)


def pack(rows: list[tuple[float, ...]]) -> TrackedBoxes:
    """Rows (frame, track, x, y, score) as boxes, by frame."""
    table = np.array(sorted(rows, key=lambda row: row[0]))
    n = len(table)
    boxes = np.zeros((n, 9))
    boxes[:, :2], boxes[:, 3:6] = table[:, 2:4], [4.5, 1.9, 1.6]
    none = np.full(n, -1, np.int64)
    label = np.full(n, CAR, np.int64)
    eval_boxes = EvalBoxes(table[:, 0].astype(np.int64), boxes, np.ones(n, bool), label, table[:, 4].copy(), none, none)
    return TrackedBoxes(eval_boxes, table[:, 1].astype(np.int64))


class Devkit:
    """Tables' stand-in, and the devkit's own functions on the same boxes."""

    def __init__(self, frames: TrackFrames) -> None:
        self.frames = frames
        self.row = {name: i for i, name in enumerate(frames.frames.ids)}

    def get(self, table: str, token: str) -> dict[str, Any]:
        """A record of sample or scene, as create_tracks asks for it."""
        if table == "scene":
            rows = np.flatnonzero(self.frames.log == int(token))
            ids = self.frames.frames.ids
            return {"name": token, "first_sample_token": ids[rows[0]], "last_sample_token": ids[rows[-1]]}
        row = self.row[token]
        after = self.frames.frames.ids[row + 1] if row + 1 < len(self.row) else ""
        return {
            "scene_token": str(self.frames.log[row]), "timestamp": int(self.frames.timestamp_us[row]), "next": after,
        }  # fmt: skip

    def boxes(self, tracked: TrackedBoxes, truth: bool) -> Any:
        from nuscenes.eval.common.data_classes import EvalBoxes as DevkitBoxes
        from nuscenes.eval.tracking.data_classes import TrackingBox

        content: dict[str, list[dict[str, Any]]] = {name: [] for name in self.frames.frames.ids}
        b = tracked.boxes
        for frame, track, row, score in zip(b.frame.tolist(), tracked.track.tolist(), b.boxes, b.score, strict=True):
            name = self.frames.frames.ids[frame]
            content[name].append(
                {
                    "sample_token": name, "translation": row[:3].tolist(), "size": [1.9, 4.5, 1.6],
                    "rotation": [1.0, 0, 0, 0], "velocity": [0.0, 0.0], "tracking_id": str(track),
                    "tracking_name": "car", "tracking_score": -1.0 if truth else float(score),
                }
            )  # fmt: skip
        return DevkitBoxes.deserialize(content, TrackingBox)

    def evaluate(self, truth: TrackedBoxes, predictions: TrackedBoxes) -> tuple[Any, float, float]:
        """(curves of cars, seconds on the clock, seconds on the processor), boxes made beforehand."""
        from unittest import mock

        from nuscenes.eval.common.config import config_factory
        from nuscenes.eval.tracking import loaders
        from nuscenes.eval.tracking.algo import TrackingEvaluation
        from nuscenes.eval.tracking.data_classes import TrackingMetricData

        config = config_factory("tracking_nips_2019")
        both = self.boxes(truth, True), self.boxes(predictions, False)
        wall, cpu = time.perf_counter(), time.process_time()
        names = sorted({str(number) for number in self.frames.log})
        with mock.patch.object(loaders, "get_scenes_of_split", return_value=names):
            tracks = [loaders.create_tracks(boxes, self, "any", gt=i == 0) for i, boxes in enumerate(both)]
        run = TrackingEvaluation(
            tracks[0], tracks[1], "car", config.dist_fcn_callable, config.dist_th_tp, config.min_recall,
            TrackingMetricData.nelem, config.metric_worst, verbose=False,
        )  # fmt: skip
        return run.accumulate(), time.perf_counter() - wall, time.process_time() - cpu


def largest_difference(ours: TrackingMetrics, theirs: Any) -> float:
    """Over all curves of cars; AssertionError beyond 1e-9."""
    worst = 0.0
    for name in CURVES:
        a, b = ours.curves[name][CAR], getattr(theirs, name)
        assert np.array_equal(np.isnan(a), np.isnan(b)), name
        worst = max(worst, float(np.nanmax(np.abs(a - b), initial=0.0)))
    assert worst < 1e-9, f"the two programs differ by {worst}"
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--alone", type=int, default=150, help="scenes for ours alone")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where the JSON goes; default: printed only")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    frames, truth, predictions = split(args.scenes, 0)
    devkit = Devkit(frames)
    evaluate_tracking(truth, predictions, frames)  # compilation
    seconds: dict[str, list[float]] = {"ours.wall": [], "ours.cpu": [], "devkit.wall": [], "devkit.cpu": []}
    worst = 0.0
    for _ in range(args.repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        ours = evaluate_tracking(truth, predictions, frames)
        seconds["ours.wall"].append(time.perf_counter() - wall)
        seconds["ours.cpu"].append(time.process_time() - cpu)
        theirs, wall, cpu = devkit.evaluate(truth, predictions)
        seconds["devkit.wall"].append(wall)
        seconds["devkit.cpu"].append(cpu)
        worst = max(worst, largest_difference(ours, theirs))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    large = split(args.alone, 1)
    wall, cpu = time.perf_counter(), time.process_time()
    evaluate_tracking(large[1], large[2], large[0])
    result = {
        "benchmark": "nuscenes_tracking",
        "scenes": args.scenes,
        "labels": len(truth),
        "predictions": len(predictions),
        "thresholds": ours.config.num_thresholds,
        "AMOTA": ours.overall("amota"),
        "largest_difference": worst,
        "seconds": seconds,
        "median_seconds": median,
        "speedup.cpu": median["devkit.cpu"] / median["ours.cpu"],
        "speedup.wall": median["devkit.wall"] / median["ours.wall"],
        "alone": {
            "scenes": args.alone,
            "labels": len(large[1]),
            "predictions": len(large[2]),
            "seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
        },
        "load": os.getloadavg()[0],
        "machine": machine(),
    }
    print(json.dumps(result, indent=2))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
