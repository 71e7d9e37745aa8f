"""STT on nuScenes' key frames (2 Hz), on stored detections that have no velocity (AB3DMOT's text form)."""

from __future__ import annotations

from drive.experiment import Experiment
from drive.samples.classes import NUSCENES_CLASSES
from drive.tracks.history import HistoryConfig
from drive.tracks.history_data import TrackDataConfig
from drive.tracks.history_truth import TruthConfig
from drive.tracks.stt_config import SttConfig, SttLife
from drive.train.config import TrainConfig

# The seven classes of nuScenes' tracking benchmark, in its order.
NAMES = ("bicycle", "bus", "car", "motorcycle", "pedestrian", "trailer", "truck")
CLASSES = NUSCENES_CLASSES.only(NAMES)
HISTORY = HistoryConfig(length=6, candidates=8, gate_m=(5.0, 8.0, 8.0, 8.0, 3.0, 8.0, 8.0), fit_s=1.0)
LIFE = SttLife(
    birth=0.01,
    report=0.01,
    report_new=0.01,
    report_unseen=0.3,
    match=0.05,
    no_match=0.1,
    max_unseen_s=1.5,
    forget=0.005,
    max_gap_s=3.0,
    detector_share=0.5,
    correct_boxes=False,
)


def experiment() -> Experiment:
    """48 channels. Reported from a low belief on: AMOTA counts recall, and sorts tracks by their score."""
    return Experiment(
        name="nuscenes_stt",
        model=SttConfig(class_names=NAMES, history=HISTORY, width=48, feedforward=96, life=LIFE),
        data=TrackDataConfig(
            train_logs=("runs/real/logs/nuscenes",),
            train_detections=("runs/real/detections/nuscenes_centerpoint.arrow",),
            truth=TruthConfig(CLASSES, near_m=(2.0,) * 7, right_by="distance", right_at=2.0),
            alive_s=(2.1, 0.6),
            frames_per_sample=4,
            batch_size=1,
        ),
        train=TrainConfig(
            steps=100,
            learning_rate=3e-3,
            weight_decay=0.05,
            ema=0.99,
            clip_norm=5.0,
            device="cpu",
            checkpoint_seconds=60.0,
        ),
    )
