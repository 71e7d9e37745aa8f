"""CenterPoint's greedy tracker on KITTI tracking, for PointRCNN's stored detections."""

from __future__ import annotations

from configs.kitti_ab3dmot import CLASSES, NAMES
from drive.experiment import TrackExperiment
from drive.tracks.center_greedy import CenterGreedyConfig


def experiment() -> TrackExperiment:
    """PointRCNN measures no velocity: the gates are wide, and the tracker goes by its own estimate."""
    return TrackExperiment(name="kitti_center_greedy", tracker=CenterGreedyConfig.kitti(NAMES), classes=CLASSES)
