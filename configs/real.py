"""``make real``: real recordings converted, verified, counted; a detector that must find its own KITTI labels again;
trackers on KITTI's tracking sequences; planners in closed loop on the nuScenes, Waymo and Argoverse 2 recordings with
maps.

It measures readers, geometry and whether the model can learn at all; seven frames say nothing about generalisation.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from configs.stages import Stages, run_command
from drive.errors import UserError
from drive.logs.store import Log, list_logs

SETS = {
    "kitti": (["kitti"], "kitti/object"),
    "av2": (["av2"], "av2/sensor"),
    "nuscenes": (["nuscenes", "--version", "v1.0-mini"], "nuscenes"),
}


@dataclass(frozen=True)
class RealArguments:
    """Convert, verify and learn the real excerpts."""

    out: Path = Path("runs/real")
    """Folder of the run; what is there already is used again."""
    data: Path = Path("../shared/data")
    """The folder with the recordings."""
    seeds: int = 3
    """Trainings of the detector; the lowest figure counts."""
    stt_seeds: int = 3
    """Trainings of STT on every fold of KITTI's tracking sequences; 0 leaves STT out of the table."""
    steps: int = 0
    """Optimiser steps of each training; 0 takes the recipe's."""


def real(arguments: RealArguments) -> None:
    """All stages; ``summary.json`` is written after each."""
    if not (arguments.data / "README.md").is_file():
        mend = "put the recordings there, or name their folder with --data"
        raise UserError(arguments.data, "the real recordings are not here", mend)
    out, stages = arguments.out, Stages(arguments.out)
    for name, (words, folder) in SETS.items():
        logs = out / "logs" / name
        stages.run(f"convert.{name}", ["drive", "convert", words[0], arguments.data / folder, logs, *words[1:]])
        stages.run(f"verify.{name}", ["drive", "verify", logs])
        stages.add(counts(name, logs))

    # Labels exist in the camera's view only, so the scans that come with their picture are learned: seven.
    learned = [path for path in list_logs(out / "logs" / "kitti") if "image_2" in Log.open(path).sensors]
    figures = []
    for seed in range(arguments.seeds):
        run = out / f"kitti_seed{seed}"
        recipe = ["drive", "train", "configs.kitti_pvtransformer", "--out", run, "--seed", seed]
        limit = ["--train.steps", arguments.steps] if arguments.steps else []
        stages.run(f"train.seed{seed}", [*recipe, "--data.train-logs", *learned, "--data.val-logs", *learned, *limit])
        stages.run(f"score.seed{seed}", ["drive", "score", run])
        scores = json.loads((run / "scores.json").read_text())
        figures.append(scores["car.3d.points5_iou05"])
        stages.add({f"kitti.swformer.car_ap_r40_iou05.seed{seed}": figures[-1]})
    stages.add({"kitti.swformer.car_ap_r40_iou05": min(figures), "kitti.learned_frames": len(learned)})
    for path in learned:
        view = ["drive", "view", out / "kitti_seed0", "--frame", "0", "--log", path, "--cameras", "image_2"]
        stages.run(f"view.{path.name}", [*view, "--out", out / "pictures"])
    runs = [out / f"kitti_seed{seed}" for seed in range(arguments.seeds)]
    stages.run("report", ["drive", "view", *runs, "--out", out / "report.html"])
    tracking(arguments, stages)
    planning(arguments, stages)
    print(f"car AP R40 at 0.5 IoU, 5 points or more, lowest of {arguments.seeds} seeds: {min(figures):.4f}")
    print(f"{stages.figures['seconds.total']:.0f} s in all; pictures in {out / 'pictures'}")


def tracking(arguments: RealArguments, stages: Stages) -> None:
    """The table of trackers on KITTI's tracking sequences with PointRCNN's detections: ``tracking.kitti.*``."""
    raw, work = arguments.data / "kitti" / "tracking", arguments.out / "tracking"
    logs, detections, table = arguments.out / "logs" / "kitti_tracking", work / "pointrcnn.arrow", work / "kitti.json"
    stages.run("convert.kitti_tracking", ["drive", "convert", "kitti_tracking", raw, logs])
    stored = ["drive", "convert", "ab3dmot_detections", raw / "detection", detections, "--logs", logs]
    stages.run("convert.kitti_detections", stored)
    trained: list[object] = []
    if arguments.stt_seeds:
        seeds = ["--seeds", *range(arguments.stt_seeds), "--work", work / "stt", "--out", work / "stt.json"]
        stages.run("track.stt", ["benchmarks.stt_kitti", logs, detections, *seeds])
        trained = ["--stt", work / "stt"]
    study = ["benchmarks.kitti_tracking", logs, detections, "--work", work / "study", "--out", table]
    stages.run("track.study", [*study, *trained])
    figures = json.loads(table.read_text())["figures"]
    stages.add({key: value for key, value in figures.items() if key.startswith("tracking.")})
    page = ["drive", "track", "configs.kitti_ab3dmot", "--logs", logs, "--detections", detections]
    stages.run("track.page", [*page, "--out", work / "ab3dmot", "--again"])


def planning(arguments: RealArguments, stages: Stages) -> None:
    """Planners in closed loop: ``planning.<dataset>.<planner>.pdms``, with traffic that answers ``planning_idm...``."""
    table, work = arguments.out / "planning.json", arguments.out / "planning"
    study = ["benchmarks.real_planning", arguments.data, "--work", work, "--out", table]
    stages.run("plan.study", study)
    stages.add(json.loads(table.read_text())["figures"])


def counts(name: str, folder: Path) -> dict[str, object]:
    """What was converted: logs, frames, boxes, lidar points, images."""
    logs = [Log.open(path) for path in list_logs(folder)]
    lidars = [(log, s) for log in logs for s, sensor in log.sensors.items() if sensor.modality == "lidar"]
    points = sum(len(log.sweep(s, row).points) for log, s in lidars for row in range(log.num_sweeps(s)))
    return {
        f"{name}.logs": len(logs),
        f"{name}.frames": sum(log.num_frames for log in logs),
        f"{name}.boxes": sum(len(log.boxes(i).category) for log in logs for i in range(log.num_frames)),
        f"{name}.lidar_points": points,
    }


if __name__ == "__main__":
    sys.exit(run_command(RealArguments, real, None, "make real"))
