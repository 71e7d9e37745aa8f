"""CenterPoint's greedy tracker on the synthetic town's key frames, with nuScenes' gates."""

from __future__ import annotations

from configs.town_ab3dmot import CLASSES, NAMES
from drive.experiment import TrackExperiment
from drive.tracks.center_greedy import CenterGreedyConfig


def experiment() -> TrackExperiment:
    """Detections below 0.1 are left out, as in ``town_ab3dmot``; their velocities count."""
    return TrackExperiment(
        name="town_center_greedy", tracker=CenterGreedyConfig.nuscenes(NAMES), classes=CLASSES, min_score=0.1
    )
