"""CenterPoint-Voxel, small, on the synthetic town: sparse 3D convolutions that train on a CPU."""

from __future__ import annotations

from configs.town_swformer import CLASSES, LOSS, data, training
from drive.boxes.groups import TOWN_GROUPS
from drive.boxes.voxel_detector import VoxelConfig
from drive.experiment import Experiment
from drive.features.pillars import DenseConfig
from drive.features.voxel_resnet import VoxelResNetConfig
from drive.voxels.grid import GridSpec

GRID = GridSpec((-52.0, -52.0, -3.0, 52.0, 52.0, 5.0), (0.125, 0.125, 0.2))


def experiment() -> Experiment:
    """0.125 m voxels, one residual block a stage, heads at 1 m as in ``town_pillars``."""
    return Experiment(
        name="town_voxels",
        model=VoxelConfig(
            classes=CLASSES.names,
            groups=TOWN_GROUPS,
            grid=GRID,
            encoder=VoxelResNetConfig((16, 16, 32, 32), blocks=1, out_channels=32),
            dense=DenseConfig((2, 2), (1, 2), (64, 64), 48),
            scale_xy=52.0,
            head_channels=48,
            loss=LOSS,
        ),
        data=data(),
        train=training(160.0),
    )
