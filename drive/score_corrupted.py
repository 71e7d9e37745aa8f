"""``drive score RUN --corrupt``: a trained detector on its scoring logs, clean and with failing sensors.

Every score is a file of its own under ``RUN/robustness``, in a folder named by what gave it (weights, configuration,
logs, frames): a command that was killed goes on, and one that asks for more corruptions computes those alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from drive.boxes.camera_detector import CameraConfig
from drive.boxes.detections import DetectionSet
from drive.detect import TrainedDetector, load
from drive.detect_logs import measures_velocity
from drive.errors import UserError
from drive.experiment import Experiment
from drive.logs.schema import MANIFEST
from drive.logs.store import Log
from drive.samples.corrupt.config import CORRUPTIONS, SEED, CorruptConfig
from drive.samples.corrupt.moments import SHIFT_S, TIME_SHIFT, shift_is_recorded
from drive.samples.corrupt.scan import SEVERITIES
from drive.samples.frame_dataset import FrameDataset
from drive.scores.ground_truth import GroundTruth, load_ground_truth
from drive.scores.kitti_report import load_kitti_truth, score_kitti
from drive.scores.report import Provenance, place_detections, score_boxes, versions, write_scores
from drive.scores.robustness import Robustness
from drive.scores.waymo_report import load_waymo_truth, score_waymo
from drive.train.evaluate import detect_dataset
from drive.view.robustness import ROBUSTNESS

FIGURES = {
    "nuscenes": ("NDS", "mAP"),
    "kitti": ("AP 3d moderate",),
    "waymo": ("mAPH.LEVEL_2", "mAP.LEVEL_2"),
}
"""Of each metric, the main one first."""

PUBLISHED = frozenset(name for name, corruption in CORRUPTIONS.items() if corruption.published)


@dataclass(frozen=True)
class CorruptedScoring:
    """What is scored.

    Attributes:
        run: A trained detector's folder.
        logs: With labels.
        metric: "nuscenes", "kitti" or "waymo".
        corruptions: Names.
        severities: Of 1, 2, 3.
        every: Every n-th frame of each log (nuScenes' metric only).
        seed: Of the corruptions.
        device: Torch device.
        untouched_as_one: See `Robustness`.
    """

    run: Path
    logs: tuple[Path, ...]
    metric: str = "nuscenes"
    corruptions: tuple[str, ...] = tuple(CORRUPTIONS)
    severities: tuple[int, ...] = SEVERITIES
    every: int = 1
    seed: int = SEED
    device: str = "cpu"
    untouched_as_one: bool = False

    def __post_init__(self) -> None:
        for name in self.corruptions:
            CorruptConfig(name)  # refuses what is none
        for severity in self.severities:
            CorruptConfig(self.corruptions[0] if self.corruptions else "fog", severity)
        if self.every < 1 or (self.every > 1 and self.metric != "nuscenes"):
            raise UserError("--every", "every n-th frame is for nuScenes' metric, from 1 on", "leave it out")


def corruptions_named(words: Sequence[str]) -> tuple[str, ...]:
    """Corruptions that the command line names: one by one or joined by commas, or all, multicorrupt, ours."""
    groups = {
        "all": tuple(CORRUPTIONS),
        "multicorrupt": tuple(n for n in CORRUPTIONS if n in PUBLISHED),
        "ours": tuple(n for n in CORRUPTIONS if n not in PUBLISHED),
    }
    named = [part for word in words for part in word.split(",") if part]
    chosen = {name for word in named for name in groups.get(word, (word,))}
    unknown = sorted(chosen - set(CORRUPTIONS))
    if unknown:
        raise UserError("--corrupt", f"no corruption {unknown[0]!r}", f"use all, or some of {', '.join(CORRUPTIONS)}")
    return tuple(name for name in CORRUPTIONS if name in chosen)


def score_corrupted(scoring: CorruptedScoring, progress: bool = True) -> Robustness:
    """Score what has no score yet; ``robustness.json`` in the run's folder.

    Raises:
        UserError: no run, damaged logs, a metric that does not fit them.
    """
    detector = load(scoring.run, scoring.device)
    folder = scoring.run / "robustness" / _identity(scoring, detector.experiment)
    folder.mkdir(parents=True, exist_ok=True)
    logs = [Log.open(path) for path in scoring.logs]
    reads = sensors_read(detector.experiment)
    clean = _cell(scoring, detector, None, folder / "clean.json", progress)
    cells: dict[str, dict[int, dict[str, float | None]]] = {}
    untouched: dict[str, str] = {}
    not_recorded: dict[str, dict[int, str]] = {}
    for name in scoring.corruptions:
        touches = CORRUPTIONS[name].touches
        if not set(touches) & reads:
            untouched[name] = f"it touches the {' and the '.join(touches)}, which this detector does not read"
            continue
        for severity in scoring.severities:
            if name == TIME_SHIFT and not any(shift_is_recorded(log, severity) for log in logs):
                why = f"the logs have no images {SHIFT_S[severity - 1]:g} s older"
                not_recorded.setdefault(name, {})[severity] = why
                continue
            config = CorruptConfig(name, severity, scoring.seed)
            file = folder / f"{name}_{severity}.json"
            cells.setdefault(name, {})[severity] = _cell(scoring, detector, config, file, progress)
    return Robustness(
        FIGURES[scoring.metric], clean, cells, untouched, not_recorded, PUBLISHED, scoring.untouched_as_one
    )


def write_robustness(scoring: CorruptedScoring, found: Robustness, baseline: Path | None) -> Robustness | None:
    """``robustness.json`` in the run's folder; the baseline's, with which it is compared.

    Raises:
        UserError: a baseline that was not scored under corruptions, or on other frames.
    """
    about = {"logs": [Log.open(p).name for p in scoring.logs], "every": scoring.every, "corruption_seed": scoring.seed}
    other = None
    if baseline is not None:
        mend = f"run `drive score {baseline} --corrupt` on the same logs first"
        try:
            data = json.loads((baseline / ROBUSTNESS).read_text())
            other = Robustness.of_dict(data, PUBLISHED)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise UserError(baseline / ROBUSTNESS, f"cannot be used as a baseline ({error})", mend) from error
        differs = [key for key, value in about.items() if data.get(key) != value]
        if differs or other.figures != found.figures:
            raise UserError(baseline / ROBUSTNESS, f"was scored with other {', '.join(differs) or 'figures'}", mend)
    out = found.to_dict(other) | about | {"metric": scoring.metric, "versions": versions()}
    experiment = Experiment.read(scoring.run / "config.json")
    out |= {"seeds": [experiment.seed], "config_hash": experiment.hash()}
    out["baseline"] = None if baseline is None else baseline.name
    write_scores(scoring.run / ROBUSTNESS, out)
    return other


def sensors_read(experiment: Experiment) -> set[str]:
    """Of "lidar" and "camera", what a detector looks at."""
    data, out = experiment.data, set()
    if getattr(data, "images", None) is not None:
        out.add("camera")
    radars = getattr(data, "radars", None)
    if not isinstance(experiment.model, CameraConfig) and not (radars is not None and radars.only):
        out.add("lidar")
    return out


def _identity(scoring: CorruptedScoring, experiment: Experiment) -> str:
    """What every score of a folder shares: weights, configuration, frames, random state, metric."""
    digest = hashlib.sha256(experiment.to_json().encode())
    with (scoring.run / "weights.safetensors").open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    for path in scoring.logs:
        digest.update((path / MANIFEST).read_bytes())
    digest.update(json.dumps([scoring.every, scoring.seed, scoring.metric]).encode())
    return digest.hexdigest()[:12]


def _cell(
    scoring: CorruptedScoring, detector: TrainedDetector, config: CorruptConfig | None, file: Path, progress: bool
) -> dict[str, float | None]:
    """The figures of one corruption and severity, from its file where it was scored before."""
    if file.is_file():
        return dict(json.loads(file.read_text())["figures"])
    data = replace(detector.data, corrupt=config, frame_stride=scoring.every)
    name = "clean" if config is None else f"{config.name} {config.severity}"
    found = detect_dataset(
        detector.module,
        FrameDataset.of(data, scoring.logs),
        detector.class_names,
        batch_size=data.batch_size,
        device=detector.device,
        precision=detector.precision,
        progress=name if progress else "",
        velocity=measures_velocity(detector.data, scoring.logs),
    )
    figures, flat = _figures(scoring, detector, found)
    write_scores(file, {"figures": figures, "scores": flat})
    return figures


def _figures(
    scoring: CorruptedScoring, detector: TrainedDetector, found: DetectionSet
) -> tuple[dict[str, float | None], dict[str, Any]]:
    """The main figures, and every one."""
    from drive.runs import score_classes

    classes, names = detector.data.class_map, FIGURES[scoring.metric]
    if scoring.metric == "kitti":
        flat = score_kitti(found, load_kitti_truth(scoring.logs)).flat()
        moderate = [v for k, v in flat.items() if k.endswith(".3d.moderate") and "counts" not in k and v is not None]
        return {names[0]: float(np.mean(moderate)) if moderate else None}, flat
    if scoring.metric == "waymo":
        flat = score_waymo(found, load_waymo_truth(scoring.logs, classes)).flat()
        return {name: flat[name] for name in names}, flat
    truth = load_ground_truth(scoring.logs, score_classes(classes))
    boxes, missing, extra = place_detections(found, truth)
    if scoring.every > 1:
        truth, missing = _looked_at(truth, missing), []
    flat = score_boxes(truth, boxes, missing, extra, Provenance()).flat()
    return {name: flat[name] for name in names}, flat


def _looked_at(truth: GroundTruth, missing: Sequence[str]) -> GroundTruth:
    """Without the labels of frames that were left out."""
    seen = ~np.isin(truth.frames.ids, missing)
    return replace(truth, boxes=truth.boxes.take(seen[truth.boxes.frame]))


def print_robustness(found: Robustness, baseline: Robustness | None, folder: Path) -> None:
    """The table, and where the figures are."""
    console = Console()
    found.print(baseline, console)
    console.print(f"-> {folder / ROBUSTNESS}", highlight=False)
