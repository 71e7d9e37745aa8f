"""SimpleTrack on the synthetic town's key frames, with nuScenes' parameters."""

from __future__ import annotations

from configs.town_ab3dmot import CLASSES, NAMES
from drive.experiment import TrackExperiment
from drive.tracks.simple_track import SimpleTrackConfig


def experiment() -> TrackExperiment:
    """Detections below 0.1 are left out, as in ``town_ab3dmot``."""
    return TrackExperiment(
        name="town_simple_track", tracker=SimpleTrackConfig.nuscenes(NAMES), classes=CLASSES, min_score=0.1
    )
