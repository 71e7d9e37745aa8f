"""The town's small SWFormer with six cameras (DeepFusion): same encoder, same training time, a CPU's image net."""

from __future__ import annotations

from dataclasses import replace

from configs.town_swformer import data as lidar_data
from configs.town_swformer import experiment as lidar_experiment
from drive.boxes.detector import SWFormerConfig
from drive.experiment import Experiment
from drive.features.fusion import DeepFusionConfig
from drive.features.images import ImageNetConfig
from drive.samples.config import DataConfig
from drive.samples.images import ImageConfig

# A pedestrian 30 m away is 18 pixels high and 6 wide: at stride 8 it would be less than a cell wide.
# One output layer a pillar learned faster than one a pixel in the only comparison made: one seed, 150 steps.
FUSION = DeepFusionConfig(ImageNetConfig(backbone="plain", channels=32, out_strides=(4,)), output="pillar", channels=32)


def data() -> DataConfig:
    """As for the lidar alone, and the images at their recorded 400 pixels, without the sky."""
    return replace(lidar_data(), images=ImageConfig(size=(160, 400)))


def experiment() -> Experiment:
    """64 channels, 0.5 m pillars, PointNet; images at stride 4, 32 channels."""
    base = lidar_experiment()
    assert isinstance(base.model, SWFormerConfig)
    return replace(base, name="town_deepfusion", model=replace(base.model, fusion=FUSION), data=data())
