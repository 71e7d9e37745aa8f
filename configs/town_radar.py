"""SWFormer on the synthetic town's lidar and radars: ``town_swformer`` and nothing changed but the radars."""

from __future__ import annotations

from dataclasses import replace

from configs import town_swformer
from drive.boxes.detector import SWFormerConfig
from drive.experiment import Experiment
from drive.samples.radar import RadarConfig

RADARS = RadarConfig(sweeps=5)
"""Half a second: a radar misses a car in five and every second pedestrian in a single scan."""


def experiment() -> Experiment:
    """One lidar sweep; returns of the last half second as points of the same pillars."""
    lidar = town_swformer.experiment()
    assert isinstance(lidar.model, SWFormerConfig)
    return replace(
        lidar,
        name="town_radar",
        model=replace(lidar.model, encoder=replace(lidar.model.encoder, radar=True)),
        data=replace(town_swformer.data(), radars=RADARS),
    )
