"""SWFormer with cameras (DeepFusion) on Waymo, one frame: five images of 400 x 600, ResNet-34."""

from __future__ import annotations

from dataclasses import replace

from configs.waymo_swformer import data as lidar_data
from drive.boxes.detector import SWFormerConfig
from drive.experiment import Experiment
from drive.features.fusion import DeepFusionConfig
from drive.features.images import ImageNetConfig
from drive.samples.augment.config import AugmentConfig
from drive.samples.config import DataConfig
from drive.samples.images import ImageConfig
from drive.train.config import TrainConfig


def data() -> DataConfig:
    """The published augmentation (spec 1.7) without its frustum drop-out and noise; its rotation is the vehicles'.

    Nothing is pasted: pasted objects have no pixels. Images are scaled by 0.3125 as published.
    """
    augment = AugmentConfig(flip_y=0.0, rotate_probability=0.74, translate_std_m=(0.0, 0.0, 0.35))
    return replace(lidar_data(), augment=augment, images=ImageConfig(size=(400, 600)))


def experiment() -> Experiment:
    """24 epochs at a global batch of 32 (8 GPUs of 4): the budget recipe. The published code trains 60."""
    fusion = DeepFusionConfig(ImageNetConfig(backbone="resnet34", channels=192, out_strides=(4,)))
    return Experiment(
        name="waymo_deepfusion",
        model=replace(SWFormerConfig.waymo("pointnet"), fusion=fusion),
        data=data(),
        train=TrainConfig(epochs=24, precision="bf16-mixed", devices=8),
    )
