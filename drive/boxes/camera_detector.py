"""A detector of cameras alone, in the same harness as those of lidar (BEVDet, arXiv 2112.11790)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from drive.boxes.decode import DecodeConfig
from drive.boxes.detector import DenseDetector, DetectorOutput
from drive.boxes.groups import NUSCENES_GROUPS
from drive.boxes.head import HeadGroup
from drive.boxes.objective import LossConfig
from drive.features.images import ImageNetConfig
from drive.features.lift import LiftConfig
from drive.features.lift_depth import DepthBins
from drive.features.pillars import DenseBackbone, DenseConfig
from drive.samples.batch import FrameBatch
from drive.samples.classes import NUSCENES_CLASSES
from drive.voxels.grid import GridSpec

BEVDET_GRID = GridSpec((-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), (0.8, 0.8, 8.0))
BEVDET_DENSE = DenseConfig((2, 2, 2), (2, 2, 2), (160, 320, 640), 128, 1)


def bevdet_lift() -> LiftConfig:
    """BEVDet-R50's lift: ResNet-50 at stride 16, 59 depths, 80 channels, 0.8 m (code: BEVDet bevdet-r50)."""
    images = ImageNetConfig("resnet50", channels=256, out_strides=(16,))
    return LiftConfig(images, BEVDET_GRID, DepthBins(1.0, 60.0, 1.0), channels=80, down=1)


@dataclass(frozen=True)
class CameraConfig:
    """Lift, bird's-eye network, centre heads. Defaults are BEVDet-R50's size on nuScenes.

    The heads stand at the lifted map's cells times the dense network's out_stride. dense: 160, 320 and 640 channels as
    published; how its levels are joined is PointPillars' here (published: the coarsest and the finest).
    """

    classes: tuple[str, ...] = NUSCENES_CLASSES.names
    groups: tuple[HeadGroup, ...] = NUSCENES_GROUPS
    lift: LiftConfig = field(default_factory=bevdet_lift)
    dense: DenseConfig = BEVDET_DENSE
    head_channels: int = 64
    head_norm: Literal["batch", "layer"] = "batch"
    loss: LossConfig = field(default_factory=LossConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)

    def __post_init__(self) -> None:
        if self.lift.lidar_depth:
            raise ValueError("a detector of cameras alone cannot read depth from lidar; set lift.lidar_depth to False")

    @property
    def grid(self) -> GridSpec:
        """Where the lift adds up."""
        return self.lift.grid

    def build(self) -> CameraDetector:
        return CameraDetector(self)


class CameraDetector(DenseDetector):
    """Images -> lifted bird's-eye map -> convolutions -> centre heads. Points are read by the depth's teacher alone."""

    config: CameraConfig

    def __init__(self, config: CameraConfig) -> None:
        map_grid = config.lift.out_grid
        stride = config.dense.out_stride
        if any(cells % stride for cells in map_grid.shape[1:]):
            raise ValueError(
                f"a lifted map of {map_grid.shape[1:]} cells does not divide by the head's stride {stride}"
            )
        heads = config.grid.at_stride(config.lift.down * stride)
        super().__init__(config, heads, config.dense.up_channels * len(config.dense.layers))
        self.lift = config.lift.build()
        self.backbone = DenseBackbone(config.dense, config.lift.out_channels)

    def forward(self, batch: FrameBatch) -> DetectorOutput:
        camera, depth_loss = self.lift(batch)
        return self.answer(self.backbone(camera), batch.batch_size, depth_loss)
