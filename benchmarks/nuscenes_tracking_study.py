"""The tracking study on nuScenes' mini scenes with stored detections: AMOTA by the devkit's definition, and speeds.

``python -m benchmarks.nuscenes_tracking_study LOGS DETECTOR=DETECTIONS ... [--stt DETECTOR=FOLDER ...]``. LOGS: ``drive
convert scenarionet``; DETECTIONS: ``drive convert ab3dmot_detections --detector centerpoint`` (scenes 0103, 0553, 0796)
or ``megvii`` (7 scenes). Keys: ``tracking.nuscenes_<detector>.<tracker>.<class or mean>.<figure>``, S-MOTA and MOTPS
(a definition of this project, with its thresholds in the names, never to be compared with STT's paper) as
``...<class>.state.<figure>``.

What to know of the numbers: labels are ScenarioNet's, resampled to 10 Hz and taken at the frames nearest to the
detections' key frames (``data_tools.kitti_tracking.key_frames``), without lidar point counts, so that objects that no
point hit are wanted too; a handful of scenes says little about classes with one or two objects. Among trackers on the
same detections the comparison is fair. AB3DMOT runs with the parameters published for each detector; SimpleTrack and
CenterPoint's tracker with theirs for nuScenes. Nothing was chosen on these scenes.

STT: a folder ``fold*_seed*`` a fold of scenes and seed, trained on the other scenes, each with its ``tracks.arrow``;
the value is the mean over the seeds, ``_min`` and ``_max`` beside it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.convert import machine
from benchmarks.kitti_tracking import over_seeds
from drive.boxes.detections import DetectionSet, read_detections
from drive.logs.store import Log, list_logs
from drive.recipes import load_track_recipe
from drive.samples.classes import ClassMap
from drive.scores.tracking_report import score_tracks
from drive.tracks.ab3dmot import Ab3dmotConfig
from drive.tracks.sequence import TrackSet, join_sets, read_tracks, track_log
from drive.train.weights import write_atomic

TRACKERS = ("ab3dmot", "simple_track", "center_greedy")
SHOWN = ("amota", "amotp", "recall", "mota", "motp", "ids", "frag", "fp", "fn")


def baseline(name: str, detector: str, logs: Sequence[Path], found: DetectionSet) -> tuple[TrackSet, ClassMap]:
    """A baseline on all scenes."""
    recipe = load_track_recipe(f"configs.nuscenes_{name}")
    if isinstance(recipe.tracker, Ab3dmotConfig) and detector == "megvii":
        recipe = replace(recipe, tracker=Ab3dmotConfig.nuscenes(recipe.classes.names, "megvii"))
    tracker = recipe.tracker.build()
    return join_sets([track_log(tracker, Log.open(log), found, recipe.min_score) for log in logs]), recipe.classes


def rows(prefix: str, tracks: TrackSet, logs: Sequence[Path], classes: ClassMap) -> dict[str, Any]:
    """nuScenes' figures and those of the state, under a prefix."""
    report = score_tracks(tracks, logs, classes, ("nuscenes", "state"))
    if report.missing_frames:
        raise ValueError(f"{prefix}: {len(report.missing_frames)} frames were not tracked")
    out: dict[str, Any] = {}
    for key, value in report.figures.items():
        metric, name, rest = key.split(".", 2)
        if ".speed" in rest:  # bands of speed: drive score prints them, a few objects fill them here
            continue
        rounded = round(value, 6) if isinstance(value, float) else value
        out[f"{prefix}.{name}.{rest}" if metric == "nuscenes" else f"{prefix}.{name}.state.{rest}"] = rounded
    return out


def seeds_of(folder: Path, logs: Sequence[Path]) -> dict[int, TrackSet]:
    """Tracks of all scenes by seed; a seed that lacks a scene is left out and named."""
    found: dict[int, TrackSet] = {}
    for seed in sorted({int(path.name.rpartition("seed")[2]) for path in folder.glob("fold*_seed*")}):
        files = sorted(folder.glob(f"fold*_seed{seed}/tracks.arrow"))
        tracks = join_sets([read_tracks(file) for file in files])
        lacking = [log.name for log in logs if log.name not in set(tracks.logs)]
        if lacking:
            print(f"seed {seed} lacks {', '.join(lacking)}: left out")
        else:
            found[seed] = tracks
    return found


def show(figures: dict[str, Any], prefix: str) -> None:
    values = [figures[f"{prefix}.mean.{figure}"] for figure in SHOWN]
    cars = [figures.get(f"{prefix}.car.{figure}") for figure in ("amota", "state.iou025.motps.velocity")]
    print(prefix, *(f"{name} {value:.4g}" for name, value in zip(SHOWN, values, strict=True) if value is not None))
    print(" " * len(prefix), "car: AMOTA, mean speed error", *cars, flush=True)


def named(words: Sequence[str]) -> dict[str, Path]:
    return {name: Path(path) for name, _, path in (word.partition("=") for word in words)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path)
    parser.add_argument("detections", nargs="+", help="DETECTOR=FILE")
    parser.add_argument("--stt", nargs="*", default=[], help="DETECTOR=FOLDER")
    default = Path(__file__).parent / "results" / "nuscenes_tracking_study.json"
    parser.add_argument("--out", type=Path, default=default)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    stt, figures, scenes, seeds = named(arguments.stt), {}, {}, {}
    for detector, file in named(arguments.detections).items():
        found = read_detections(file)
        logs = [log for log in sorted(list_logs(arguments.logs)) if log.name in set(found.logs)]
        scenes[detector] = [log.name for log in logs]
        for name in TRACKERS:
            tracks, classes = baseline(name, detector, logs, found)
            prefix = f"tracking.nuscenes_{detector}.{name}"
            figures |= rows(prefix, tracks, logs, classes)
            show(figures, prefix)
        by_seed = seeds_of(stt[detector], logs) if detector in stt else {}
        seeds[detector] = sorted(by_seed)
        if by_seed:
            prefix = f"tracking.nuscenes_{detector}.stt"
            figures |= over_seeds([rows(prefix, own, logs, classes) for own in by_seed.values()])
            show(figures, prefix)
    result = {
        "benchmark": "nuscenes_tracking_study",
        "command": "python -m benchmarks.nuscenes_tracking_study LOGS DETECTOR=FILE ... [--stt DETECTOR=FOLDER ...]",
        "machine": machine(),
        "scenes": scenes,
        "stt_seeds": seeds,
        "figures": figures,
    }
    write_atomic(arguments.out, partial(_write, json.dumps(result, indent=1) + "\n"))


def _write(text: str, path: Path) -> None:
    path.write_text(text)


if __name__ == "__main__":
    main()
