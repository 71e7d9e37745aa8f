"""The dense PointPillars-style baseline on the synthetic town, beside ``town_swformer``."""

from __future__ import annotations

from configs.town_swformer import CLASSES, GRID, LOSS, data, training
from drive.boxes.detector import PillarsConfig
from drive.boxes.groups import TOWN_GROUPS
from drive.experiment import Experiment
from drive.features.pillars import DenseConfig
from drive.features.point_encoder import PointEncoderConfig


def experiment() -> Experiment:
    """32 channels to the map, two blocks, heads at 1 m."""
    return Experiment(
        name="town_pillars",
        model=PillarsConfig(
            classes=CLASSES.names,
            groups=TOWN_GROUPS,
            grid=GRID,
            encoder=PointEncoderConfig("pointnet", hidden=32, scale_xy=51.2),
            channels=32,
            dense=DenseConfig(layers=(2, 3), strides=(2, 2), channels=(32, 64), up_channels=48, out_stride=2),
            head_channels=48,
            loss=LOSS,
        ),
        data=data(),
        train=training(160.0),
    )
