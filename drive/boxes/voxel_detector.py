"""CenterPoint-Voxel: the baseline of sparse 3D convolutions, in the same harness as the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from drive.boxes.decode import DecodeConfig
from drive.boxes.detector import DenseDetector, DetectorOutput
from drive.boxes.groups import NUSCENES_GROUPS, WAYMO_GROUPS
from drive.boxes.head import HeadGroup
from drive.boxes.objective import LossConfig
from drive.features.lift import BevFusion, LiftConfig
from drive.features.pillars import DenseBackbone, DenseConfig
from drive.features.point_encoder import require_columns
from drive.features.voxel_resnet import STRIDE, VoxelResNet, VoxelResNetConfig
from drive.samples.batch import FrameBatch
from drive.samples.classes import NUSCENES_CLASSES, WAYMO_CLASSES
from drive.voxels.grid import GridSpec
from drive.voxels.voxelize import Voxels, voxelize_points
from ops.segment import segment_mean

WAYMO_VOXELS = GridSpec((-75.2, -75.2, -2.0, 75.2, 75.2, 4.0), (0.1, 0.1, 0.15))
NUSCENES_VOXELS = GridSpec((-54.0, -54.0, -5.0, 54.0, 54.0, 3.0), (0.075, 0.075, 0.2))
COLUMNS = 6  # x y z intensity elongation dt


@dataclass(frozen=True)
class VoxelConfig:
    """CenterPoint-Voxel. Defaults are the published size on Waymo (code: OpenPCDet centerpoint, CenterPoint voxelnet).

    A voxel's feature is the mean of all its points (published: of the first 5); x and y are divided by scale_xy, z by
    scale_z (metres), so that half precision holds. dense: the map's network: blocks of 5 convolutions, 128 and 256
    channels, joined from 256 channels each. The heads stand at stride 8.
    lift: cameras' features, lifted and joined with the encoder's map (BEVFusion); None: lidar alone.
    """

    classes: tuple[str, ...] = WAYMO_CLASSES.names
    groups: tuple[HeadGroup, ...] = WAYMO_GROUPS
    grid: GridSpec = WAYMO_VOXELS
    encoder: VoxelResNetConfig = field(default_factory=VoxelResNetConfig)
    dense: DenseConfig = field(default_factory=lambda: DenseConfig((5, 5), (1, 2), (128, 256), 256))
    lift: LiftConfig | None = None
    scale_xy: float = 75.0
    scale_z: float = 4.0
    head_channels: int = 64
    head_norm: Literal["batch", "layer"] = "batch"
    loss: LossConfig = field(default_factory=LossConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)

    def build(self) -> VoxelDetector:
        return VoxelDetector(self)

    @staticmethod
    def nuscenes() -> VoxelConfig:
        """Published size on nuScenes: 0.075 m over +-54 m (code: CenterPoint, 0.075 m configuration)."""
        return VoxelConfig(classes=NUSCENES_CLASSES.names, groups=NUSCENES_GROUPS, grid=NUSCENES_VOXELS, scale_xy=54.0)


def mean_features(voxels: Voxels, scale_xy: float, scale_z: float) -> Tensor:
    """[V, 6]: the mean of each voxel's points, of order one; intensity through tanh first, it has no bound.

    Raises UserError where radar returns are among the points: means of both would be neither's.
    """
    require_columns(voxels.points, radar=False)
    scale = voxels.points.new_tensor([scale_xy, scale_xy, scale_z])
    columns = voxels.points[:, :3] / scale, torch.tanh(voxels.points[:, 3:4]), voxels.points[:, 4:COLUMNS]
    return segment_mean(torch.cat(columns, 1), voxels.offsets)


class VoxelDetector(DenseDetector):
    """Points -> voxels -> sparse 3D convolutions -> bird's-eye map -> convolutions -> centre heads.

    With a lift: images -> lifted map, joined with the bird's-eye map before its convolutions (BEVFusion).
    """

    config: VoxelConfig

    def __init__(self, config: VoxelConfig) -> None:
        low, high, size = config.grid.range[:3], config.grid.range[3:], config.grid.voxel_size
        heads = GridSpec(config.grid.range, (STRIDE * size[0], STRIDE * size[1], high[2] - low[2]))
        super().__init__(config, heads, config.dense.up_channels * len(config.dense.layers))
        self.encoder = VoxelResNet(config.encoder, COLUMNS, config.grid.shape)
        self.backbone = DenseBackbone(config.dense, self.encoder.out_channels)
        self.lift = None if config.lift is None else config.lift.build()
        self.fusion = None if config.lift is None else BevFusion(config.lift, heads, self.encoder.out_channels)

    def forward(self, batch: FrameBatch) -> DetectorOutput:
        frames, depth_loss = batch.batch_size, None
        voxels = voxelize_points(batch.points, batch.point_batch, self.grid, frames)
        rows = mean_features(voxels, self.config.scale_xy, self.config.scale_z)
        bev = self.encoder(rows, voxels.coords, frames)
        if self.lift is not None and self.fusion is not None:
            camera, depth_loss = self.lift(batch)
            bev = self.fusion(camera, bev)
        return self.answer(self.backbone(bev), frames, depth_loss)
