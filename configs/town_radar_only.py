"""SWFormer on the synthetic town's five radars alone: some hundred returns with velocities, no lidar."""

from __future__ import annotations

from dataclasses import replace

from configs import town_radar
from drive.experiment import Experiment
from drive.samples.config import DataConfig


def experiment() -> Experiment:
    """As ``town_radar`` without the lidar's points; boxes without a return are not taught."""
    both = town_radar.experiment()
    assert isinstance(both.data, DataConfig)
    return replace(both, name="town_radar_only", data=replace(both.data, radars=replace(town_radar.RADARS, only=True)))
