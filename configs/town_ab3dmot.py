"""AB3DMOT on the synthetic town's key frames (2 Hz) with nuScenes' parameters: the town has its shape and classes."""

from __future__ import annotations

from drive.experiment import TrackExperiment
from drive.samples.classes import NUSCENES_CLASSES
from drive.tracks.ab3dmot import Ab3dmotConfig

NAMES = ("car", "truck", "bus", "pedestrian", "bicycle")  # what moves; traffic cones are not tracked
CLASSES = NUSCENES_CLASSES.only(NAMES)


def experiment() -> TrackExperiment:
    """The town's own detectors give up to hundreds of weak boxes a frame: those below 0.1 are left out."""
    return TrackExperiment(name="town_ab3dmot", tracker=Ab3dmotConfig.nuscenes(NAMES), classes=CLASSES, min_score=0.1)
