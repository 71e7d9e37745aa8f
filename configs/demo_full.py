"""``make demo-full``: the demo with longer trainings, every tracker beside the other, STT learned on the town, and the
study of planners: DiffusionDrive, a perceptron and a plain diffusion policy in closed loop.

A detector is surer of the boxes that it was trained on than it will ever be again, and a tracker that learns from those
trusts it too much. So STT learns from cross-fitted detections: the training scenes are parted in two, a detector of the
better kind is trained on each half and run on the other. The scenes for scoring are seen by none of them; there every
tracker gets the detections of the detector that was trained on all training scenes.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from configs.demo import DemoArguments, run_demo, track
from configs.stages import Stages, run_command
from drive.logs.store import Log, list_logs

TRACKERS = ("center_greedy", "simple_track")  # beside the demo's own


@dataclass(frozen=True)
class FullArguments:
    """The demo, longer, STT, and the study of planners. About an hour and a half on two cores."""

    out: Path = Path("runs/demo-full")
    """Folder of the demo; what is there already is used again."""
    scenes: int = 16
    """Training scenes of the town."""
    val_scenes: int = 5
    """Scenes of another town, for scoring."""
    seconds: float = 20.0
    """Length of a scene."""
    image_width: int = 400
    """Of the camera images."""
    train_seconds: float = 600.0
    """Training time of each detector."""
    half_seconds: float = 300.0
    """Training time of the detector of each half."""
    stt_seconds: float = 300.0
    """Training time of STT."""
    seeds: int = 3
    """Trainings of STT and of each learned planner."""
    plan_logs: int = 256
    """Drives of 32 s that planners learn from: 8 scenarios of 8 s in each."""
    plan_steps: int = 1000
    """Optimiser steps of each planner's training."""
    plan_held_out: int = 240
    """Drives of 8 s in other towns, for scoring planners."""
    seed: int = 0
    """Of the town and of the detectors."""


def demo_full(arguments: FullArguments) -> None:
    """All stages; ``summary.json`` is written after each."""
    a = arguments
    stages = run_demo(DemoArguments(a.out, a.scenes, a.val_scenes, a.seconds, a.image_width, a.train_seconds, a.seed))
    best = stages.figures["tracking.detector"]
    for tracker in TRACKERS:
        track(stages, tracker, a.out / best)
    detections = cross_fitted(stages, a, best)
    logs = [log for half in halves(a.out / "logs") for log in half]
    for seed in range(a.seeds):
        run = a.out / f"stt_seed{seed}"
        recipe = ["drive", "train", "configs.town_stt", "--out", run, "--seed", seed]
        data = ["--data.train-logs", *logs, "--data.train-split=", "--data.train-detections", *detections]
        stages.run(f"train.stt_seed{seed}", [*recipe, *data, "--train.max-seconds", a.stt_seconds])
        name = f"stt_seed{seed}"
        track(stages, name, a.out / best, "configs.town_stt_track", ["--tracker.run", run])
    keys = [key.removeprefix("tracking.stt_seed0.") for key in stages.figures if key.startswith("tracking.stt_seed0.")]
    for key in keys:
        values = [stages.figures[f"tracking.stt_seed{seed}.{key}"] for seed in range(a.seeds)]
        if None not in values:
            ends = {f"tracking.stt.{key}_min": min(values), f"tracking.stt.{key}_max": max(values)}
            stages.add({f"tracking.stt.{key}": sum(values) / len(values), **ends})
    for tracker in ("ab3dmot", *TRACKERS, "stt"):
        amota, car = (stages.figures[f"tracking.{tracker}.{key}"] for key in ("amota", "nuscenes.car.mota"))
        print(f"{tracker:14s} AMOTA {amota:.3f}  car MOTA {car:.3f}")
    planning(stages, a)
    print(f"{stages.figures['seconds.total']:.0f} s in all; pages in {a.out}/tracking_*/report.html")


def planning(stages: Stages, arguments: FullArguments) -> None:
    """Who drives best, with intervals over drives and seeds: ``planning.<planner>.pdms``."""
    table = arguments.out / "planning.json"
    sizes = ["--logs", arguments.plan_logs, "--scenarios", arguments.plan_held_out, "--steps", arguments.plan_steps]
    study = ["benchmarks.town_planning", "--work", arguments.out / "planning", "--out", table]
    stages.run("planning.study", [*study, *sizes, "--seeds", *range(arguments.seeds)])
    for name, row in json.loads(table.read_text())["planners"].items():
        figures = {"pdms": row["pdms"], "pdms_low": row["low"], "pdms_high": row["high"]}
        if "diversity" in row:
            figures["diversity"] = row["diversity"]
        stages.add({f"planning.{name}.{key}": value for key, value in figures.items()})


def halves(folder: Path) -> tuple[list[Path], list[Path]]:
    """The training scenes, every second one in each half."""
    logs = [path for path in list_logs(folder) if Log.open(path).split == "town_train"]
    return logs[::2], logs[1::2]


def cross_fitted(stages: Stages, arguments: FullArguments, detector: str) -> list[Path]:
    """Detections on all training scenes by detectors that have not seen them: a file a half."""
    parts, files = halves(arguments.out / "logs"), []
    for number, (own, other) in enumerate((parts, parts[::-1])):
        run, seen = arguments.out / f"half{number}", arguments.out / f"half{number}_on_other"
        recipe = ["drive", "train", f"configs.town_{detector}", "--out", run, "--seed", arguments.seed]
        data = ["--data.train-logs", *own, "--data.train-split=", "--data.val-logs", *other, "--data.val-split="]
        stages.run(f"train.half{number}", [*recipe, *data, "--train.max-seconds", arguments.half_seconds])
        stages.run(f"detect.half{number}", ["drive", "detect", run, "--logs", *other, "--out", seen])
        files.append(seen / "detections.arrow")
    return files


if __name__ == "__main__":
    sys.exit(run_command(FullArguments, demo_full, None, "make demo-full"))
