"""BEVDet-R50's size (arXiv 2112.11790, code: BEVDet bevdet-r50) on nuScenes: six images of 256 x 704, no lidar."""

from __future__ import annotations

from dataclasses import replace

from configs.nuscenes_deepfusion import data as camera_data
from drive.boxes.camera_detector import BEVDET_GRID, CameraConfig
from drive.experiment import Experiment
from drive.samples.config import DataConfig
from drive.train.config import TrainConfig


def data() -> DataConfig:
    """One sweep, for the labels' sake: boxes without a point are not taught. Turned by up to 22.5 degrees, mirrored."""
    base = camera_data()
    augment = replace(base.augment, rotate_rad=0.3925, translate_probability=0.0)
    low, high = BEVDET_GRID.range[:2], BEVDET_GRID.range[3:5]
    return replace(base, sweeps=1, range_m=(*low, -5.0, *high, 3.0), augment=augment)


def experiment() -> Experiment:
    """24 epochs over the balanced set; 59 depths, 80 channels, 0.8 m cells."""
    return Experiment(
        name="nuscenes_camera",
        model=CameraConfig(),
        data=data(),
        train=TrainConfig(
            epochs=24, learning_rate=2e-4, weight_decay=0.01, clip_norm=5.0, precision="bf16-mixed", devices=8
        ),
    )
