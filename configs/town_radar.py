"""SWFormer on the synthetic town's lidar and radars: ``town_swformer`` with returns of the radars among its points."""

from __future__ import annotations

from dataclasses import replace

from configs import town_swformer
from drive.boxes.detector import SWFormerConfig
from drive.experiment import Experiment
from drive.samples.radar import RadarConfig

RADARS = RadarConfig(sweeps=5)
"""Half a second: a radar misses a car in five and every second pedestrian in a single scan."""

VELOCITY_WEIGHT = 4.0
"""In place of 0.25: most labels stand still, and short trainings with 1.0 or less say so of all (docs/cameras.md)."""


def experiment() -> Experiment:
    """One lidar sweep; returns of the last half second as points of the same pillars."""
    lidar = town_swformer.experiment()
    assert isinstance(lidar.model, SWFormerConfig)
    encoder, loss = replace(lidar.model.encoder, radar=True), replace(lidar.model.loss, velocity=VELOCITY_WEIGHT)
    return replace(
        lidar,
        name="town_radar",
        model=replace(lidar.model, encoder=encoder, loss=loss),
        data=replace(town_swformer.data(), radars=RADARS),
    )
