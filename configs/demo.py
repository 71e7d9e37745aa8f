"""``make demo``: a town recorded in raw nuScenes shape, converted, learned by two detectors, tracked, scored, shown;
and planners that drive through other towns in closed loop.

Every step is a command that a user would type; this only runs them in a row and gathers their figures.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.demo_planning import plan_stage
from configs.stages import Stages, run_command

RUNS = ("pillars", "swformer")
FUSED = "deepfusion"
VAL_SPLIT = "town_val"
TRACKED = ("amota", "amotp", "mota", "motp", "recall", "ids", "frag")  # nuScenes' figures of the summary


@dataclass(frozen=True)
class DemoArguments:
    """Raw logs to trained detectors and tracks, their scores and pages to look at."""

    out: Path = Path("runs/demo")
    """Folder of the demo; what is there already is used again."""
    scenes: int = 10
    """Training scenes of the town."""
    val_scenes: int = 3
    """Scenes of another town, for scoring."""
    seconds: float = 20.0
    """Length of a scene."""
    image_width: int = 400
    """Of the camera images."""
    train_seconds: float = 160.0
    """Training time of each detector; its start-up is not in it, and three minutes are to hold both."""
    seed: int = 0
    """Of the town and of the training."""
    plan_seconds: float = 30.0
    """Training time of the planner."""
    plan_scenarios: int = 192
    """Scenarios of 8 s that it learns from."""
    plan_held_out: int = 16
    """Drives of 8 s in other towns, for scoring planners."""
    fused: bool = False
    """Train a detector that joins the camera images to the lidar's points as well: train_seconds and about a minute
    more."""

    @property
    def detectors(self) -> tuple[str, ...]:
        """The recipes configs.town_<name>."""
        return (*RUNS, FUSED) if self.fused else RUNS


def demo(arguments: DemoArguments) -> None:
    """All stages; ``summary.json`` is written after each."""
    out, stages = arguments.out, run_demo(arguments)
    sizes = (arguments.plan_seconds, arguments.plan_scenarios, arguments.plan_held_out)
    plan_stage(stages, out / "planning", *sizes)
    shutil.copyfile(out / "planning" / "simulate_0" / "report.html", out / "planning.html")
    figures = stages.figures
    print()
    for name in arguments.detectors:
        print(
            f"{name:10s} car AP {figures[f'detection.{name}.car_ap']:.3f}  mAP {figures[f'detection.{name}.mAP']:.3f}"
        )
    print(f"ab3dmot    on {figures['tracking.detector']}: AMOTA {figures['tracking.ab3dmot.amota']:.3f}")
    print(f"{figures['seconds.total']:.0f} s in all; open report.html, tracking.html and planning.html in {out}")


def run_demo(arguments: DemoArguments) -> Stages:
    """The stages and what they found; the better detector's name is in ``tracking.detector``."""
    out, stages, names = arguments.out, Stages(arguments.out), arguments.detectors
    raw, logs = out / "raw", out / "logs"
    if not (raw / "v1.0-town" / "splits.json").is_file():
        sizes = ["--scenes", arguments.scenes, "--val-scenes", arguments.val_scenes, "--seconds", arguments.seconds]
        look = ["--image-width", arguments.image_width, "--seed", arguments.seed]
        stages.run("town", ["data_tools.town", raw, *sizes, *look])
    stages.run("convert", ["drive", "convert", "nuscenes", raw, logs, "--version", "v1.0-town"])
    stages.run("verify", ["drive", "verify", logs])
    for name in names:
        recipe = ["drive", "train", f"configs.town_{name}", "--out", out / name, "--seed", arguments.seed]
        limits = ["--data.train-logs", logs, "--data.val-logs", logs, "--train.max-seconds", arguments.train_seconds]
        stages.run(f"train.{name}", [*recipe, *limits])
    stages.add({"seconds.train": round(sum(stages.figures[f"seconds.train.{name}"] for name in names), 2)})
    for name in names:
        stages.run(f"score.{name}", ["drive", "score", out / name])
        stages.add(detection_figures(name, out / name))
    stages.run("report", ["drive", "view", *[out / name for name in names], "--out", out / "report.html"])
    best = max(names, key=lambda name: stages.figures[f"detection.{name}.car_ap"])
    stages.add({"tracking.detector": best})
    track(stages, "ab3dmot", out / best)
    shutil.copyfile(out / "tracking_ab3dmot" / "report.html", out / "tracking.html")
    return stages


def track(stages: Stages, tracker: str, detector: Path, recipe: str = "", more: Sequence[object] = ()) -> None:
    """A tracker on a detector's run over the scenes for scoring; its figures go to ``tracking.<tracker>.*``."""
    folder = stages.out / f"tracking_{tracker}"
    command = ["drive", "track", recipe or f"configs.town_{tracker}", "--logs", stages.out / "logs"]
    inputs = ["--split", VAL_SPLIT, "--run", detector, "--out", folder, "--again"]
    stages.run(f"track.{tracker}", [*command, *inputs, *more])
    scores = json.loads((folder / "scores.json").read_text())
    figures = {f"tracking.{tracker}.{name}": scores[f"nuscenes.mean.{name}"] for name in TRACKED}
    for key in [key for key in scores if key.endswith((".amota", ".samota", ".mota", "smota.v1", "motps.velocity"))]:
        figures[f"tracking.{tracker}.{key}"] = scores[key]
    stages.add(figures)


def detection_figures(name: str, run: Path) -> dict[str, object]:
    """Figures of a scored run. mAP is the mean over the classes that the scored logs hold."""
    scores = json.loads((run / "scores.json").read_text())
    return {
        f"detection.{name}.car_ap": scores["ap.car"],
        f"detection.{name}.mAP": scores["mAP_present"],
        f"detection.{name}.mAP_ten_classes": scores["mAP"],
        f"detection.{name}.NDS": scores["NDS"],
        **{
            f"detection.{name}.ap.{key[3:]}": v
            for key, v in scores.items()
            if key.startswith("ap.") and "." not in key[3:]
        },
    }


if __name__ == "__main__":
    sys.exit(run_command(DemoArguments, demo, None, "make demo"))
