"""SWFormer on the key frames of several data sets at once: three classes that all of them label."""

from __future__ import annotations

from configs import waymo_swformer
from drive.boxes.detector import SWFormerConfig
from drive.experiment import Experiment
from drive.samples.augment.config import AugmentConfig
from drive.samples.classes import MIXED_CLASSES
from drive.samples.config import DataConfig


def data() -> DataConfig:
    """nuScenes, Waymo and Argoverse 2 logs, one sweep; what their boxes mean: ``MIXED_CLASSES``.

    Intensity is scaled by each sensor's own largest value. The ego origins stand at different heights above the ground
    (Argoverse 2's is near z = -0.4 m): the vertical shift of the augmentation covers it.
    """
    return DataConfig(
        train_logs=("data/nuscenes/logs", "data/waymo/logs", "data/av2/logs"),
        val_logs=("data/waymo/logs",),
        train_split="train",
        val_split="val",
        class_map=MIXED_CLASSES,
        batch_size=4,
        workers=4,
        augment=AugmentConfig(translate_std_m=(0.0, 0.0, 0.4)),
    )


def experiment() -> Experiment:
    """Waymo's model and schedule, without copy-paste: objects of one sensor would stand in the sweeps of another."""
    return Experiment(
        name="mixed_swformer",
        model=SWFormerConfig.waymo("pointnet"),
        data=data(),
        train=waymo_swformer.experiment().train,
    )
