"""The tracking study on KITTI: every tracker, class and overlap, 16 sequences with PointRCNN detections.

``python -m benchmarks.kitti_tracking LOGS DETECTIONS [--stt FOLDER] [--work runs/kitti_tracking]``. LOGS: ``drive
convert kitti_tracking``; DETECTIONS: ``drive convert ab3dmot_detections``. Keys of the result:

- ``tracking.kitti.<tracker>.<class>.<overlap>.<figure>``: all 16 sequences;
- ``tracking.kitti_val6...``: the 6 of AB3DMOT's 11 validation sequences that are here (0001 0008 0012 0014 0015 0019);
- ``published...``: AB3DMOT's own table on the 11, of its docs/KITTI.md. Its tracker also moves tracks by the ego's
  poses (oxts), which these logs do not have.

Trackers: ab3dmot, simple_track and center_greedy with the parameters of their recipes. Those of AB3DMOT were chosen by
its authors for these detections (on which sequences they do not say); nothing else was chosen on these scores.
``ab3dmot_tuned`` and ``simple_track_tuned`` are the two Kalman trackers with the best of GRIDS for each class,
chosen by MOTA at 0.25 on the sequences of the other three folds (those that STT is trained on) and scored on the fold
itself: what tuning by hand would give with the same knowledge.

STT: ``--stt`` names the --work of ``benchmarks.stt_kitti`` (a folder a fold and seed, each trained on the other folds);
the value is the mean over seeds, ``_min`` and ``_max`` beside it.

All figures but sAMOTA, AMOTA and AMOTP hold at the score threshold where MOTA is best on the scored sequences, for
every tracker alike (AB3DMOT's rule). Speeds are not scored: the sequences come without ego poses.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.convert import machine
from benchmarks.stt_kitti import FOLDS, fold_of
from drive.boxes.detections import DetectionSet, read_detections
from drive.logs.store import Log, list_logs
from drive.recipes import load_track_recipe
from drive.scores.clear_mot_kitti import KITTI_MOT_CLASSES, KittiMotTruth, kitti_sides, load_kitti_mot, place_in_camera
from drive.scores.clear_mot_recall import evaluate_recall
from drive.scores.tracking_report import score_tracks
from drive.tracks.ab3dmot import Ab3dmotConfig
from drive.tracks.sequence import TrackSet, join_sets, read_tracks, track_log, write_tracks
from drive.tracks.simple_track import SimpleTrackConfig
from drive.train.weights import write_atomic

TRACKERS = ("ab3dmot", "simple_track", "center_greedy")
VAL6 = ("0001", "0008", "0012", "0014", "0015", "0019")
PUBLISHED = {  # xinshuoweng/AB3DMOT, docs/KITTI.md: sAMOTA, MOTA, MOTP, IDS, FRAG, FP, FN
    "car.iou025": (93.34, 86.47, 79.40, 0, 15, 368, 766),
    "pedestrian.iou025": (82.73, 73.86, 67.58, 4, 62, 589, 1965),
    "cyclist.iou025": (93.78, 84.79, 77.23, 1, 3, 114, 90),
    "car.iou05": (92.57, 84.81, 79.82, 0, 49, 456, 817),
    "pedestrian.iou05": (77.68, 68.19, 68.55, 2, 132, 888, 2223),
    "cyclist.iou05": (92.05, 83.38, 77.52, 1, 5, 124, 99),
    "car.iou07": (74.96, 62.48, 82.64, 0, 173, 1065, 2079),
}
# AB3DMOT: least detection score (PointRCNN's logit), matches before a report, frames until the end. SimpleTrack: added
# to the least score of its first stage, frames until the end.
GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "ab3dmot": {"min_score": (None, 0.0, 2.0), "min_hits": (1, 3), "max_age": (2, 4)},
    "simple_track": {"more_score": (-1.5, 0.0, 1.5), "max_age": (2, 4)},
}
KEPT = (
    "samota", "amota", "amotp", "mota", "motp", "recall", "precision", "ids", "frag", "fp", "fn", "mt", "ml",
    "threshold", "objects", "hota", "deta", "assa", "loca", "idf1", "clear_mota", "clear_ids",
)  # fmt: skip
SHOWN = ("samota", "amota", "amotp", "mota", "motp", "ids", "frag", "fp", "fn")


def tracks_of(config: Any, min_score: float | None, logs: Sequence[Path], found: DetectionSet, kept: Path) -> TrackSet:
    """A tracker on some logs; kept in a file, so that a stopped study goes on."""
    if not kept.is_file():
        tracker = config.build()
        made = join_sets([track_log(tracker, Log.open(log), found, min_score) for log in logs], tracker.class_names)
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_tracks(kept, made)
    return read_tracks(kept)


def variant(name: str, setting: dict[str, Any]) -> tuple[Any, float | None]:
    """(configuration, least detection score) of one setting of GRIDS."""
    if name == "ab3dmot":
        filtered = Ab3dmotConfig.kitti()
        changed = {"min_hits": setting["min_hits"], "max_age": setting["max_age"]}
        return replace(filtered, classes=tuple(replace(c, **changed) for c in filtered.classes)), setting["min_score"]
    simple = SimpleTrackConfig.kitti()
    more, age = setting["more_score"], setting["max_age"]
    classes = tuple(replace(c, first_score=c.first_score + more, max_age=age) for c in simple.classes)
    return replace(simple, classes=classes), None


def tuned(name: str, logs: Sequence[Path], found: DetectionSet, work: Path) -> tuple[TrackSet, dict[str, Any]]:
    """A Kalman tracker, each class and fold with the best of its grid on the other folds; and what was chosen."""
    parts = [load_kitti_mot([log for log in logs if fold_of(log) == k]) for k in range(len(FOLDS))]
    whole = load_kitti_mot(logs)
    settings = [dict(zip(GRIDS[name], values, strict=True)) for values in itertools.product(*GRIDS[name].values())]
    runs, quality = [], np.full((len(settings), len(FOLDS), len(KITTI_MOT_CLASSES)), -np.inf)
    for number, setting in enumerate(settings):
        kept = work / "grid" / name / ("_".join(map(str, setting.values())) + ".arrow")
        runs.append(tracks_of(*variant(name, setting), logs, found, kept))
        quality[number] = motas_without_fold(runs[-1], whole, [fold_of(log) for log in logs])
        print(f"{name}: setting {number + 1} of {len(settings)}", flush=True)
    best = quality.argmax(axis=0)
    chosen = {
        f"{name}.{kind}.fold{fold}": settings[best[fold, c]]
        for fold in range(len(FOLDS))
        for c, kind in enumerate(KITTI_MOT_CLASSES)
    }
    return join_sets([_merged(runs, best[fold], parts[fold]) for fold in range(len(FOLDS))]), chosen


def motas_without_fold(tracks: TrackSet, truth: KittiMotTruth, folds: Sequence[int]) -> np.ndarray:
    """MOTA at 0.25 [fold, class] on the sequences of all other folds. folds: of each log of the truth."""
    placed = place_in_camera(tracks, truth)[0]
    fold_of_frame = np.array(folds)[truth.log_of]
    out = np.zeros((len(FOLDS), len(KITTI_MOT_CLASSES)))
    for c, name in enumerate(KITTI_MOT_CLASSES):
        sides = kitti_sides(truth.labels, placed, name)
        for fold in range(len(FOLDS)):
            others = [side.take(fold_of_frame[side.frame] != fold) for side in sides]
            out[fold, c] = evaluate_recall(others[0], others[1], 0.25).values["mota"]
    return out


def _merged(runs: Sequence[TrackSet], best: np.ndarray, part: KittiMotTruth) -> TrackSet:
    """Of every class the tracks of its own run, on one fold; ids of different runs are kept apart."""
    sets = []
    for c, number in enumerate(best.tolist()):
        run = runs[number]
        frames = [f for f, log in enumerate(run.logs) if log in part.log_names]
        own = run.select(frames)
        label = [name.lower() for name in own.class_names].index(KITTI_MOT_CLASSES[c])
        sets.append((own, own.labels == label))
    frames = []
    for f in range(len(sets[0][0].frame_ids)):
        pieces = []
        for c, (own, wanted) in enumerate(sets):
            rows = slice(own.offsets[f], own.offsets[f + 1])
            frame = own.frame(f)
            keep = wanted[rows]
            columns = {n: v[keep] for n, v in vars(frame).items() if n != "timestamp_ns"}
            columns["ids"] = columns["ids"] * len(sets) + c
            pieces.append(columns)
        joined = {n: np.concatenate([piece[n] for piece in pieces]) for n in pieces[0]}
        frames.append(type(frame)(frame.timestamp_ns, **joined))
    own = sets[0][0]
    return TrackSet.join(own.class_names, own.frame_ids, own.logs, own.frame_indices, frames)


def rows(name: str, tracks: TrackSet, logs: Sequence[Path]) -> dict[str, Any]:
    """All figures of one set of tracks on all sequences and on VAL6."""
    out: dict[str, Any] = {}
    for data, chosen in (("kitti", logs), ("kitti_val6", [log for log in logs if log.name.endswith(VAL6)])):
        report = score_tracks(tracks, chosen, metrics=("ab3dmot", "clear", "hota"))
        if report.missing_frames:
            raise ValueError(f"{name}: {len(report.missing_frames)} frames were not tracked")
        figures = report.under(f"tracking.{data}.{name}")
        out |= {key: value for key, value in figures.items() if key.rpartition(".")[2] in KEPT}
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in out.items()}


def over_seeds(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means, with the lowest and the highest beside them."""
    out: dict[str, Any] = {}
    for key in found[0]:
        values = [row[key] for row in found]
        if any(value is None for value in values):
            out[key] = None
            continue
        out |= {key: round(float(np.mean(values)), 6), f"{key}_min": min(values), f"{key}_max": max(values)}
    return out


def stt_seeds(folder: Path) -> dict[int, TrackSet]:
    """The tracks of all folds, by seed; a seed that lacks a fold is left out and named."""
    found: dict[int, TrackSet] = {}
    seeds = sorted({int(path.name.rpartition("seed")[2]) for path in folder.glob("fold*_seed*")})
    for seed in seeds:
        files = [folder / f"fold{fold}_seed{seed}" / "tracks.arrow" for fold in range(len(FOLDS))]
        if all(file.is_file() for file in files):
            found[seed] = join_sets([read_tracks(file) for file in files])
        else:
            print(f"seed {seed} lacks a fold: left out")
    return found


def baselines(logs: Sequence[Path], found: DetectionSet, work: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures of all trackers but STT, and the settings that tuning chose."""
    figures: dict[str, Any] = {}
    for name in TRACKERS:
        recipe = load_track_recipe(f"configs.kitti_{name}")
        tracks = tracks_of(recipe.tracker, recipe.min_score, logs, found, work / f"{name}.arrow")
        figures |= rows(name, tracks, logs)
        print_table(figures, name)
    chosen: dict[str, Any] = {}
    for name in GRIDS:
        tracks, settings = tuned(name, logs, found, work)
        chosen |= settings
        figures |= rows(f"{name}_tuned", tracks, logs)
        print_table(figures, f"{name}_tuned")
    return figures, chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path)
    parser.add_argument("detections", type=Path)
    parser.add_argument("--stt", type=Path, help="the --work of benchmarks.stt_kitti")
    parser.add_argument("--add", action="store_true", help="keep the baselines of --out as they are, add STT's rows")
    parser.add_argument("--work", type=Path, default=Path("runs/kitti_tracking"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "kitti_tracking.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.perf_counter()
    logs, found = sorted(list_logs(arguments.logs)), read_detections(arguments.detections)
    if arguments.add:
        before = json.loads(arguments.out.read_text())
        new = ("tracking.kitti.stt.", "tracking.kitti_val6.stt.", "published.")
        figures = {key: value for key, value in before["figures"].items() if not key.startswith(new)}
        chosen = before["tuned"]["chosen"]
    else:
        figures, chosen = baselines(logs, found, arguments.work)
    seeds = stt_seeds(arguments.stt) if arguments.stt else {}
    if seeds:
        figures |= over_seeds([rows("stt", own, logs) for own in seeds.values()])
        print_table(figures, "stt")
    published = {
        f"published.ab3dmot.kitti_val11.{place}.{figure}": value / 100 if i < 3 else value
        for place, values in PUBLISHED.items()
        for i, (figure, value) in enumerate(
            zip(("samota", "mota", "motp", "ids", "frag", "fp", "fn"), values, strict=True)
        )
    }
    result = {
        "benchmark": "kitti_tracking",
        "command": "python -m benchmarks.kitti_tracking LOGS DETECTIONS --stt FOLDER",
        "machine": machine(),
        "sequences": [log.name for log in logs],
        "val6": VAL6,
        "folds": FOLDS,
        "stt_seeds": sorted(seeds),
        "tuned": {"grids": GRIDS, "chosen": chosen},
        "threshold": "of the best MOTA on the scored sequences, by class and overlap, as AB3DMOT's evaluation does",
        "seconds": round(time.perf_counter() - begin, 1),
        "figures": figures | published,
    }
    write_atomic(arguments.out, partial(_write, json.dumps(result, indent=1) + "\n"))


def _write(text: str, path: Path) -> None:
    path.write_text(text)


def print_table(figures: dict[str, Any], name: str) -> None:
    for data in ("kitti", "kitti_val6"):
        for c in KITTI_MOT_CLASSES:
            for overlap in ("iou025", "iou05"):
                key = f"tracking.{data}.{name}.{c}.{overlap}"
                values = [figures[f"{key}.{figure}"] for figure in SHOWN]
                shown = [
                    f"{100 * v:6.2f}" if isinstance(v, float) and i < 5 else f"{v:6g}" for i, v in enumerate(values)
                ]
                print(f"{data:11s} {name:18s} {c:10s} {overlap:6s}", *shown, flush=True)


if __name__ == "__main__":
    main()
