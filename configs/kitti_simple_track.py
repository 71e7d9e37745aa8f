"""SimpleTrack on KITTI tracking, for PointRCNN's stored detections."""

from __future__ import annotations

from configs.kitti_ab3dmot import CLASSES, NAMES
from drive.experiment import TrackExperiment
from drive.tracks.simple_track import SimpleTrackConfig


def experiment() -> TrackExperiment:
    """No set is published for KITTI: ours says where its numbers come from."""
    return TrackExperiment(name="kitti_simple_track", tracker=SimpleTrackConfig.kitti(NAMES), classes=CLASSES)
