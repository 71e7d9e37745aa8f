"""SWFormer with cameras (DeepFusion) on nuScenes: ten sweeps, six images of 256 x 704, ResNet-34."""

from __future__ import annotations

from dataclasses import replace

from configs.nuscenes_swformer import data as lidar_data
from drive.boxes.detector import SWFormerConfig
from drive.experiment import Experiment
from drive.features.fusion import DeepFusionConfig
from drive.features.images import ImageNetConfig
from drive.samples.augment.config import PasteConfig
from drive.samples.config import DataConfig
from drive.samples.images import ImageConfig
from drive.train.config import TrainConfig


def data() -> DataConfig:
    """Nothing is pasted: pasted objects have no pixels. Images vary as BEVFusion's do (arXiv 2205.13542)."""
    base = lidar_data()
    images = ImageConfig(size=(256, 704), resize=(0.86, 1.25), flip=0.5, rotate_deg=5.4)
    return replace(base, augment=replace(base.augment, paste=PasteConfig()), images=images)


def experiment() -> Experiment:
    """20 epochs over the balanced set."""
    fusion = DeepFusionConfig(ImageNetConfig(backbone="resnet34", channels=128, out_strides=(8,)))
    return Experiment(
        name="nuscenes_deepfusion",
        model=replace(SWFormerConfig.nuscenes("pointnet"), fusion=fusion),
        data=data(),
        train=TrainConfig(epochs=20, precision="bf16-mixed", devices=8),
    )
