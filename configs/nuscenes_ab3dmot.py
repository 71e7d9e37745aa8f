"""AB3DMOT on nuScenes with the parameters published for CenterPoint's detections."""

from __future__ import annotations

from drive.experiment import TrackExperiment
from drive.samples.classes import NUSCENES_CLASSES
from drive.tracks.ab3dmot import Ab3dmotConfig

# The seven classes of nuScenes' tracking benchmark, in its order.
NAMES = ("bicycle", "bus", "car", "motorcycle", "pedestrian", "trailer", "truck")
CLASSES = NUSCENES_CLASSES.only(NAMES)


def experiment() -> TrackExperiment:
    """MEGVII's detections have a set of their own: ``Ab3dmotConfig.nuscenes(NAMES, "megvii")``."""
    return TrackExperiment(name="nuscenes_ab3dmot", tracker=Ab3dmotConfig.nuscenes(NAMES), classes=CLASSES)
