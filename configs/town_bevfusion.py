"""The town's dense pillars with six cameras lifted beside them (BEVFusion): same training time, a CPU's image net."""

from __future__ import annotations

from dataclasses import replace

from configs.town_pillars import experiment as lidar_experiment
from configs.town_swformer import GRID
from configs.town_swformer import data as lidar_data
from drive.boxes.detector import PillarsConfig
from drive.experiment import Experiment
from drive.features.images import ImageNetConfig
from drive.features.lift import LiftConfig
from drive.features.lift_depth import DepthBins
from drive.samples.config import DataConfig
from drive.samples.images import ImageConfig
from drive.voxels.grid import GridSpec

# An image cell is 1.5 m wide at 40 m: finer cells than a metre would stay empty there.
LIFT = LiftConfig(
    ImageNetConfig("plain", channels=48, out_strides=(8,)),
    GridSpec((*GRID.range[:2], -10.0, *GRID.range[3:5], 10.0), (1.0, 1.0, 20.0)),
    DepthBins(1.0, 52.0, 1.0),
    channels=32,
    down=1,
    depth_loss=0.5,
)


def data() -> DataConfig:
    """As for the lidar alone, and the images at 320 of their 400 pixels, without the sky."""
    return replace(lidar_data(), images=ImageConfig(size=(128, 320)))


def experiment() -> Experiment:
    """Images at stride 8, 51 depths, 32 channels on cells of a metre; depth from lidar and taught by it."""
    base = lidar_experiment()
    assert isinstance(base.model, PillarsConfig)
    lift = replace(LIFT, lidar_depth=True)
    return replace(base, name="town_bevfusion", model=replace(base.model, lift=lift), data=data())
