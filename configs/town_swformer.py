"""A small SWFormer on the synthetic town: trains in minutes on a laptop's CPU."""

from __future__ import annotations

from drive.boxes.detector import SWFormerConfig
from drive.boxes.groups import TOWN_GROUPS
from drive.experiment import Experiment
from drive.features.point_encoder import PointEncoderConfig
from drive.features.swformer import BackboneConfig
from drive.samples.augment.config import AugmentConfig
from drive.samples.classes import NUSCENES_CLASSES
from drive.samples.config import DataConfig
from drive.train.config import TrainConfig
from drive.voxels.grid import GridSpec

CLASSES = NUSCENES_CLASSES.only(("car", "truck", "bus", "bicycle", "pedestrian", "traffic_cone"))
GRID = GridSpec((-51.2, -51.2, -3.0, 51.2, 51.2, 5.0), (0.4, 0.4, 8.0))


def data() -> DataConfig:
    """Single sweeps within the range that nuScenes scores; streets look alike turned and mirrored."""
    return DataConfig(
        train_logs=("runs/demo/logs",),
        val_logs=("runs/demo/logs",),
        train_split="town_train",
        val_split="town_val",
        class_map=CLASSES,
        range_m=GRID.range,
        batch_size=2,
        augment=AugmentConfig(translate_std_m=(0.0, 0.0, 0.1)),
    )


def training(seconds: float) -> TrainConfig:
    """As many steps as ``seconds`` hold; the learning rate is annealed by then whatever the machine."""
    return TrainConfig(
        steps=100_000,
        max_seconds=seconds,
        learning_rate=3e-3,
        weight_decay=0.01,
        ema=0.99,
        warmup=0.2,
        checkpoint_seconds=60.0,
        device="cpu",
    )


def experiment() -> Experiment:
    """64 channels, 0.4 m pillars, PointNet."""
    return Experiment(
        name="town_swformer",
        model=SWFormerConfig(
            classes=CLASSES.names,
            groups=TOWN_GROUPS,
            grid=GRID,
            encoder=PointEncoderConfig("pointnet", hidden=32, scale_xy=51.2),
            backbone=BackboneConfig(channels=64, heads=4, mlp_channels=128, neighbour_mix=True),
            head_channels=64,
        ),
        data=data(),
        train=training(170.0),
    )
