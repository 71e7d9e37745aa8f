"""The dense PointPillars-style baseline on Waymo, in the same harness as ``waymo_swformer``."""

from __future__ import annotations

from dataclasses import replace

from configs import waymo_swformer
from drive.boxes.detector import PillarsConfig
from drive.experiment import Experiment


def experiment() -> Experiment:
    """As ``waymo_swformer`` in everything but the model."""
    return replace(waymo_swformer.experiment(), name="waymo_pillars", model=PillarsConfig())
