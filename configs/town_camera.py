"""A detector of cameras alone on the synthetic town (BEVDet): lidar teaches the depth, and is not read after."""

from __future__ import annotations

from configs.town_bevfusion import LIFT, data
from configs.town_swformer import CLASSES, LOSS, training
from drive.boxes.camera_detector import CameraConfig
from drive.boxes.groups import TOWN_GROUPS
from drive.experiment import Experiment
from drive.features.pillars import DenseConfig


def experiment() -> Experiment:
    """The lift of ``town_bevfusion``, two blocks, heads at 1 m as in ``town_pillars``."""
    return Experiment(
        name="town_camera",
        model=CameraConfig(
            classes=CLASSES.names,
            groups=TOWN_GROUPS,
            lift=LIFT,
            dense=DenseConfig(layers=(2, 3), strides=(1, 2), channels=(32, 64), up_channels=48, out_stride=1),
            head_channels=48,
            loss=LOSS,
        ),
        data=data(),
        train=training(160.0),
    )
