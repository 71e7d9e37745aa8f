"""AB3DMOT with its published parameters on KITTI tracking, for PointRCNN's stored detections."""

from __future__ import annotations

from drive.experiment import TrackExperiment
from drive.samples.classes import ClassMap
from drive.tracks.ab3dmot import Ab3dmotConfig

NAMES = ("Car", "Pedestrian", "Cyclist")
# Only the three that the benchmark scores; the neighbours (Van, Person) are the score's own affair.
CLASSES = ClassMap(names=NAMES, from_source={name: name for name in NAMES})


def experiment() -> TrackExperiment:
    """All detections reach the tracker: what is a good score is the evaluation's question."""
    return TrackExperiment(name="kitti_ab3dmot", tracker=Ab3dmotConfig.kitti(NAMES), classes=CLASSES)
