"""STT on the synthetic town's key frames (2 Hz), on what the demo's detector found in its training scenes::

    drive detect runs/demo/pillars --logs runs/demo/logs --split town_train --out runs/demo/seen

A detector is surer of scenes that it has learned than of others; ``make demo-full`` gives STT cross-fitted detections.
"""

from __future__ import annotations

from dataclasses import replace

from configs import nuscenes_stt
from drive.experiment import Experiment
from drive.samples.classes import NUSCENES_CLASSES
from drive.tracks.history import HistoryConfig
from drive.tracks.history_data import TrackDataConfig
from drive.tracks.history_truth import TruthConfig
from drive.tracks.stt_config import SttConfig

NAMES = ("car", "truck", "bus", "pedestrian", "bicycle")  # what moves; traffic cones are not tracked
CLASSES = NUSCENES_CLASSES.only(NAMES)
HISTORY = HistoryConfig(
    length=6, candidates=8, gate_m=(8.0, 8.0, 8.0, 3.0, 5.0), fit_s=1.0, fit_prior_s2=0.02, min_score=0.1
)


def experiment() -> Experiment:
    """As ``nuscenes_stt``; the detector's velocities count, and its detections below 0.1 are left out."""
    base = nuscenes_stt.experiment()
    model = SttConfig(class_names=NAMES, history=HISTORY, width=48, feedforward=96, life=nuscenes_stt.LIFE)
    data = TrackDataConfig(
        train_logs=("runs/demo/logs",),
        train_split="town_train",
        train_detections=("runs/demo/seen/detections.arrow",),
        truth=TruthConfig(CLASSES, near_m=(2.0,) * 5, right_by="distance", right_at=2.0),
        alive_s=(2.1, 0.6),
        frames_per_sample=8,
        batch_size=2,
    )
    return replace(base, name="town_stt", model=model, data=data)
