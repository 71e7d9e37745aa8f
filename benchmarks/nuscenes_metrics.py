"""Our nuScenes detection metric against nuscenes-devkit's: same process, interleaved, no result unless they are equal.

``python benchmarks/nuscenes_metrics.py --samples 6000 --boxes 200`` is the size of the val split with full submissions
(the devkit alone takes minutes there and 3 GB of memory); the default is a tenth of it.

Two parts are timed: ``evaluate`` (filtered boxes in memory to all figures) and ``file`` (the submission's JSON on disk
to all figures: reading, checking, filters, evaluation). Ground truth is in memory for both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from drive.geometry.rigid import quaternion_from_yaw
from drive.scores.curves import TP_ERRORS
from drive.scores.eval_boxes import ATTRIBUTES, NO_ATTRIBUTE, UNKNOWN_POINTS, EvalBoxes, EvalFrames
from drive.scores.nuscenes_detection import DetectionMetrics, NuScenesConfig, evaluate, filter_boxes
from drive.scores.submission import read_submission, write_submission

META = {"use_camera": False, "use_lidar": True, "use_radar": False, "use_map": False, "use_external": False}
SHARES = [0.42, 0.08, 0.02, 0.03, 0.02, 0.20, 0.02, 0.02, 0.08, 0.11]  # of the classes, about as in nuScenes


def split(samples: int, boxes: int, truth: int, seed: int) -> tuple[EvalFrames, EvalBoxes, EvalBoxes]:
    """Frames, ground truth, predictions: of ``boxes`` a sample up to ``truth`` lie near a label, the rest anywhere."""
    rng = np.random.default_rng(seed)
    ego = rng.uniform(-1000, 1000, (samples, 2))
    names = NuScenesConfig().class_names

    def rows(count: int) -> tuple[np.ndarray, np.ndarray]:
        frame = np.repeat(np.arange(samples), count)
        out = np.zeros((len(frame), 9))
        out[:, :2] = ego[frame] + rng.normal(0, 25, (len(frame), 2))
        out[:, 2] = rng.normal(0, 1, len(frame))
        out[:, 3:6] = rng.uniform(0.4, 6, (len(frame), 3))
        out[:, 6] = rng.uniform(-np.pi, np.pi, len(frame))
        out[:, 7:] = rng.normal(0, 4, (len(frame), 2))
        return frame, out

    frame_t, boxes_t = rows(truth)
    label_t = rng.choice(len(names), len(frame_t), p=SHARES)
    frame_p, boxes_p = rows(boxes)
    label_p = rng.choice(len(names), len(frame_p), p=SHARES)
    near = min(truth, boxes)
    for i in range(near):
        boxes_p[i::boxes] = boxes_t[i::truth] + rng.normal(0, 0.4, (samples, 9)) * [1, 1, 1, 0, 0, 0, 1, 1, 1]
        label_p[i::boxes] = label_t[i::truth]

    def pack(frame: np.ndarray, columns: np.ndarray, label: np.ndarray, is_truth: bool) -> EvalBoxes:
        n = len(frame)
        attribute = rng.integers(NO_ATTRIBUTE, len(ATTRIBUTES), n)
        score = np.zeros(n) if is_truth else rng.random(n)
        points = rng.integers(0, 60, n) if is_truth else np.full(n, UNKNOWN_POINTS)
        return EvalBoxes(frame, columns, np.ones(n, bool), label, score, attribute, points)

    frames = EvalFrames.without_racks([f"sample{i:06d}" for i in range(samples)], ego)
    return frames, pack(frame_t, boxes_t, label_t, True), pack(frame_p, boxes_p, label_p, False)


class Tables:
    """The three tables that the devkit's filters ask for."""

    def __init__(self, frames: EvalFrames) -> None:
        self.ego = dict(zip(frames.ids, frames.ego_xy.tolist(), strict=True))

    def get(self, table: str, token: str) -> dict[str, Any]:
        if table == "sample":
            return {"data": {"LIDAR_TOP": token}, "anns": []}
        return {"ego_pose_token": token} if table == "sample_data" else {"translation": [*self.ego[token], 0.0]}


class Devkit:
    """The devkit's own functions, in the order in which its DetectionEval calls them."""

    def __init__(self, frames: EvalFrames, truth: EvalBoxes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from nuscenes.eval.common import loaders
            from nuscenes.eval.common.config import config_factory
            from nuscenes.eval.common.data_classes import EvalBoxes as DevkitBoxes
            from nuscenes.eval.detection.data_classes import DetectionBox
            from nuscenes.eval.detection.evaluate import DetectionEval
        self.loaders, self.box, self.boxes, self.evaluation = loaders, DetectionBox, DevkitBoxes, DetectionEval
        self.config, self.tables = config_factory("detection_cvpr_2019"), Tables(frames)
        names, rotation = NuScenesConfig().class_names, quaternion_from_yaw(truth.boxes[:, 6]).tolist()
        content: dict[str, list[dict[str, Any]]] = {name: [] for name in frames.ids}
        for i, row in enumerate(truth.boxes.tolist()):
            attribute = int(truth.attribute[i])
            token = frames.ids[truth.frame[i]]
            content[token].append(
                {
                    "sample_token": token,
                    "translation": row[:3],
                    "size": [row[4], row[3], row[5]],
                    "rotation": rotation[i],
                    "velocity": row[7:],
                    "detection_name": names[truth.label[i]],
                    "attribute_name": ATTRIBUTES[attribute] if attribute >= 0 else "",
                    "num_pts": int(truth.num_points[i]),
                }
            )
        self.truth = self._filter(self.boxes.deserialize(content, self.box))

    def _filter(self, boxes: Any) -> Any:
        placed = self.loaders.add_center_dist(self.tables, boxes)
        return self.loaders.filter_eval_boxes(self.tables, placed, self.config.class_range)

    def read(self, path: Path) -> Any:
        return self._filter(self.loaders.load_prediction(str(path), 500, self.box)[0])

    def evaluate(self, predictions: Any) -> Any:
        run = self.evaluation.__new__(self.evaluation)
        run.cfg, run.gt_boxes, run.pred_boxes, run.verbose = self.config, self.truth, predictions, False
        return run.evaluate()[0]


def assert_equal(ours: DetectionMetrics, theirs: Any) -> float:
    """Largest difference of any figure; AssertionError beyond 1e-9."""
    pairs = [(ours.nds, theirs.nd_score), (ours.mean_ap, theirs.mean_ap)]
    pairs += zip(ours.mean_tp_errors, [theirs.tp_errors[e] for e in TP_ERRORS], strict=True)
    for k, name in enumerate(ours.config.class_names):
        pairs += [(ours.ap[k, t], theirs.get_label_ap(name, d)) for t, d in enumerate(ours.config.thresholds_m)]
        defined = np.flatnonzero(ours.tp_defined[k])
        pairs += [(ours.tp_errors[k, i], theirs.get_label_tp(name, TP_ERRORS[i])) for i in defined]
    worst = max(abs(a - b) for a, b in pairs)
    assert worst < 1e-9, f"the two programs differ by {worst}"
    return float(worst)


def timed(seconds: dict[str, list[float]], name: str, function: Callable[[], Any]) -> Any:
    """Call, and note the seconds on the clock and on the processor: both programs use one thread, and the second kind
    stays true on a machine that others use too."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    seconds.setdefault(f"{name}.wall", []).append(time.perf_counter() - wall)
    seconds.setdefault(f"{name}.cpu", []).append(time.process_time() - cpu)
    return result


def machine() -> dict[str, Any]:
    """Description of where the figures were taken."""
    model = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        model = next(
            (line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), model
        )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def read_ours(path: Path, frames: EvalFrames, config: NuScenesConfig) -> EvalBoxes:
    """Filtered boxes of the submission."""
    return filter_boxes(read_submission(path, frames.ids, config.class_names).boxes, frames, config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=600)
    parser.add_argument("--boxes", type=int, default=200, help="predictions a sample")
    parser.add_argument("--truth", type=int, default=30, help="labels a sample")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "nuscenes_metrics.json")
    args = parser.parse_args()

    config = NuScenesConfig()
    frames, truth, predictions = split(args.samples, args.boxes, args.truth, args.seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        write_submission(path, predictions, frames.ids, config.class_names, META)
        del predictions
        kept_truth = filter_boxes(truth, frames, config)
        devkit = Devkit(frames, truth)
        seconds: dict[str, list[float]] = {}
        timed(seconds, "compilation", lambda: evaluate(EvalBoxes.empty(), EvalBoxes.empty(), frames, config))
        worst = 0.0
        for _ in range(args.repeats):
            boxes = timed(seconds, "ours.read", lambda: read_ours(path, frames, config))
            ours = timed(seconds, "ours.evaluate", lambda boxes=boxes: evaluate(kept_truth, boxes, frames, config))
            del boxes
            their_boxes = timed(seconds, "devkit.read", lambda: devkit.read(path))
            theirs = timed(seconds, "devkit.evaluate", lambda boxes=their_boxes: devkit.evaluate(boxes))
            del their_boxes
            worst = max(worst, assert_equal(ours, theirs))

    median = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "benchmark": "nuscenes_metrics",
        "samples": args.samples,
        "boxes_a_sample": args.boxes,
        "labels_a_sample": args.truth,
        "seed": args.seed,
        "repeats": args.repeats,
        "largest_difference": worst,
        "NDS": ours.nds,
        "seconds": seconds,
        "median_seconds": median,
        "speedup.evaluate": median["devkit.evaluate.cpu"] / median["ours.evaluate.cpu"],
        "speedup.file": (median["devkit.read.cpu"] + median["devkit.evaluate.cpu"])
        / (median["ours.read.cpu"] + median["ours.evaluate.cpu"]),
        "peak_memory_gib_of_both": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "machine": machine(),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
