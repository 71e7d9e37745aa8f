"""STT on KITTI tracking with PointRCNN's stored detections (10 Hz; no ego poses there, so velocities are relative)."""

from __future__ import annotations

from drive.experiment import Experiment
from drive.samples.classes import ClassMap
from drive.tracks.history import HistoryConfig
from drive.tracks.history_data import TrackDataConfig
from drive.tracks.history_truth import TruthConfig
from drive.tracks.stt_config import SttConfig, SttLife
from drive.train.config import TrainConfig

NAMES = ("Car", "Pedestrian", "Cyclist")
# Vans and sitting persons are in no class: what is detected on them is neither right nor wrong, as in KITTI's score.
CLASSES = ClassMap(names=NAMES, from_source={name: name for name in NAMES})
HISTORY = HistoryConfig(length=8, candidates=16, gate_m=(5.0, 2.5, 3.5), fit_s=0.3, scores="logit", min_score=0.0)
# A false box that is small or in an unlabelled region costs nothing in KITTI's score, so that less belief is needed.
LIFE = SttLife(
    birth=0.03,
    report=0.05,
    report_new=0.1,
    report_unseen=0.7,
    match=0.05,
    max_unseen_s=0.5,
    no_match=0.1,
    detector_share=0.5,
    correct_boxes=False,
)


def experiment() -> Experiment:
    """48 channels: 0.1 million parameters, half a minute on one core."""
    return Experiment(
        name="kitti_stt",
        model=SttConfig(
            class_names=NAMES,
            history=HISTORY,
            width=48,
            feedforward=96,
            life=LIFE,
        ),
        data=TrackDataConfig(
            train_logs=("runs/real/logs/kitti_tracking",),
            train_detections=("runs/real/detections/kitti_pointrcnn.arrow",),
            truth=TruthConfig(CLASSES, near_m=(2.0, 1.0, 1.5), right_by="iou3d", right_at=0.25),
            alive_s=(0.6, 0.1),
            frames_per_sample=16,
            batch_size=4,
        ),
        train=TrainConfig(
            steps=200,
            learning_rate=3e-3,
            weight_decay=0.02,
            ema=0.99,
            warmup=0.1,
            clip_norm=5.0,
            device="cpu",
            log_every=20,
            checkpoint_seconds=120.0,
        ),
    )
