"""Our Waymo detection metric against the official operator: the same frames, no result unless the figures are equal.

The operator runs in its own environment and process (``make official`` builds it), each side takes its own times, the
machine is the same. ``--share-vehicles 1`` is the row of the specification (vehicles only); the default mixes the types
as a detector does. Seconds of the processor count: the operator spreads over all cores, ours keeps to one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from nuscenes_metrics import machine

from drive.scores.waymo_boxes import WaymoBoxes
from drive.scores.waymo_detection import WaymoDetectionMetrics, evaluate

REPO = Path(__file__).resolve().parent.parent
SIZES = np.array([[4.6, 2.0, 1.7], [0.9, 0.8, 1.75], [0.3, 0.9, 0.9], [1.8, 0.8, 1.7]])  # of types 1..4


def frames(count: int, boxes: int, truth: int, vehicles: float, seed: int) -> dict[str, np.ndarray]:
    """Frames in the operator's tensors: three quarters of the predictions lie near labels, several to each, as before
    a suppression of doubles; the rest anywhere within 75 m."""
    rng = np.random.default_rng(seed)
    share = np.array([vehicles, *((1 - vehicles) * np.array([0.65, 0.0, 0.35]))])

    def rows(number: int) -> tuple[np.ndarray, np.ndarray]:
        kind = rng.choice([1, 2, 3, 4], count * number, p=share)
        out = np.zeros((len(kind), 7))
        out[:, :2] = rng.uniform(-75, 75, (len(kind), 2))
        out[:, 3:6] = SIZES[kind - 1] * rng.uniform(0.8, 1.3, (len(kind), 3))
        out[:, 6] = rng.uniform(-np.pi, np.pi, len(kind))
        return out, kind

    (label, label_kind), (found, found_kind) = rows(truth), rows(boxes)
    score = rng.beta(0.6, 2.0, count * boxes)
    near = rng.random(count * boxes) < 0.75
    of = (np.arange(count * boxes) // boxes * truth + rng.integers(0, truth, count * boxes))[near]
    found_kind[near] = label_kind[of]
    noise = rng.normal(0, 1, (len(of), 7)) * [0.12, 0.12, 0.08, 0, 0, 0, 0.1]
    found[near] = label[of] + noise * np.concatenate([SIZES[label_kind[of] - 1], np.ones((len(of), 4))], axis=1)
    score[near] = rng.beta(1.5, 1.2, len(of))
    return {
        "prediction_bbox": found.astype(np.float32),
        "prediction_type": found_kind.astype(np.uint8),
        "prediction_score": score.astype(np.float32),
        "prediction_frame_id": np.repeat(np.arange(count), boxes),
        "prediction_overlap_nlz": np.zeros(count * boxes, bool),
        "ground_truth_bbox": label.astype(np.float32),
        "ground_truth_type": label_kind.astype(np.uint8),
        "ground_truth_frame_id": np.repeat(np.arange(count), truth),
        "ground_truth_difficulty": rng.choice([1, 2], count * truth, p=[0.7, 0.3]).astype(np.uint8),
    }


def run_ours(scene: dict[str, np.ndarray]) -> WaymoDetectionMetrics:
    """From the operator's arrays to all figures."""
    labels = WaymoBoxes.labels(
        scene["ground_truth_frame_id"],
        scene["ground_truth_bbox"],
        scene["ground_truth_type"],
        scene["ground_truth_difficulty"],
    )
    found = WaymoBoxes.predictions(
        scene["prediction_frame_id"],
        scene["prediction_bbox"],
        scene["prediction_type"],
        scene["prediction_score"],
        scene["prediction_overlap_nlz"],
    )
    return evaluate(labels, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--boxes", type=int, default=250, help="predictions a frame")
    parser.add_argument("--truth", type=int, default=40, help="labels a frame")
    parser.add_argument("--share-vehicles", type=float, default=0.6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--official", type=Path, default=REPO / ".official" / "bin" / "python")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "waymo_metrics.json")
    args = parser.parse_args()
    if not args.official.exists():
        raise SystemExit(f"error: {args.official} is not there; make official builds it")

    scene = frames(args.frames, args.boxes, args.truth, args.share_vehicles, args.seed)
    run_ours(frames(1, 5, 5, 1.0, 0))  # compilation
    ours: dict[str, list[float]] = {"wall": [], "cpu": []}
    for _ in range(5 * args.repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        metrics = run_ours(scene)
        ours["wall"].append(time.perf_counter() - wall)
        ours["cpu"].append(time.process_time() - cpu)
    with tempfile.TemporaryDirectory() as folder:
        source, answer = Path(folder) / "scene.npz", Path(folder) / "answer.json"
        np.savez(source, **scene)
        script = REPO / "tests" / "official" / "waymo_times.py"
        subprocess.run([args.official, script, source, answer, str(args.repeats)], check=True)
        theirs = json.loads(answer.read_text())
    worst = max(np.abs(metrics.ap - theirs["ap"]).max(), np.abs(metrics.aph - theirs["aph"]).max())
    assert worst < 1e-5, f"the two programs differ by {worst}"

    median = {f"ours.{k}": statistics.median(v) for k, v in ours.items()}
    median |= {f"official.{k}": statistics.median(v) for k, v in theirs["seconds"].items()}
    result = {
        "benchmark": "waymo_metrics",
        "frames": args.frames,
        "boxes_a_frame": args.boxes,
        "labels_a_frame": args.truth,
        "share_vehicles": args.share_vehicles,
        "seed": args.seed,
        "repeats": args.repeats,
        "largest_difference": float(worst),
        "mAPH_L2": float(np.mean([metrics.of(f"OBJECT_TYPE_TYPE_{n}_LEVEL_2")[1] for n in ("VEHICLE", "PEDESTRIAN")])),
        "seconds": {"ours": ours, "official": theirs["seconds"]},
        "median_seconds": median,
        "ms_a_frame.ours": 1e3 * median["ours.cpu"] / args.frames,
        "ms_a_frame.official": 1e3 * median["official.cpu"] / args.frames,
        "speedup.cpu": median["official.cpu"] / median["ours.cpu"],
        "speedup.wall": median["official.wall"] / median["ours.wall"],
        "machine": machine(),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({name: value for name, value in result.items() if name != "seconds"}, indent=2))


if __name__ == "__main__":
    main()
