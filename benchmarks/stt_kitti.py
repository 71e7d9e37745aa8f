"""STT and the baselines on KITTI's 16 tracking sequences with PointRCNN detections, never trained on what is scored.

``python -m benchmarks.stt_kitti LOGS DETECTIONS [--seeds 0 1 2] [--work runs/stt_kitti]`` trains ``configs.kitti_stt``
for every fold (on the sequences of the other folds) and seed, follows the fold's own sequences, and scores the 16
sequences together, a seed at a time. LOGS: ``drive convert kitti_tracking``; DETECTIONS: ``drive convert
ab3dmot_detections``. What is finished lies in --work: the same command goes on where it was stopped. Seconds depend on
what else the machine did. The weights are made of recordings that may not be passed on: they stay in --work.

Scores are AB3DMOT's (``drive.scores.clear_mot_recall``), which choose the threshold of a track's score on the scored
labels, for every tracker alike.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.convert import machine
from drive.boxes.detections import DetectionSet, read_detections
from drive.experiment import Experiment
from drive.logs.store import Log, list_logs
from drive.recipes import load_recipe, load_track_recipe, override
from drive.scores.clear_mot_kitti import KITTI_MOT_CLASSES, KittiMotTruth, kitti_sides, load_kitti_mot, place_in_camera
from drive.scores.clear_mot_recall import evaluate_recall
from drive.stt_run import SttTracking
from drive.tracks.history_data import TrackDataConfig, TrackDataset, log_histories
from drive.tracks.history_samples import Histories, join_histories
from drive.tracks.sequence import TrackSet, join_sets, read_tracks, track_log, write_tracks
from drive.tracks.stt_config import SttConfig, SttLife
from drive.train.folder import WEIGHTS
from drive.train.loop import train
from drive.train.weights import write_atomic

FOLDS = (
    ("0000", "0004", "0009", "0015"),
    ("0001", "0005", "0012", "0020"),
    ("0002", "0008", "0011", "0017"),
    ("0003", "0007", "0014", "0019"),
)
BASELINES = ("kitti_ab3dmot", "kitti_simple_track", "kitti_center_greedy")
IOUS = (0.25, 0.5)
FIGURES = ("mota", "samota", "amota", "motp", "recall", "precision", "fp", "fn", "ids", "frag", "objects")


def fold_of(log: Path) -> int:
    """The fold in which a log is scored."""
    return next(k for k, names in enumerate(FOLDS) if log.name.endswith(names))


def tracked(
    experiment: Experiment, mine: Sequence[Path], histories: dict[Path, Histories], found: DetectionSet, folder: Path
) -> TrackSet:
    """Tracks of the logs ``mine`` by STT that was trained on all others of ``histories``; kept in ``folder``."""
    data, model = experiment.data, experiment.model
    assert isinstance(data, TrackDataConfig)
    assert isinstance(model, SttConfig)
    # Training knows no rules of life: a change of them needs new tracks only.
    life, experiment = model.life, replace(experiment, model=replace(model, life=SttLife()))
    out = folder / "tracks.arrow"
    if not out.is_file():
        others = [log for log in histories if log not in mine]
        data = replace(data, train_logs=tuple(map(str, others)))
        experiment = replace(experiment, data=data)
        joined, names = join_histories([histories[log] for log in others]), [log.name for log in others]
        given = joined, model.history, data, experiment.seed, names
        if not (folder / WEIGHTS).is_file():
            summary = train(experiment, folder, dataset=TrackDataset(*given))
            print(f"{folder.name}: {summary.steps} steps in {summary.seconds:.0f} s", flush=True)
        tracker = SttTracking(str(folder), life).build()
        write_tracks(out, join_sets([track_log(tracker, Log.open(log), found) for log in mine]))
    return read_tracks(out)


def scored(
    tracks: TrackSet, truth: KittiMotTruth, names: Sequence[str] = KITTI_MOT_CLASSES, ious: Sequence[float] = IOUS
) -> dict[str, Any]:
    """Figures by class and IoU."""
    placed, missing = place_in_camera(tracks, truth)
    if missing:
        raise ValueError(f"{len(missing)} frames were not tracked")
    rows = {}
    for name in names:
        sides = kitti_sides(truth.labels, placed, name)
        for iou in ious:
            flat = evaluate_recall(*sides, iou).flat()
            rows[f"{name}.{iou}"] = {key: round(flat[key], 4) for key in FIGURES}
    return rows


def spread(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean, lowest and highest over the seeds."""
    out: dict[str, Any] = {}
    for key in rows[0]:
        for figure in ("mota", "samota", "motp"):
            values = [row[key][figure] for row in rows]
            out[f"{key}.{figure}"] = {"mean": round(float(np.mean(values)), 4), "min": min(values), "max": max(values)}
    return out


def main() -> None:
    """Whatever is missing, then the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", type=Path)
    parser.add_argument("detections", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("runs/stt_kitti"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "stt_kitti.json")
    arguments, words = parser.parse_known_args()
    torch.set_num_threads(1)
    logs, found = sorted(list_logs(arguments.logs)), read_detections(arguments.detections)
    recipe = override(load_recipe("configs.kitti_stt"), words)
    data, model = recipe.data, recipe.model
    assert isinstance(data, TrackDataConfig)
    assert isinstance(model, SttConfig)
    data = replace(data, train_detections=(str(arguments.detections),))
    recipe, histories = replace(recipe, data=data), log_histories(data, logs, model.history)
    by_log = dict(zip(logs, histories, strict=True))
    truth = load_kitti_mot(logs)
    parts = [load_kitti_mot([log for log in logs if fold_of(log) == k]) for k in range(len(FOLDS))]
    result: dict[str, Any] = {
        "benchmark": "stt_kitti",
        "machine": machine(),
        "recipe": "configs.kitti_stt",
        "changed": words,
        "folds": FOLDS,
        "seeds": {},
        "baselines": {},
    }
    if arguments.out.is_file():  # what was tried by hand stays beside what is measured here
        result["attempts"] = json.loads(arguments.out.read_text()).get("attempts", [])
    sets: dict[int, TrackSet] = {}
    for seed in arguments.seeds:
        own = replace(recipe, seed=seed)
        folders = [arguments.work / f"fold{fold}_seed{seed}" for fold in range(len(FOLDS))]
        scored_on = [[log for log in logs if fold_of(log) == fold] for fold in range(len(FOLDS))]
        pairs = zip(scored_on, folders, strict=True)
        sets[seed] = join_sets([tracked(own, mine, by_log, found, folder) for mine, folder in pairs])
    for name in BASELINES:
        kept = arguments.work / f"{name}.arrow"
        if not kept.is_file():
            tracker = load_track_recipe(f"configs.{name}").tracker.build()
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_tracks(kept, join_sets([track_log(tracker, Log.open(log), found) for log in logs]))
        result["baselines"][name] = by_fold(read_tracks(kept), truth, parts)
    for seed in arguments.seeds:
        result["seeds"][str(seed)] = by_fold(sets[seed], truth, parts)
        result["stt"] = spread([row["all"] for row in result["seeds"].values()])
        text = json.dumps(result, indent=1) + "\n"
        write_atomic(arguments.out, partial(_write, text))
        print(seed, {k: v["mota"] for k, v in result["seeds"][str(seed)]["all"].items()}, flush=True)
    for name, row in result["baselines"].items():
        print(name, {k: v["mota"] for k, v in row["all"].items()})
    print("STT", {k: v for k, v in result["stt"].items() if k.endswith("mota")})


def _write(text: str, path: Path) -> None:
    path.write_text(text)


def by_fold(tracks: TrackSet, truth: KittiMotTruth, parts: Sequence[KittiMotTruth]) -> dict[str, Any]:
    """Figures of all sequences, and Car MOTA at 0.25 of every fold."""
    cars = []
    for part in parts:
        frames = [f for f, name in enumerate(tracks.logs) if name in part.log_names]
        cars.append(scored(tracks.select(frames), part, ("car",), (0.25,))["car.0.25"]["mota"])
    return {"all": scored(tracks, truth), "car.0.25.mota by fold": cars}


if __name__ == "__main__":
    main()
