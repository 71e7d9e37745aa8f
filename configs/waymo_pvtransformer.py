"""PVTransformer on Waymo: SWFormer with point-to-voxel attention in place of the PointNet encoder."""

from __future__ import annotations

from dataclasses import replace

from configs import waymo_swformer
from drive.boxes.detector import SWFormerConfig
from drive.experiment import Experiment


def experiment() -> Experiment:
    """As ``waymo_swformer`` in everything else, so that the two compare."""
    return replace(waymo_swformer.experiment(), name="waymo_pvtransformer", model=SWFormerConfig.waymo("pvt"))
