"""SWFormer with PVTransformer's encoder on a handful of KITTI scans: does it find its own labels again?"""

from __future__ import annotations

from dataclasses import replace

from drive.boxes.detector import SWFormerConfig
from drive.boxes.foreground import ForegroundConfig
from drive.boxes.groups import KITTI_GRID, KITTI_GROUPS
from drive.experiment import Experiment
from drive.features.point_encoder import PointEncoderConfig
from drive.features.swformer import BackboneConfig
from drive.samples.augment.config import NO_AUGMENTATION
from drive.samples.classes import KITTI_CLASSES
from drive.samples.config import DataConfig
from drive.train.config import TrainConfig

# Five cells of 0.32 m reach from a car's side to its middle; the paper's nine cost twice as many tokens.
GROUPS = tuple(replace(group, kernel=min(group.kernel, 5)) for group in KITTI_GROUPS)


def experiment() -> Experiment:
    """64 channels, 0.32 m pillars; no augmentation: this measures memory, not generalisation, and says so."""
    return Experiment(
        name="kitti_pvtransformer",
        model=SWFormerConfig(
            classes=KITTI_CLASSES.names,
            groups=GROUPS,
            grid=KITTI_GRID,
            encoder=PointEncoderConfig("pvt", heads=4, point_mlp=False, scale_xy=70.0),
            backbone=BackboneConfig(channels=64, heads=4, mlp_channels=128, neighbour_mix=True),
            foreground=ForegroundConfig(threshold=0.1, max_kept=512, shape_cue=True),
            head_channels=64,
            head_norm="batch",
        ),
        data=DataConfig(
            train_logs=("runs/real/logs/kitti",),
            val_logs=("runs/real/logs/kitti",),
            allow_overlap=True,
            class_map=KITTI_CLASSES,
            range_m=KITTI_GRID.range,
            view="image_2",
            batch_size=2,
            augment=NO_AUGMENTATION,
        ),
        train=TrainConfig(
            steps=400,
            learning_rate=2e-3,
            weight_decay=0.01,
            ema=0.99,
            warmup=0.15,
            checkpoint_seconds=120.0,
            device="cpu",
        ),
    )
