"""A trained detector and a tracker as the sensors of simulated drives: what ``drive simulate --sensors RUN`` builds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from drive.boxes.detections import Detections
from drive.detect import Precision, TrainedDetector, load
from drive.detect_logs import measures_velocity
from drive.errors import UserError
from drive.experiment import TrackExperiment
from drive.recipes import load_track_recipe
from drive.rollouts.sensor_loop import Detector, SensorConfig, SensorSuite
from drive.rollouts.sensor_rig import SensorRig
from drive.samples.config import DataConfig
from drive.samples.frame_dataset import find_logs
from drive.samples.sample import FrameSample
from drive.train.evaluate import detect_frames

TRUE = "true"
"""Names the stand-in for a detector: it finds every box that is there. What then goes wrong is the tracker's."""
_BATCH = 4


@dataclass(frozen=True)
class SensorRun:
    """Which detector and which tracker. The same in every process; each builds its own.

    Attributes:
        detector: folder of a detector's run, or "true".
        tracker: a recipe of ``drive track``.
        images: folder for camera images, None = no cameras.
    """

    detector: str
    tracker: str
    config: SensorConfig = field(default_factory=SensorConfig)
    images: Path | None = None
    device: str = "cpu"
    precision: Precision = "32"

    @property
    def renamed(self) -> bool:
        """A planner that is told what sensors perceive is another driver."""
        return True

    def suite(self, rigs: Mapping[str, SensorRig]) -> SensorSuite:
        """The sensors of some logs.

        Raises:
            UserError: no run of a detector, one that wants more than a lidar's sweeps, no recipe of a tracker, or the
                tracker knows none of the detector's classes.
        """
        detector, recipe = _detector(self.detector, self.device, self.precision), _recipe(self.tracker)
        known = {name.lower() for name in recipe.classes.names}
        if not known & {name.lower() for name in detector.class_names}:
            what = f"follows {', '.join(recipe.classes.names)}; the detector finds {', '.join(detector.class_names)}"
            raise UserError(f"--tracker {self.tracker}", what, "name a recipe with the detector's classes")
        return SensorSuite(
            dict(rigs), detector, recipe.tracker.build(), self.config, recipe.min_score, images=self.images
        )


@lru_cache(maxsize=1)
def _detector(run: str, device: str, precision: Precision) -> Detector:
    return TrueBoxes() if run == TRUE else NetworkDetector(load(run, device, precision), run)


@lru_cache(maxsize=1)
def _recipe(name: str) -> TrackExperiment:
    return load_track_recipe(name)


class NetworkDetector:
    """A trained detector on rendered samples, several at a time."""

    def __init__(self, trained: TrainedDetector, run: str) -> None:
        self.trained, self.data, self.class_names = trained, trained.data, trained.class_names
        if self.data.view:
            what = f"this detector sees what camera {self.data.view} sees"
            raise UserError(run, what, "use one that sees all of the lidar's turn")
        if self.data.radars is not None:
            what = "this detector reads radar; in the loop only lidar sweeps are rendered"
            raise UserError(run, what, "use one that was trained without data.radars")
        if self.data.images is not None:
            what = "this detector looks at images; in the loop detectors get lidar sweeps alone"
            raise UserError(run, what, "use one that was trained without data.images")
        try:
            find_logs(self.data.train_logs, self.data.train_split)
            self.measures_velocity = measures_velocity(self.data, ())
        except UserError:  # its logs are gone: they were like those that it drives in, which are the town's
            self.measures_velocity = True

    def __call__(self, samples: Sequence[FrameSample]) -> list[Detections]:
        pairs = detect_frames(
            self.trained.module, list(samples), batch_size=_BATCH, device=self.trained.device,
            precision=self.trained.precision,
        )  # fmt: skip
        return [detections for _, detections in pairs]


class TrueBoxes:
    """Finds the true boxes of everybody in range, certain of each, hidden or not."""

    class_names: tuple[str, ...] = ("car", "pedestrian", "bicycle", "traffic_cone")  # in the order of ACTOR_KINDS
    measures_velocity = True

    def __init__(self, range_m: float = 80.0) -> None:
        self.data = DataConfig(range_m=(-range_m, -range_m, -5.0, range_m, range_m, 10.0))

    def __call__(self, samples: Sequence[FrameSample]) -> list[Detections]:
        found = []
        low, high = np.array(self.data.range_m[:3]), np.array(self.data.range_m[3:])
        for sample in samples:
            near = ((sample.boxes[:, :3] >= low) & (sample.boxes[:, :3] < high)).all(axis=1)
            boxes, labels = torch.from_numpy(sample.boxes[near]), torch.from_numpy(sample.labels[near])
            found.append(Detections(boxes, torch.ones(len(boxes)), labels))
        return found
