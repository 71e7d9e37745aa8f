"""DiffusionDrive on sensors, small: three cameras and lidar of the synthetic town to plans, minutes on a CPU.

The logs: those of ``make demo-full`` (``python -m data_tools.town`` with cameras, converted). It drives in closed loop
where a town keeps its world: ``drive simulate LOGS --planner RUN`` renders what it sees at every plan.
"""

from __future__ import annotations

from dataclasses import replace

from configs import town_diffusion
from configs.town_diffusion import CHANNELS
from drive.experiment import Experiment
from drive.features.transfuser import TransFuserConfig
from drive.plans.diffusion import DiffusionConfig
from drive.plans.learned import PlannerConfig
from drive.plans.trunk_sensor import SensorTrunkConfig
from drive.samples.plan_perturb import PerturbConfig
from drive.samples.plan_sample import PlanFeatures
from drive.samples.plan_sample_data import PlanDataConfig
from drive.samples.plan_sample_raster import RasterGrid
from drive.samples.plan_sample_sensors import PlanSensors
from drive.train.config import TrainConfig

SENSORS = PlanSensors(image=(96, 384), cell_m=0.5, semantic_cell_m=0.5)
"""The town's pictures are 400 pixels wide, its lidar has 32 beams: half the published cells."""


def trunk() -> SensorTrunkConfig:
    """A small net of our own in place of ResNet-34, one layer of fusion a stage, a quarter of the channels."""
    return SensorTrunkConfig(
        transfuser=TransFuserConfig(
            backbone="plain", widths=(16, 32, 64, 96), image_tokens=(6, 24), layers=1, ratio=2, dropout=0.0,
            map_channels=32,
        ),
        sensors=SENSORS,
        channels=CHANNELS,
        layers=2,
        heads=4,
        ffn=128,
    )  # fmt: skip


def data() -> PlanDataConfig:
    """A decision at every key frame. None beside the recorded drive: cameras recorded nothing there."""
    return PlanDataConfig(
        train_logs=("runs/demo-full/logs",),
        val_logs=("runs/demo-full/logs",),
        train_split="town_train",
        val_split="town_val",
        features=PlanFeatures(raster=RasterGrid(cell_m=1.0), sensors=SENSORS),
        stride_s=0.5,
        batch_size=16,
        perturb=PerturbConfig(),
        keep_sensors=True,
    )


def training(seconds: float = 300.0) -> TrainConfig:
    """As configs.town_diffusion's."""
    return town_diffusion.training(seconds)


def experiment() -> Experiment:
    """The head of configs.town_diffusion (what it does otherwise than published is said there)."""
    base = town_diffusion.experiment()
    assert isinstance(base.model, PlannerConfig)
    assert isinstance(base.model.head, DiffusionConfig)
    model = replace(base.model, trunk=trunk())
    return Experiment(name="town_diffusion_sensors", model=model, data=data(), train=training())
