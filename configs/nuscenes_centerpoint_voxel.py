"""CenterPoint-Voxel at the published size on nuScenes, in the same harness as ``nuscenes_swformer``."""

from __future__ import annotations

from dataclasses import replace

from configs import nuscenes_swformer
from drive.boxes.voxel_detector import NUSCENES_VOXELS, VoxelConfig
from drive.experiment import Experiment
from drive.samples.config import DataConfig


def experiment() -> Experiment:
    """0.075 x 0.075 x 0.2 m voxels over 54 m. As ``nuscenes_swformer`` in everything but the model and its range."""
    base = nuscenes_swformer.experiment()
    assert isinstance(base.data, DataConfig)
    data = replace(base.data, range_m=NUSCENES_VOXELS.range)
    return replace(base, name="nuscenes_centerpoint_voxel", model=VoxelConfig.nuscenes(), data=data)
