"""SWFormer at the paper's size on nuScenes' lidar and five radars: beside ``nuscenes_swformer``."""

from __future__ import annotations

from dataclasses import replace

from configs import nuscenes_swformer
from drive.boxes.detector import SWFormerConfig
from drive.experiment import Experiment
from drive.samples.radar import RadarConfig


def experiment() -> Experiment:
    """Ten lidar sweeps and six of each radar, about half a second of both: what submissions may look at."""
    lidar = nuscenes_swformer.experiment()
    assert isinstance(lidar.model, SWFormerConfig)
    return replace(
        lidar,
        name="nuscenes_radar",
        model=replace(lidar.model, encoder=replace(lidar.model.encoder, radar=True)),
        data=replace(nuscenes_swformer.data(), radars=RadarConfig(sweeps=6)),
    )
