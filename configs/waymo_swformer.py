"""SWFormer at the paper's size on Waymo, one frame: 0.32 m pillars over +-74.88 m, three classes."""

from __future__ import annotations

from drive.boxes.detector import SWFormerConfig
from drive.experiment import Experiment
from drive.samples.augment.config import AugmentConfig, PasteConfig
from drive.samples.classes import WAYMO_CLASSES
from drive.samples.config import DataConfig
from drive.train.config import TrainConfig


def data(sweeps: int = 1) -> DataConfig:
    """Waymo logs with the tuned reference augmentation of ``specs`` 1.10 and copy-paste of 15 / 10 / 10 objects."""
    paste = PasteConfig(probability=1.0, fill_up_to=(("vehicle", 15), ("pedestrian", 10), ("cyclist", 10)))
    return DataConfig(
        train_logs=("data/waymo/logs",),
        val_logs=("data/waymo/logs",),
        train_split="train",
        val_split="val",
        class_map=WAYMO_CLASSES,
        sweeps=sweeps,
        batch_size=4,
        workers=4,
        augment=AugmentConfig(translate_std_m=(0.0, 0.0, 0.2), paste=paste),
    )


def experiment() -> Experiment:
    """24 epochs at a global batch of 32 (8 GPUs of 4): the budget recipe. The paper trains 128 epochs [recall]."""
    return Experiment(
        name="waymo_swformer",
        model=SWFormerConfig.waymo("pointnet"),
        data=data(),
        train=TrainConfig(epochs=24, precision="bf16-mixed", devices=8),
    )
