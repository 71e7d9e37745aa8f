"""Does radar help? A detector on the town's lidar, on lidar and radar, and on radar alone, trained alike.

``python -m benchmarks.town_radar --logs runs/demo-full/logs`` trains each arm for the same number of steps with the
same seeds (from a trained lidar detector with ``--init``), detects on the held-out town and writes
``results/town_radar.json``: nuScenes' AP and velocity errors (of true positives at 2 m, averaged over recall), and the
error on what moves. Every arm of every seed is kept under ``--work``: killed, the same command goes on, in a training
too; started twice (``OMP_NUM_THREADS=1`` each), two processes share the work.

The arms differ in ``data.radars`` and ``model.encoder.radar`` alone, all with ``configs.town_radar``'s weight of the
velocity's loss; ``lidar3`` reads three lidar sweeps in place of one, from which velocities can be seen as well. Error
of what moves: each labelled box faster than 0.5 m/s that a box of its class with a score of at least 0.1 lies within
2 m of, the surest of them; also the same error of boxes that said "it stands".
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F

from benchmarks.study import machine, run, run_stages, write
from configs.town_radar import RADARS, VELOCITY_WEIGHT
from configs.town_swformer import CLASSES
from drive.boxes.detector import PillarsConfig, SWFormerConfig
from drive.experiment import Experiment
from drive.features.point_encoder import NUM_RADAR_FEATURES
from drive.recipes import load_recipe
from drive.runs import detect_run
from drive.samples.config import DataConfig
from drive.samples.frame_dataset import FrameDataset, find_logs
from drive.samples.inside import points_in_boxes
from drive.scores.report import Report, score_run
from drive.train.loop import train
from drive.train.weights import read_weights, save_weights

ARMS = ("lidar", "lidar_radar", "radar", "lidar3")
MOVING_MPS, NEAR_M, LEAST_SCORE = 0.5, 2.0, 0.1
MOVERS = ("car", "truck", "bus", "bicycle", "pedestrian")


def experiment_of(arm: str, seed: int, a: argparse.Namespace) -> Experiment:
    """The recipe of ``--model`` with the arm's sensors and the study's budget."""
    base = load_recipe(f"configs.town_{a.model}")
    model, data = base.model, base.data
    assert isinstance(model, (SWFormerConfig, PillarsConfig))
    assert isinstance(data, DataConfig)
    low, high = model.grid.range[2], model.grid.range[5]
    grid = replace(model.grid, range=(-a.reach, -a.reach, low, a.reach, a.reach, high))
    model = replace(model, grid=grid)
    data = replace(data, train_logs=(str(a.logs),), val_logs=(str(a.logs),), range_m=grid.range)
    if arm == "lidar3":
        data = replace(data, sweeps=3)
        model = replace(model, encoder=replace(model.encoder, frames=3, frame_period_s=0.05))
    elif arm != "lidar":
        data = replace(data, radars=replace(RADARS, only=arm == "radar"))
        model = replace(model, encoder=replace(model.encoder, radar=True))
    model = replace(model, loss=replace(model.loss, velocity=VELOCITY_WEIGHT))
    start = lidar_weights(arm, a)
    plan = replace(base.train, steps=a.steps, max_seconds=0.0, checkpoint_seconds=60.0, init_from=start)
    return replace(base, name=f"town_radar_{arm}", model=model, data=data, train=plan, seed=seed)


def lidar_weights(arm: str, a: argparse.Namespace) -> str:
    """The file that an arm starts from: the weights of ``--init``, its point encoder widened by the radar's columns,
    which count nothing yet; empty without ``--init``."""
    if a.init is None:
        return ""
    weights = read_weights(a.init / "weights.safetensors")
    if arm in ("lidar_radar", "radar"):
        first = weights["encoder.first.weight"]
        weights["encoder.first.weight"] = F.pad(first, (0, NUM_RADAR_FEATURES))
    path = a.work / f"start_{arm}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, weights, {"from": str(a.init)})
    return str(path)


def stage(experiment: Experiment, run: Path) -> dict[str, Any]:
    """One arm, one seed: trained, detected, scored."""
    summary = train(experiment, run)
    detect_run(run)
    assert isinstance(experiment.data, DataConfig)
    report = score_run(run, find_logs(experiment.data.val_logs, experiment.data.val_split))
    flat, present = report.flat(), CLASSES.names
    moving = [name for name in MOVERS if flat[f"counts.truth.{name}"]]
    return {
        "train_seconds": round(summary.seconds, 1),
        "parameters": sum(p.numel() for p in experiment.model.build().parameters()),
        "mAP": float(np.mean([flat[f"ap.{name}"] for name in present if flat[f"counts.truth.{name}"]])),
        "mAVE": float(np.mean([flat[f"vel_err.{name}"] for name in moving])),
        "ap": {name: flat[f"ap.{name}"] for name in present},
        "vel_err": {name: flat[f"vel_err.{name}"] for name in moving},
        "moving": moving_errors(report, moving),
    }


def moving_errors(report: Report, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Of what moves, by class and of all together: count, share found, mean velocity error (m/s) of the found ones, and
    what it would be of boxes with velocity zero."""
    truth, found, classes = report.kept_truth, report.kept_predictions, report.metrics.config.class_names
    sure = found.score >= LEAST_SCORE
    rows: dict[str, list[tuple[float, float]]] = {}
    counts = dict.fromkeys(names, 0)
    for k in np.flatnonzero(np.hypot(*truth.boxes[:, 7:9].T) > MOVING_MPS):
        name = classes[truth.label[k]]
        if name not in counts:
            continue
        counts[name] += 1
        near = np.flatnonzero(sure & (found.frame == truth.frame[k]) & (found.label == truth.label[k]))
        near = near[np.hypot(*(found.boxes[near, :2] - truth.boxes[k, :2]).T) < NEAR_M]
        if len(near):
            own = near[np.argmax(found.score[near])]
            velocity = truth.boxes[k, 7:9]
            errors = np.hypot(*(found.boxes[own, 7:9] - velocity)), np.hypot(*velocity)
            rows.setdefault(name, []).append((float(errors[0]), float(errors[1])))
    out = {}
    for name in (*names, "all"):
        own_rows = rows.get(name, []) if name != "all" else [row for own in rows.values() for row in own]
        count = counts[name] if name != "all" else sum(counts.values())
        if own_rows:
            error, still = np.mean(own_rows, axis=0)
            out[name] = {"count": count, "found": len(own_rows) / count, "error": float(error), "still": float(still)}
    return out


def radar_facts(a: argparse.Namespace) -> dict[str, Any]:
    """How much the town's radar sees of the held-out labels, and how well it measures their speed along its rays."""
    logs = find_logs([a.logs], "town_val")
    low, high = -52.0, 52.0
    data = DataConfig(class_map=CLASSES, range_m=(low, low, -3.0, high, high, 5.0), radars=replace(RADARS, only=True))
    dataset = FrameDataset.of(data, logs)
    seen: dict[str, list[bool]] = {}
    errors, counts = [], []
    for index in range(0, len(dataset), 4):
        sample = dataset[index]
        counts.append(len(sample.points))
        flat, boxes = sample.points.copy(), sample.boxes.copy()
        flat[:, 2], boxes[:, 2], boxes[:, 5] = 0.0, 0.0, 2.0  # a radar has no height
        boxes[:, 3:5] += 0.3
        owner, inside = points_in_boxes(flat, boxes)
        for label, count in zip(sample.labels.tolist(), inside.tolist(), strict=True):
            seen.setdefault(CLASSES.names[label], []).append(count > 0)
        speed = np.hypot(*flat[:, 6:8].T)
        rows = np.flatnonzero((owner >= 0) & (speed > MOVING_MPS))
        ray = flat[rows, 6:8] / speed[rows, None]
        errors.append(speed[rows] - (ray * boxes[owner[rows], 7:9]).sum(1))
    error = np.concatenate(errors)
    return {
        "returns_a_frame": float(np.mean(counts)),
        "share_of_labels_with_a_return": {name: float(np.mean(v)) for name, v in sorted(seen.items())},
        "speed_along_the_ray": {"returns": len(error), "bias": float(error.mean()), "std": float(error.std())},
    }


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean, least and largest over the seeds, an arm a row."""
    rows: dict[str, Any] = {}
    for arm in dict.fromkeys(f["arm"] for f in found):
        own = [f for f in found if f["arm"] == arm]

        def spread(values: list[float]) -> dict[str, float]:
            return {"mean": float(np.mean(values)), "low": float(np.min(values)), "high": float(np.max(values))}

        row: dict[str, Any] = {"seeds": [f["seed"] for f in own]}
        row |= {key: spread([f[key] for f in own]) for key in ("mAP", "mAVE", "train_seconds")}
        row |= {key: {n: spread([f[key][n] for f in own]) for n in own[0][key]} for key in ("ap", "vel_err")}
        for key in ("error", "still", "found"):
            shared = [n for n in own[0]["moving"] if all(n in f["moving"] for f in own)]
            row[f"moving_{key}"] = {n: spread([f["moving"][n][key] for f in own]) for n in shared}
        rows[arm] = row
    return rows


def table(rows: dict[str, Any]) -> str:
    """Lines to read."""

    def shown(v: dict[str, float]) -> str:
        return f"{v['mean']:.3f} [{v['low']:.3f}, {v['high']:.3f}]"

    lines = ["arm          seeds  mAP                    mAVE                   moving: error          found"]
    for arm, row in rows.items():
        moving = [shown(row[key]["all"]) if "all" in row[key] else "-" for key in ("moving_error", "moving_found")]
        lines.append(
            f"{arm:12s} {len(row['seeds']):5d}  {shown(row['mAP'])}  {shown(row['mAVE'])}  {'  '.join(moving)}"
        )
    return "\n".join(lines)


def arm_stage(arm: str, seed: int, experiment: Experiment, folder: Path) -> dict[str, Any]:
    """One arm, one seed."""
    return {"arm": arm, "seed": seed} | stage(experiment, folder)


def main() -> None:
    """Run what is missing; write the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=Path, default=Path("runs/demo-full/logs"), help="of a town with radar")
    parser.add_argument("--work", type=Path, default=Path("runs/town_radar"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "town_radar.json")
    parser.add_argument(
        "--model", choices=("pillars", "swformer"), default="pillars", help="the recipe, configs.town_*"
    )
    parser.add_argument("--init", type=Path, help="a lidar run of the recipe that all arms start from")
    parser.add_argument(
        "--reach", type=float, default=52.0, help="metres looked at to each side; AP counts what lies farther as missed"
    )
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    a = parser.parse_args()
    stages: dict[Path, Callable[[], dict[str, Any]]] = {}
    for seed in a.seeds:
        for arm in a.arms:
            experiment = experiment_of(arm, seed, a)
            folder = a.work / f"{a.model}_{arm}_{seed}_{experiment.hash()}"
            stages[folder.with_suffix(".json")] = partial(arm_stage, arm, seed, experiment, folder)
    found = run_stages(stages)
    settings = {k: v for k, v in vars(a).items() if k not in ("logs", "work", "out", "init")}
    settings["starts_from_a_lidar_run"] = a.init is not None
    document = {
        "machine": machine(),
        "settings": settings,
        "radar": radar_facts(a),
        "arms": summary(found),
    }
    write(a.out, document)
    print(table(document["arms"]))


if __name__ == "__main__":
    run(main)
