"""DiffusionDrive on sensors at the published size (NAVSIM): two ResNet-34, 1024 x 256 pixels, 256 x 256 lidar cells.

60 million parameters: for a GPU. NAVSIM's own recordings are not converted here; name logs with cameras that look left,
ahead and right, a lidar and a map (nuScenes, Argoverse 2). As published but for: anchors' ranges are those of the
training drives, images start from random weights unless ``--model.trunk.transfuser.pretrained True`` can fetch them.
"""

from __future__ import annotations

from drive.experiment import Experiment
from drive.plans.diffusion import DiffusionConfig
from drive.plans.learned import PlannerConfig
from drive.plans.trunk_sensor import SensorTrunkConfig
from drive.samples.plan_sample import PlanFeatures
from drive.samples.plan_sample_data import PlanDataConfig
from drive.samples.plan_sample_sensors import PlanSensors
from drive.train.config import TrainConfig


def experiment() -> Experiment:
    """100 epochs of 512, AdamW 6e-4, weight decay 1e-4, three epochs of warm-up, then cosine (spec 1.9)."""
    return Experiment(
        name="diffusion_sensors",
        model=PlannerConfig(trunk=SensorTrunkConfig(), head=DiffusionConfig(span=None)),
        data=PlanDataConfig(
            train_logs=("runs/logs/train",),
            val_logs=("runs/logs/val",),
            features=PlanFeatures(most_actors=64, sensors=PlanSensors()),
            batch_size=64,
            workers=8,
        ),
        train=TrainConfig(
            epochs=100,
            learning_rate=6e-4,
            weight_decay=1e-4,
            schedule="cosine",
            warmup=0.03,
            clip_norm=0.0,
            accumulate=8,
            ema=0.0,
            precision="bf16-mixed",
        ),
    )
