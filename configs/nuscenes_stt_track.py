"""A trained ``nuscenes_stt`` as a tracker: ``drive track configs.nuscenes_stt_track --tracker.run RUN``."""

from __future__ import annotations

from configs.nuscenes_stt import CLASSES
from drive.experiment import TrackExperiment
from drive.stt_run import SttTracking


def experiment() -> TrackExperiment:
    """With the weights of the run that ``drive train configs.nuscenes_stt`` writes."""
    return TrackExperiment(name="nuscenes_stt_track", tracker=SttTracking("runs/nuscenes_stt"), classes=CLASSES)
