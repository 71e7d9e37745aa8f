"""BEVFusion's detector (arXiv 2205.13542) on nuScenes: ten sweeps in 0.075 m voxels, six images of 256 x 704, Swin-T.

As published (code: mit-han-lab/bevfusion) but for the head: centre heads here, in place of TransFusion's decoder.
"""

from __future__ import annotations

from dataclasses import replace

from configs.nuscenes_deepfusion import data as camera_data
from drive.boxes.voxel_detector import NUSCENES_VOXELS, VoxelConfig
from drive.experiment import Experiment
from drive.features.images import ImageNetConfig
from drive.features.lift import LiftConfig
from drive.samples.config import DataConfig
from drive.train.config import TrainConfig

SIZE = 256, 704
SWIN = ImageNetConfig("swin_tiny_patch4_window7_224", image_size=SIZE, drop_path=0.2, channels=256, out_strides=(8,))


def data() -> DataConfig:
    """Turned by up to 45 degrees, scaled by 0.9 to 1.1, shifted by 0.5 m, mirrored; the images vary on their own."""
    base = camera_data()
    augment = replace(base.augment, scale_low=0.9, scale_high=1.1, translate_std_m=(0.5, 0.5, 0.5))
    return replace(base, range_m=NUSCENES_VOXELS.range, augment=augment)


def experiment() -> Experiment:
    """Six epochs from a lidar detector: name the weights of ``nuscenes_centerpoint_voxel`` in train.init_from."""
    lift = LiftConfig(SWIN, lidar_depth=True)
    return Experiment(
        name="nuscenes_bevfusion",
        model=replace(VoxelConfig.nuscenes(), lift=lift),
        data=data(),
        train=TrainConfig(
            epochs=6, learning_rate=2e-4, weight_decay=0.01, clip_norm=35.0, precision="bf16-mixed", devices=8
        ),
    )
