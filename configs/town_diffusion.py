"""DiffusionDrive, small, on the synthetic town, seeing objects and the map: trains in minutes on a laptop's CPU."""

from __future__ import annotations

from drive.experiment import Experiment
from drive.plans.diffusion import DiffusionConfig
from drive.plans.learned import PlannerConfig
from drive.plans.trunk_object import ObjectTrunkConfig
from drive.samples.plan_sample import PlanFeatures
from drive.samples.plan_sample_data import PlanDataConfig
from drive.samples.plan_sample_raster import RasterGrid
from drive.train.config import TrainConfig

CHANNELS = 64
RASTER = RasterGrid(cell_m=1.0)


def trunk() -> ObjectTrunkConfig:
    """64 channels, a map of 2 m cells."""
    return ObjectTrunkConfig(
        channels=CHANNELS, layers=2, heads=4, ffn=128, dropout=0.0, map_channels=(32, 48, 64), raster=RASTER
    )


def data() -> PlanDataConfig:
    """Two decisions a second."""
    return PlanDataConfig(
        train_logs=("runs/demo/logs",),
        val_logs=("runs/demo/logs",),
        train_split="town_train",
        val_split="town_val",
        features=PlanFeatures(raster=RASTER, most_actors=24, most_lines=48),
        batch_size=16,
    )


def training(seconds: float = 300.0) -> TrainConfig:
    """As many steps as ``seconds`` hold; the learning rate is annealed by then whatever the machine."""
    return TrainConfig(
        steps=100_000,
        max_seconds=seconds,
        learning_rate=2e-3,
        weight_decay=1e-2,
        ema=0.99,
        warmup=0.1,
        clip_norm=25.0,
        checkpoint_seconds=60.0,
        device="cpu",
    )


def experiment() -> Experiment:
    """20 anchors of 4 s by k-means over the training drives; ranges from their percentiles.

    Trained up to level 11, not 49: inference starts at 8, and in minutes a network does not learn to take off more. It
    starts from the anchors themselves for the same reason (after 250 steps the positive mode's L1 on the training
    decisions was 0.33 m without noise, 0.58 m with noise of level 8).
    """
    return Experiment(
        name="town_diffusion",
        model=PlannerConfig(
            trunk=trunk(),
            head=DiffusionConfig(
                channels=CHANNELS, heads=4, ffn=256, dropout=0.0, span=None, train_levels=12, noise=False
            ),
        ),
        data=data(),
        train=training(),
    )
