"""``drive track``: follow detected objects over the frames of logs, write the tracks, score them, show them."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track as progress_bar

from drive.boxes.detections import read_detections, write_detections
from drive.detect_logs import detect_logs
from drive.errors import UserError
from drive.experiment import TrackExperiment
from drive.logs.store import Log
from drive.recipes import load_track_recipe, override
from drive.samples.frame_dataset import find_logs
from drive.scores.eval_boxes import NO_ATTRIBUTE, UNKNOWN_POINTS, EvalBoxes
from drive.scores.ground_truth import NUSCENES
from drive.scores.nuscenes_tracking_boxes import TRACKING_NAMES, TrackedBoxes
from drive.scores.report import Provenance, write_scores
from drive.scores.submission_file import MAX_BOXES_PER_FRAME
from drive.scores.submission_tracking import write_tracking_submission
from drive.scores.tracking_report import TrackingReport, score_tracks
from drive.tracks.sequence import TrackSet, join_sets, read_tracks, track_log, write_tracks
from drive.train.folder import CONFIG, WEIGHTS
from drive.train.weights import write_atomic
from drive.view.track_report import write_track_report

HELP = """drive track RECIPE --logs LOGS (--detections FILE | --run RUN) [--out FOLDER] [--FIELD VALUE ...]

RECIPE is a module with a function experiment() that returns a TrackExperiment, such as configs.kitti_ab3dmot.
--logs        converted logs, or folders of them; --split takes only those of one split
--detections  a detections.arrow (`drive detect`, `drive score` or `drive convert ab3dmot_detections` write one)
--run         a detector's run instead: its detections.arrow where that holds all of these logs; else it is run on them
--out         folder (default runs/<the recipe's name>): tracks.arrow, config.json, report.html, scores.json where the
              logs have labels, submission.json where they are nuScenes'. The same command goes on where it was stopped.
--again       start over: drop the tracks that are in the folder
--no-report   leave the page out
--device      torch device of --run
--FIELD       any field of the recipe, as --min-score 0.2
"""
INPUTS, TRACKS, PARTS = "inputs.json", "tracks.arrow", "parts"
RESULTS = ("scores.json", "submission.json", "report.html")
_TEXT = (
    "AB3DMOT's and nuScenes' metrics choose the score threshold of their single figures on the labels that are scored; "
    "averages over recall (AMOTA, sAMOTA, AMOTP) do not depend on it."
)
_SHOWN = (
    ("ab3dmot.CLASS.iou025.samota", "sAMOTA, IoU 0.25"),
    ("ab3dmot.CLASS.iou025.mota", "MOTA"),
    ("ab3dmot.CLASS.iou025.motp", "MOTP"),
    ("ab3dmot.CLASS.iou025.ids", "changes of identity"),
    ("ab3dmot.CLASS.iou025.frag", "breaks"),
    ("ab3dmot.CLASS.iou025.fp", "false"),
    ("ab3dmot.CLASS.iou025.fn", "missed"),
    ("ab3dmot.CLASS.iou05.samota", "sAMOTA, IoU 0.5"),
    ("hota.CLASS.iou3d.hota", "HOTA"),
    ("nuscenes.CLASS.amota", "nuScenes AMOTA"),
    ("nuscenes.CLASS.amotp", "AMOTP, m"),
    ("nuscenes.CLASS.ids", "changes of identity"),
    ("state.CLASS.iou025.smota.v1", "S-MOTA, 1 m/s"),
    ("state.CLASS.iou025.motps.velocity", "velocity error, m/s"),
)
_META = {"use_camera": False, "use_lidar": True, "use_radar": False, "use_map": False, "use_external": False}


@dataclass(frozen=True)
class Tracked:
    """What came of a run: the tracks of the logs that worked, these logs, and the error of each other one."""

    tracks: TrackSet
    logs: tuple[Path, ...]
    failed: tuple[UserError, ...]


def track_command(argv: Sequence[str]) -> int:
    """``drive track``. A log that fails is listed and makes the exit status 1; the others are done."""
    words = list(argv)
    if not words or words[0] in ("-h", "--help"):
        print(HELP)
        return 0
    experiment = load_track_recipe(words.pop(0))
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--logs", type=Path, nargs="+", default=[])
    parser.add_argument("--split", default="")
    parser.add_argument("--detections", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs") / experiment.name)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--no-report", action="store_true")
    try:
        own, rest = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise UserError(f"drive track {error.argument_name}", error.message, "see drive track --help") from error
    experiment = override(experiment, rest, "drive track RECIPE")
    if not own.logs:
        raise UserError("--logs", "the logs to track in are not named", "give --logs FOLDER")
    if (own.detections is None) == (own.run is None):
        mend = "give --detections FILE, or --run RUN to take a detector's"
        raise UserError("drive track", "it needs the detections of one detector", mend)
    paths = find_logs(own.logs, own.split)
    detections = own.detections or run_detections(own.run, paths, own.out, own.device)
    done = track_logs(experiment, paths, detections, own.out, own.again)
    objects = len(set(zip(log_of_rows(done.tracks).tolist(), done.tracks.ids.tolist(), strict=True)))
    print(f"{objects} objects in {len(done.tracks.frame_ids)} frames of {len(done.logs)} logs -> {own.out / TRACKS}")
    for failure in done.failed:
        print(f"failed: {failure}")
    if done.logs:
        write_nuscenes(done, own.out / "submission.json")
        report = score(experiment, done, detections, own.out)
        if not own.no_report:
            page, head = own.out / "report.html", () if report is None else figures(report)
            write_track_report(page, done.tracks, done.logs, experiment.classes, experiment.name, head, _TEXT)
            print(page)
    return 1 if done.failed else 0


def run_detections(run: Path, paths: Sequence[Path], out: Path, device: str = "cpu") -> Path:
    """A file with a detector's detections on some logs: its run's own, or one made now by its weights, kept in ``out``.

    A file older than the weights is not taken.

    Raises:
        UserError: no run, or weights that do not fit.
    """
    names, weights = {Log.open(path).name for path in paths}, run / WEIGHTS
    made = weights.stat().st_mtime_ns if weights.is_file() else 0
    for file in (run / "detections.arrow", out / "detections.arrow"):
        if file.is_file() and file.stat().st_mtime_ns >= made and names <= set(read_detections(file).logs):
            return file
    found = detect_logs(run, paths, device=device)
    out.mkdir(parents=True, exist_ok=True)
    write_detections(out / "detections.arrow", found)
    return out / "detections.arrow"


def track_logs(
    experiment: TrackExperiment, paths: Sequence[Path], detections: Path, out: Path, again: bool = False
) -> Tracked:
    """Track every log and write ``tracks.arrow``; logs in the folder already are kept as they are, unless ``again``.

    Raises:
        UserError: broken detections, or a folder of something else: of another configuration, other detections.
    """
    found = read_detections(detections)
    tracker = experiment.tracker.build()
    if tracker.class_names != experiment.classes.names:
        what = f"the tracker's classes are {', '.join(tracker.class_names)}, those of `classes` others"
        raise UserError(f"recipe {experiment.name}", what, "name the same classes in the same order in both")
    _claim(experiment, detections, out, again)
    sets, kept, failed = [], [], []
    for path in progress_bar(paths, description="tracking"):
        try:
            log = Log.open(path)
            part = out / PARTS / f"{log.name}.arrow"
            if not part.is_file():
                write_tracks(part, track_log(tracker, log, found, experiment.min_score))
            sets.append(read_tracks(part))
            kept.append(path)
        except UserError as error:
            failed.append(error)
    tracks = join_sets(sets, tracker.class_names)
    write_tracks(out / TRACKS, tracks)
    return Tracked(tracks, tuple(kept), tuple(failed))


def score(experiment: TrackExperiment, done: Tracked, detections: Path, out: Path) -> TrackingReport | None:
    """Score the tracks of the logs that carry labels, print the tables, write ``scores.json``; None without labels."""
    labelled = [path for path in done.logs if Log.open(path).tracks.num_rows]
    if not labelled:
        print("no scores: the logs have no labels")
        return None
    categories = {name for path in labelled for name in Log.open(path).tracks["category"].to_pylist()}
    if not (experiment.classes.labels(sorted(categories)) >= 0).any():
        names = ", ".join(experiment.classes.names)
        print(f"no scores: no label of these logs is of the recipe's classes ({names})")
        return None
    provenance = Provenance((), experiment.hash(), str(detections))
    report = score_tracks(done.tracks, labelled, experiment.classes, provenance=provenance, place=str(out / TRACKS))
    write_scores(out / "scores.json", report.to_dict())
    report.print(Console(width=max(Console().width, 110)))
    return report


def figures(report: TrackingReport) -> list[list[str]]:
    """The page's table: a row a class, of every metric its main figures at the lowest overlap."""
    shown = [(pattern, head) for pattern, head in _SHOWN if pattern.split(".")[0] in report.metrics]
    head = ["class", *(head for _, head in shown)]
    rows = []
    for name in report.class_names:
        values = [report.figures.get(pattern.replace("CLASS", name.lower())) for pattern, _ in shown]
        rows.append([name, *("–" if v is None else f"{v:.3f}" if isinstance(v, float) else f"{v:,}" for v in values)])
    return [head, *rows]


def _claim(experiment: TrackExperiment, detections: Path, out: Path, again: bool) -> None:
    """Make ``out`` the folder of this configuration on these detections, or find that it is already.

    ``again``: whatever tracks our folder held are taken away.
    """
    files = {"detections": detections}
    run = getattr(experiment.tracker, "run", "")  # a learned tracker: its weights are an input too
    if run:
        files["weights"] = Path(run) / WEIGHTS
    inputs = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    known = {CONFIG: experiment.to_json(), INPUTS: json.dumps(inputs, indent=1) + "\n"}
    ours = (out / INPUTS).is_file()
    strange = [p for p in out.iterdir() if p.name != "detections.arrow"] if out.is_dir() else []
    if (out.exists() and not out.is_dir()) or (strange and not ours):
        raise UserError(out, "is not the folder of a tracking run", "name a new folder with --out")
    for name, text in known.items():
        if not again and (out / name).is_file() and (out / name).read_text() != text:
            which = "another configuration" if name == CONFIG else f"other {' or '.join(files)}"
            raise UserError(out / name, f"this folder holds tracks of {which}", "name a new folder, or add --again")
    try:
        (out / PARTS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(out, f"cannot be made ({error.strerror})", "name a folder that you may write to") from error
    if again:
        for old in [*(out / PARTS).glob("*.arrow"), *(out / name for name in (TRACKS, *RESULTS))]:
            old.unlink(missing_ok=True)
    for name in (INPUTS, CONFIG):  # the first one makes it our folder
        write_atomic(out / name, partial(_write, known[name]))


def _write(text: str, path: Path) -> None:
    path.write_text(text)


def log_of_rows(tracks: TrackSet) -> np.ndarray:
    """Number of the log of every row of a set, int64 [rows]; logs count in the order of their first frames."""
    numbers = {name: i for i, name in enumerate(dict.fromkeys(tracks.logs))}
    of_frame = np.array([numbers[name] for name in tracks.logs], dtype=np.int64)
    return np.repeat(of_frame, np.diff(tracks.offsets))


def write_nuscenes(done: Tracked, path: Path) -> None:
    """A submission to nuScenes' tracking benchmark, where all logs are of its shape and a class is one of its seven.

    The benchmark allows so many boxes a frame: the best by score are kept, and a line says how many are not.
    """
    logs = {log.name: log for log in map(Log.open, done.logs)}
    tracks = done.tracks
    label = np.array([TRACKING_NAMES.index(n) if n in TRACKING_NAMES else -1 for n in tracks.class_names])
    if any(log.dataset != NUSCENES for log in logs.values()) or (label < 0).all():
        return
    frame = np.repeat(np.arange(len(tracks.frame_ids)), np.diff(tracks.offsets))
    kept = label[tracks.labels] >= 0
    order = np.lexsort((-tracks.scores, ~kept, frame))  # by frame, then what counts, then by falling score
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - tracks.offsets[frame[order]]
    beyond = int((kept & (rank >= MAX_BOXES_PER_FRAME)).sum())
    if beyond:
        print(f"{path}: {beyond} boxes beyond {MAX_BOXES_PER_FRAME} a frame are left out")
    kept &= rank < MAX_BOXES_PER_FRAME
    frame = frame[kept]
    pairs = np.stack([log_of_rows(tracks), tracks.ids])[:, kept]
    unknown = np.full(int(kept.sum()), UNKNOWN_POINTS)
    boxes = EvalBoxes(
        frame=frame,
        boxes=tracks.boxes[kept],
        velocity_valid=tracks.velocity_valid[kept],
        label=label[tracks.labels[kept]],
        score=tracks.scores[kept],
        attribute=np.full(len(unknown), NO_ATTRIBUTE),
        num_points=unknown,
    )
    tokens = [logs[name].frame_tokens[i] for name, i in zip(tracks.logs, tracks.frame_indices, strict=True)]
    number = np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1)
    write_tracking_submission(path, TrackedBoxes(boxes, number), tokens, TRACKING_NAMES, _META)
