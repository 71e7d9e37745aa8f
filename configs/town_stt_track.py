"""A trained ``town_stt`` as a tracker: ``drive track configs.town_stt_track --tracker.run RUN``."""

from __future__ import annotations

from configs.town_stt import CLASSES
from drive.experiment import TrackExperiment
from drive.stt_run import SttTracking


def experiment() -> TrackExperiment:
    """With the weights of the run that ``drive train configs.town_stt`` writes."""
    return TrackExperiment(name="town_stt_track", tracker=SttTracking("runs/town_stt"), classes=CLASSES)
