"""PVTransformer on nuScenes: ``nuscenes_swformer`` with point-to-voxel attention."""

from __future__ import annotations

from dataclasses import replace

from configs import nuscenes_swformer
from drive.boxes.detector import SWFormerConfig
from drive.experiment import Experiment


def experiment() -> Experiment:
    """As ``nuscenes_swformer`` in everything else."""
    return replace(nuscenes_swformer.experiment(), name="nuscenes_pvtransformer", model=SWFormerConfig.nuscenes("pvt"))
