"""SimpleTrack on nuScenes' key frames with its published parameters."""

from __future__ import annotations

from configs.nuscenes_ab3dmot import CLASSES, NAMES
from drive.experiment import TrackExperiment
from drive.tracks.simple_track import SimpleTrackConfig


def experiment() -> TrackExperiment:
    """All detections reach the tracker, which knows two stages of scores."""
    return TrackExperiment(name="nuscenes_simple_track", tracker=SimpleTrackConfig.nuscenes(NAMES), classes=CLASSES)
