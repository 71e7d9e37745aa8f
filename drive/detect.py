"""Boxes in unlabelled scans: three lines of Python, or ``drive detect RUN SCANS``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from rich.progress import track
from torch import nn

from drive.boxes.camera_detector import CameraConfig
from drive.boxes.detections import Detections
from drive.errors import UserError
from drive.experiment import Experiment
from drive.features.images import without_weights
from drive.samples.batch import collate
from drive.samples.config import DataConfig
from drive.samples.sample import FrameSample, empty_sample
from drive.samples.scan_files import FORMATS, ScanFormat, list_scans, read_scan
from drive.scores.eval_boxes import EvalBoxes
from drive.scores.submission import global_boxes, write_submission
from drive.train.weights import load_weights
from drive.view.bev import draw_bev

Precision = Literal["32", "bf16-mixed"]
"""Of the forward pass: float32, or matrix products in bfloat16 (about twice as fast on a CPU that has AVX512-BF16)."""


@dataclass(frozen=True)
class TrainedDetector:
    """A detector with the configuration that it was trained with. Call it with a scan."""

    experiment: Experiment
    module: nn.Module
    device: torch.device
    precision: Precision = "32"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each label."""
        return self.data.class_map.names

    @property
    def data(self) -> DataConfig:
        """What it was trained on."""
        assert isinstance(self.experiment.data, DataConfig)  # `load` refuses others
        return self.experiment.data

    def __call__(self, scan: str | Path | np.ndarray, scan_format: ScanFormat | str = "kitti") -> Detections:
        """Boxes of one scan, in the ego frame, highest score first.

        Args:
            scan: a file, or points float32 [P, 6] in the ego frame (columns of ``drive.samples.sample.POINT_COLUMNS``;
                a detector that reads radar takes [P, 10], columns of RADAR_POINT_COLUMNS).
            scan_format: what a file's numbers mean: a name of ``drive.samples.scan_files.FORMATS`` or a ScanFormat.

        Raises:
            UserError: a scan that cannot be read, a detector of cameras alone.
        """
        self.check_reads_scans()
        if not isinstance(scan, np.ndarray):
            known = FORMATS[scan_format] if isinstance(scan_format, str) else scan_format
            scan = read_scan(Path(scan), known)
        low, high = np.array(self.data.range_m[:3]), np.array(self.data.range_m[3:])
        inside = ((scan[:, :3] >= low) & (scan[:, :3] < high)).all(axis=1)
        sample = _sample(np.ascontiguousarray(scan[inside], dtype=np.float32))
        batch = collate([sample]).to(self.device)
        narrow = self.precision == "bf16-mixed"
        with torch.inference_mode():
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=narrow):
                output = self.module(batch)
            (found,) = self.module.decode(output)  # type: ignore[operator]
        return Detections(found.boxes.float(), found.scores.float(), found.labels)

    def check_reads_scans(self) -> None:
        """UserError where the detector looks at cameras alone."""
        if isinstance(self.experiment.model, CameraConfig):
            what = "a detector of cameras alone sees nothing in lidar scans"
            raise UserError(self.experiment.name, what, "give it logs, which have images: drive detect RUN --logs LOGS")


def _sample(points: np.ndarray) -> FrameSample:
    blank = empty_sample("scan")
    return FrameSample(points, blank.boxes, blank.labels, blank.velocity_valid, blank.num_points, blank.frame_id)


def sensors_used(detector: TrainedDetector) -> dict[str, bool]:
    """A submission's declaration of what was looked at, as nuScenes asks for it."""
    data = detector.data
    radar = data.radars is not None
    lidar = data.radars is None or not data.radars.only
    lidar = lidar and not isinstance(detector.experiment.model, CameraConfig)
    camera = data.images is not None
    return {
        "use_camera": camera, "use_lidar": lidar, "use_radar": radar, "use_map": False, "use_external": False,
    }  # fmt: skip


def load(run: str | Path, device: str = "cpu", precision: Precision = "32") -> TrainedDetector:
    """The detector of a run's folder (``config.json`` and ``weights.safetensors``), ready for inference.

    Raises:
        UserError: the folder is not a run, or its weights do not fit its configuration.
    """
    folder = Path(run)
    folder = folder.parent if folder.is_file() else folder
    experiment = Experiment.read(folder / "config.json")
    if not isinstance(experiment.data, DataConfig):
        raise UserError(folder, "a run of a tracker, which needs boxes", "name a detector's run, or use `drive track`")
    module = without_weights(experiment.model).build()
    load_weights(module, folder / "weights.safetensors")
    return TrainedDetector(experiment, module.eval().to(device), torch.device(device), precision)


@dataclass(frozen=True)
class DetectArguments:
    """Detect objects in a folder of scans (boxes as JSON and pictures), or in logs (detections.arrow, for trackers)."""

    weights: Annotated[Path, tyro.conf.Positional]
    """A run's folder, or the weights.safetensors in it."""
    scans: Annotated[Path | None, tyro.conf.Positional] = None
    """A scan (.bin .pcd .npy .feather) or a folder of them."""
    logs: tuple[Path, ...] = ()
    """Converted logs instead of scans: their detections go to detections.arrow."""
    split: str = ""
    """Only the logs of this split."""
    features: bool = False
    """With --logs: also what the detector saw at each box, for trackers that look at it."""
    out: Path = Path("runs/detect")
    """Folder for boxes.json, submission.json and the pictures, or for detections.arrow."""
    format: Literal["kitti", "nuscenes", "av2", "waymo"] = "kitti"
    """What the scans' numbers mean: columns of .bin files, intensity range, mounting."""
    min_score: float = 0.3
    """Boxes below it are not drawn (all are written)."""
    pictures: bool = True
    """Draw each scan from above."""
    device: str = "cpu"
    """Torch device."""
    precision: Precision = "32"
    """Of the forward pass; bf16-mixed takes matrix products in bfloat16, faster where the processor has them."""


def detect_command(argv: Sequence[str]) -> int:
    """``drive detect``. A scan that cannot be read is listed and makes the exit status 1; the others are done."""
    arguments = tyro.cli(DetectArguments, args=list(argv), prog="drive detect")
    if (arguments.scans is None) == (not arguments.logs):
        raise UserError("drive detect", "it looks at scans or at logs", "name one of both: SCANS, or --logs LOGS")
    if arguments.scans is None:
        from drive.detect_logs import detect_to_file  # it loads the data set's readers

        detect_to_file(arguments)
        return 0
    detector = load(arguments.weights, arguments.device, arguments.precision)
    detector.check_reads_scans()
    if detector.data.images is not None:
        print("note: scans come without images, so this detector sees the lidar alone; --logs gives it both")
    scans = list_scans(arguments.scans)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[dict[str, object]]] = {}
    placed: list[EvalBoxes] = []
    failed: list[UserError] = []
    for path in track(scans, description="detecting"):
        try:
            points = read_scan(path, FORMATS[arguments.format])
        except UserError as error:
            failed.append(error)
            continue
        boxes, scores, labels = detector(points).numpy()
        placed.append(global_boxes(len(results), boxes, scores, labels, detector.class_names, np.eye(4)))
        results[path.name] = [
            {
                "class": detector.class_names[label],
                "score": round(float(score), 4),
                "center_m": [round(float(v), 3) for v in box[:3]],
                "size_lwh_m": [round(float(v), 3) for v in box[3:6]],
                "yaw_rad": round(float(box[6]), 4),
                "velocity_mps": [round(float(v), 3) for v in box[7:9]],
            }
            for box, score, label in zip(boxes, scores, labels, strict=True)
        ]
        if arguments.pictures:
            shown = scores >= arguments.min_score
            picture = draw_bev(
                points,
                predictions=boxes[shown],
                scores=scores[shown],
                labels=labels[shown],
                class_names=detector.class_names,
                title=path.name,
            )
            picture.save(arguments.out / f"{path.name}.png")
    (arguments.out / "boxes.json").write_text(json.dumps({"frame": "ego", "scans": results}, indent=1) + "\n")
    meta, found = sensors_used(detector), EvalBoxes.concatenate(placed)
    write_submission(arguments.out / "submission.json", found, list(results), detector.class_names, meta)
    total = sum(len(boxes) for boxes in results.values())
    print(f"{total} boxes in {len(results)} scans -> {arguments.out}/boxes.json")
    for failure in failed:
        print(f"failed: {failure}")
    return 1 if failed else 0
