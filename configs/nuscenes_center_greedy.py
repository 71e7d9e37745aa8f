"""CenterPoint's greedy tracker on nuScenes with its published gates."""

from __future__ import annotations

from configs.nuscenes_ab3dmot import CLASSES, NAMES
from drive.experiment import TrackExperiment
from drive.tracks.center_greedy import CenterGreedyConfig


def experiment() -> TrackExperiment:
    """Made for detections with velocities; AB3DMOT's stored ones have none."""
    return TrackExperiment(name="nuscenes_center_greedy", tracker=CenterGreedyConfig.nuscenes(NAMES), classes=CLASSES)
