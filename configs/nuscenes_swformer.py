"""SWFormer at the paper's size on nuScenes: ten sweeps, 0.32 m pillars over +-54.4 m, ten classes."""

from __future__ import annotations

from drive.boxes.detector import SWFormerConfig
from drive.experiment import Experiment
from drive.samples.augment.config import AugmentConfig, PasteConfig
from drive.samples.classes import NUSCENES_CLASSES
from drive.samples.config import DataConfig
from drive.train.config import TrainConfig


def data() -> DataConfig:
    """Few pasted copies a class and class-balanced drawing, as CBGS (arXiv 1908.09492) and OpenPCDet do here."""
    paste = PasteConfig(probability=1.0, fill_up_to=tuple((name, 2) for name in NUSCENES_CLASSES.names))
    return DataConfig(
        train_logs=("data/nuscenes/logs",),
        val_logs=("data/nuscenes/logs",),
        train_split="train",
        val_split="val",
        sweeps=10,
        range_m=(-54.4, -54.4, -3.0, 54.4, 54.4, 5.0),
        batch_size=4,
        workers=4,
        balance=True,
        augment=AugmentConfig(rotate_rad=0.785, paste=paste),
    )


def experiment() -> Experiment:
    """20 epochs over the balanced set."""
    return Experiment(
        name="nuscenes_swformer",
        model=SWFormerConfig.nuscenes("pointnet"),
        data=data(),
        train=TrainConfig(epochs=20, precision="bf16-mixed", devices=8),
    )
