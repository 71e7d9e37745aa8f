"""CenterPoint-Voxel at the published size on Waymo, in the same harness as ``waymo_swformer``."""

from __future__ import annotations

from dataclasses import replace

from configs import waymo_swformer
from drive.boxes.voxel_detector import WAYMO_VOXELS, VoxelConfig
from drive.experiment import Experiment
from drive.samples.config import DataConfig


def experiment() -> Experiment:
    """0.1 x 0.1 x 0.15 m voxels over 75.2 m. As ``waymo_swformer`` in everything but the model and its range."""
    base = waymo_swformer.experiment()
    assert isinstance(base.data, DataConfig)
    data = replace(base.data, range_m=WAYMO_VOXELS.range)
    return replace(base, name="waymo_centerpoint_voxel", model=VoxelConfig(), data=data)
