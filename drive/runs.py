"""``drive train``, ``drive score``, ``drive view``: the verbs that work on a run's folder."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from drive.boxes.detections import DetectionSet, read_detections, write_detections
from drive.detect import TrainedDetector, load, sensors_used
from drive.detect_logs import detect_logs
from drive.errors import UserError
from drive.experiment import Experiment
from drive.logs.schema import MANIFEST
from drive.logs.store import Log
from drive.recipes import load_recipe, override
from drive.rollouts.run_folder import is_run_folder
from drive.samples.classes import NUSCENES_CLASSES, ClassMap
from drive.samples.corrupt.scan import SEVERITIES
from drive.samples.frame_dataset import find_logs
from drive.samples.radar import RadarConfig
from drive.score_drives import score_drives_command
from drive.score_tracks import is_tracking, score_tracking
from drive.scores.ground_truth import load_ground_truth
from drive.scores.kitti_report import KITTI, KittiReport, load_kitti_truth, score_kitti
from drive.scores.report import Provenance, Report, place_detections, score_file, score_run, write_scores
from drive.scores.submission import write_submission
from drive.scores.tracking_report import TrackingReport
from drive.scores.waymo_report import WAYMO, WaymoReport, load_waymo_truth, score_waymo
from drive.train.loop import train
from drive.view.report import RunSummary, write_report
from drive.view.show import save_frame

AnyReport = Report | KittiReport | WaymoReport | TrackingReport
METRIC_OF = {KITTI: "kitti", WAYMO: "waymo"}  # by data set; all others have nuScenes'
METRIC_OF_TRACKS = {"kitti": "ab3dmot"}  # KITTI's rules are in AB3DMOT's metric

TRAIN_HELP = """drive train RECIPE [--out FOLDER] [--FIELD VALUE ...]

RECIPE is a module with a function experiment(), such as configs.town_swformer.
--out        the run's folder (default runs/<the recipe's name>); the same command goes on where it was stopped
--FIELD      any field of the recipe, as --train.epochs 12 or --data.train-logs LOGS; all of them follow.
"""


def train_command(argv: Sequence[str]) -> int:
    """``drive train``."""
    words = list(argv)
    if not words or words[0] in ("-h", "--help"):
        print(TRAIN_HELP)
        return 0
    experiment = load_recipe(words.pop(0))
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=Path("runs") / experiment.name)
    own, rest = parser.parse_known_args(words)
    experiment = override(experiment, rest)
    summary = train(experiment, own.out)
    Console().print(f"{summary.steps} steps in {summary.seconds:.0f} s -> {summary.weights}", highlight=False)
    return 0


def detect_run(run: Path, logs: Sequence[str | Path] = (), split: str = "", device: str = "cpu") -> DetectionSet:
    """Detections of a run's scoring logs (or of ``logs``), written to ``detections.arrow`` in the run's folder."""
    detector = load(run, device)
    paths = scoring_logs(detector.experiment, logs, split)
    found = detect_logs(detector, paths)
    write_detections(run / "detections.arrow", found)
    if Log.open(paths[0]).dataset != KITTI:
        _write_submission(detector, found, paths, run / "submission.json")
    return found


def scoring_logs(experiment: Experiment, logs: Sequence[str | Path] = (), split: str = "") -> list[Path]:
    """The logs that an experiment is scored on, or those of the folders that are named instead."""
    if logs:
        return find_logs(logs, split)
    if not experiment.data.val_logs:
        raise UserError("data.val_logs", "the run names no logs for scoring", "give --logs")
    return find_logs(experiment.data.val_logs, split or experiment.data.val_split)


def _write_submission(detector: TrainedDetector, found: DetectionSet, paths: Sequence[Path], out: Path) -> None:
    truth = load_ground_truth(paths, score_classes(detector.experiment.data.class_map))
    boxes, _, _ = place_detections(found, truth)
    meta = sensors_used(detector)
    write_submission(out, boxes, truth.frames.ids, truth.class_names, meta)


def score_classes(trained: ClassMap) -> ClassMap:
    """nuScenes' ten classes where the detector's are among them (the official figure), else the detector's own."""
    return NUSCENES_CLASSES if set(trained.names) <= set(NUSCENES_CLASSES.names) else trained


@dataclass(frozen=True)
class ScoreArguments:
    """Score a run, its detections.arrow, tracks, or any nuScenes submission JSON.

    The folder of `drive simulate` has options of its own: drive score FOLDER --help.
    """

    what: Annotated[Path, tyro.conf.Positional]
    """A run's folder (its weights are run first), a detections.arrow, a nuScenes submission .json, a tracks.arrow or
    the folder that drive track wrote (with --logs)."""
    logs: tuple[Path, ...] = ()
    """Converted logs with the labels; a run knows its own."""
    split: str = ""
    """Only the logs of this split."""
    again: bool = True
    """Run the weights even where detections.arrow is there."""
    device: str = "cpu"
    """Torch device for a run's weights."""
    out: Path | None = None
    """Where a file's scores go (a run's go to scores.json in its folder)."""
    metric: Literal["", "nuscenes", "kitti", "waymo", "ab3dmot", "clear", "hota", "state"] = ""
    """Whose metric; unless named, a run gets that of its logs' data set where there is one, all else nuScenes'. Tracks
    get all that suit their logs; the last four are of tracks only."""
    corrupt: tuple[str, ...] = ()
    """Of a run: score it with failing sensors as well. Names of corruptions (by spaces or commas), or all,
    multicorrupt, ours; robustness.json in its folder. Killed, the same command goes on."""
    severity: tuple[int, ...] = SEVERITIES
    """With --corrupt: severities, of 1 2 3."""
    every: int = 1
    """With --corrupt: look at every n-th frame alone."""
    baseline: Path | None = None
    """With --corrupt: a run's folder that was scored so before; how much better this one resists."""
    untouched_as_one: bool = False
    """With --corrupt: corruptions of sensors that the run does not read count as RA 1, by definition; otherwise they
    are left out of mRA."""


def score_command(argv: Sequence[str]) -> int:
    """``drive score``. Exit status 1 where labelled frames have no predictions: the score counts them as empty."""
    if argv and is_run_folder(Path(argv[0])):
        return score_drives_command(argv)
    arguments = tyro.cli(ScoreArguments, args=list(argv), prog="drive score")
    if arguments.corrupt:
        return _score_corrupted(arguments)
    report = score(arguments)
    report.print()
    for name in report.missing_frames:
        print(f"missing: {name} has no predictions and counts as empty", file=sys.stderr)
    return 1 if report.missing_frames else 0


def _score_corrupted(arguments: ScoreArguments) -> int:
    from drive.score_corrupted import (
        CorruptedScoring,
        corruptions_named,
        print_robustness,
        score_corrupted,
        write_robustness,
    )

    names, run = corruptions_named(arguments.corrupt), arguments.what
    paths = scoring_logs(Experiment.read(run / "config.json"), arguments.logs, arguments.split)
    metric = arguments.metric or METRIC_OF.get(Log.open(paths[0]).dataset, "nuscenes")
    scoring = CorruptedScoring(
        run, tuple(paths), metric, names, arguments.severity, arguments.every, device=arguments.device,
        untouched_as_one=arguments.untouched_as_one,
    )  # fmt: skip
    found = score_corrupted(scoring)
    print_robustness(found, write_robustness(scoring, found, arguments.baseline), run)
    return 0


def score(arguments: ScoreArguments) -> AnyReport:
    """Score what ``drive score`` was asked to, by the metric that it names or that belongs to the logs.

    Raises:
        UserError: nothing there, logs that are needed and not named, a broken file.
    """
    what = arguments.what
    if is_tracking(what):
        if not arguments.logs:
            raise UserError(what, "the labels to score it against are not named", "give --logs FOLDER")
        metrics = [METRIC_OF_TRACKS.get(arguments.metric, arguments.metric)] if arguments.metric else []
        tracks = score_tracking(what, find_logs(arguments.logs, arguments.split), metrics)
        if arguments.out is not None:
            write_scores(arguments.out, tracks.to_dict())
        return tracks
    if arguments.metric not in ("", "nuscenes", "kitti", "waymo"):
        raise UserError(what, f"no tracks, which {arguments.metric} is a metric of", "name nuscenes, kitti or waymo")
    if what.is_dir():
        experiment = Experiment.read(what / "config.json")
        if arguments.again or not (what / "detections.arrow").is_file():
            detect_run(what, arguments.logs, arguments.split, arguments.device)
        paths = scoring_logs(experiment, arguments.logs, arguments.split)
        metric = arguments.metric or METRIC_OF.get(Log.open(paths[0]).dataset, "nuscenes")
        if metric == "nuscenes":
            return score_run(what, paths, score_classes(experiment.data.class_map))
        provenance = Provenance((experiment.seed,), experiment.hash(), "detections.arrow")
        report = _score_detections(metric, what / "detections.arrow", paths, experiment.data.class_map, provenance)
        write_scores(what / "scores.json", report.to_dict())
        return report
    if not arguments.logs:
        raise UserError(what, "the labels to score it against are not named", "give --logs FOLDER")
    paths = find_logs(arguments.logs, arguments.split)
    if arguments.metric in ("", "nuscenes"):
        report = score_file(what, paths)
    else:
        report = _score_detections(arguments.metric, what, paths, NUSCENES_CLASSES, Provenance(source=what.name))
    if arguments.out is not None:
        write_scores(arguments.out, report.to_dict())
    return report


def _score_detections(
    metric: str, file: Path, paths: Sequence[Path], class_map: ClassMap, provenance: Provenance
) -> AnyReport:
    """A detections file by the metric of KITTI or Waymo."""
    found = read_detections(file)
    for missing in found.missing_images:
        print(missing.line())
    if metric == "kitti":
        return score_kitti(found, load_kitti_truth(paths), provenance, str(file))
    return score_waymo(found, load_waymo_truth(paths, class_map), provenance, str(file))


@dataclass(frozen=True)
class ViewArguments:
    """Pictures of a frame of a log, or the page of one or several scored runs."""

    what: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """A log's folder, or run folders (their detections.arrow is scored again)."""
    frame: int | None = None
    """Frame of the log; of a run, its predictions on this frame of --log."""
    log: Path | None = None
    """With a run and --frame: the log to draw."""
    cameras: tuple[str, ...] | None = None
    """Cameras to draw boxes into; the front camera unless named."""
    min_score: float = 0.3
    """Predictions below it are not drawn."""
    points: bool = False
    """Draw the lidar's points into the cameras' pictures, coloured by depth."""
    radar: bool = False
    """Draw the returns of the log's radars with their velocities (less the ego's own) as well."""
    out: Path = Path("runs/view")
    """Folder for pictures; for runs the page's file (a folder gets report.html)."""


def view_command(argv: Sequence[str]) -> int:
    """``drive view``."""
    arguments = tyro.cli(ViewArguments, args=list(argv), prog="drive view")
    if not arguments.what:
        raise UserError("drive view", "nothing to look at is named", "give a log's folder or run folders")
    first = arguments.what[0]
    if (first / MANIFEST).is_file() or arguments.frame is not None:
        detections = None if (first / MANIFEST).is_file() else read_detections(first / "detections.arrow")
        shown = first if detections is None else arguments.log
        if shown is None:
            raise UserError("--log", "a run's frame needs the log it lies in", "give --log FOLDER")
        paths = save_frame(
            Log.open(shown),
            arguments.frame or 0,
            arguments.out,
            detections=detections,
            cameras=arguments.cameras,
            min_score=arguments.min_score,
            radars=RadarConfig() if arguments.radar else None,
            points=arguments.points,
        )
        print("\n".join(map(str, paths)))
        return 0
    page = arguments.out if arguments.out.suffix == ".html" else arguments.out / "report.html"
    runs, logs = [], []
    for run in arguments.what:
        experiment = Experiment.read(run / "config.json")
        logs = scoring_logs(experiment)
        provenance = Provenance((experiment.seed,), experiment.hash(), "detections.arrow")
        report = score_file(run / "detections.arrow", logs, score_classes(experiment.data.class_map), provenance)
        runs.append(RunSummary.of_folder(run, report, name=run.name, facts=_own_facts(run, logs)))
    page.parent.mkdir(parents=True, exist_ok=True)
    write_report(page, runs, logs, title=" and ".join(run.name for run in runs))
    print(page)
    return 0


def _own_facts(run: Path, logs: Sequence[Path]) -> dict[str, float]:
    """The figures of the data set's own metric, beside the page's centre-distance ones; nothing where it has none."""
    scores, dataset = run / "scores.json", Log.open(logs[0]).dataset
    if dataset not in METRIC_OF or not scores.is_file():
        return {}
    known = {k: v for k, v in json.loads(scores.read_text()).items() if isinstance(v, float)}
    if dataset == KITTI:
        return {f"KITTI AP R40 {k}": v for k, v in known.items() if k.endswith("3d.points5_iou05")}
    return {f"Waymo {k}": v for k, v in known.items() if k.startswith(("mAP", "AP.OBJECT_TYPE", "APH.OBJECT_TYPE"))}
