"""A trained detector over the frames of logs: ``drive detect RUN --logs LOGS`` and what other verbs share of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from drive.boxes.detections import DetectionSet, write_detections
from drive.detect import DetectArguments, TrainedDetector, load
from drive.errors import UserError
from drive.logs.store import Log
from drive.samples.config import DataConfig
from drive.samples.frame_dataset import FrameDataset, find_logs
from drive.train.evaluate import detect_dataset

WITHOUT_VELOCITY = ("kitti", "view_of_delft")  # data sets of single frames: nothing there teaches a velocity
_LOOKED_AT = 20  # training logs, to find out which data set taught a detector


def detect_logs(
    detector: TrainedDetector | Path, paths: Sequence[Path], device: str = "cpu", features: bool = False
) -> DetectionSet:
    """Detections in every frame of logs, with a progress bar.

    Args:
        detector: or its run's folder.
        features: also keep what the detector sees at each box (``drive.boxes.box_features``), for trackers.

    Raises:
        UserError: no run, weights that do not fit, a damaged log.
    """
    trained = detector if isinstance(detector, TrainedDetector) else load(detector, device)
    return detect_dataset(
        trained.module,
        FrameDataset.of(trained.data, paths),
        trained.class_names,
        batch_size=trained.data.batch_size,
        device=trained.device,
        precision=trained.precision,
        progress="detecting",
        velocity=measures_velocity(trained.data, paths),
        features=features,
    )


def measures_velocity(data: DataConfig, paths: Sequence[Path]) -> bool:
    """Whether a detector's training logs taught it velocities; where they are gone, they were like ``paths``."""
    try:
        taught = find_logs(data.train_logs, data.train_split)
    except UserError:
        taught = list(paths)
    return any(Log.open(path).dataset not in WITHOUT_VELOCITY for path in taught[:_LOOKED_AT])


def detect_to_file(arguments: DetectArguments) -> None:
    """``drive detect RUN --logs LOGS``: ``detections.arrow`` in its folder."""
    detector = load(arguments.weights, arguments.device, arguments.precision)
    paths = find_logs(arguments.logs, arguments.split)
    found = detect_logs(detector, paths, features=arguments.features)
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "detections.arrow"
    write_detections(file, found)
    print(f"{len(found.scores)} boxes in {len(found.frame_ids)} frames of {len(paths)} logs -> {file}")
    for missing in found.missing_images:
        print(missing.line())
