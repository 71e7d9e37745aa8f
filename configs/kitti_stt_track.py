"""A trained ``kitti_stt`` as a tracker: ``drive track configs.kitti_stt_track --tracker.run RUN``."""

from __future__ import annotations

from configs.kitti_stt import CLASSES
from drive.experiment import TrackExperiment
from drive.stt_run import SttTracking


def experiment() -> TrackExperiment:
    """With the weights of the run that ``drive train configs.kitti_stt`` writes."""
    return TrackExperiment(name="kitti_stt_track", tracker=SttTracking("runs/kitti_stt"), classes=CLASSES)
