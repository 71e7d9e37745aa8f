"""SWFormer over sparse voxels, the dense PointPillars-style baseline, and what all detectors share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from drive.boxes.assign import foreground_targets
from drive.boxes.decode import DecodeConfig, GroupOutput, decode_groups
from drive.boxes.detections import Detections
from drive.boxes.foreground import FOREGROUND_BIAS, SHAPE_CUES, ForegroundConfig, VoxelDiffusion, keep_voxels
from drive.boxes.groups import KITTI_GRID, KITTI_GROUPS, NUSCENES_GRID, NUSCENES_GROUPS, WAYMO_GRID, WAYMO_GROUPS
from drive.boxes.head import CentreHead, HeadGroup, class_indices
from drive.boxes.objective import LossConfig, foreground_loss, group_losses
from drive.features.attention import WindowBlock
from drive.features.fusion import DeepFusionConfig
from drive.features.lift import BevFusion, LiftConfig
from drive.features.pillars import DenseBackbone, DenseConfig
from drive.features.point_encoder import PointEncoderConfig
from drive.features.swformer import BackboneConfig, SWFormer
from drive.samples.batch import FrameBatch
from drive.samples.classes import KITTI_CLASSES, NUSCENES_CLASSES, WAYMO_CLASSES
from drive.voxels.grid import GridSpec
from drive.voxels.levels import build_levels
from drive.voxels.neighbours import neighbour_rules
from drive.voxels.scatter import scatter_bev
from drive.voxels.voxelize import voxelize_points
from drive.voxels.windows import partition_windows
from ops.segment import segment_mean

if TYPE_CHECKING:
    from drive.boxes.camera_detector import CameraConfig
    from drive.boxes.voxel_detector import VoxelConfig


@dataclass(frozen=True)
class SWFormerConfig:
    """SWFormer and what it is called with. Defaults are the paper's size on Waymo (about 3M parameters).

    classes: names in label order; each must be in one of the groups.
    head_layers: (plain, shifted) layers on the diffused voxels: 1 layer (paper). head_channels: 128 [inferred].
    head_norm: of the head's hidden layers [inferred]; the backbone's layers are LayerNorm (paper).
    fusion: camera images joined to the pillars (DeepFusion); None: lidar only.
    """

    classes: tuple[str, ...] = WAYMO_CLASSES.names
    groups: tuple[HeadGroup, ...] = WAYMO_GROUPS
    grid: GridSpec = WAYMO_GRID
    encoder: PointEncoderConfig = field(default_factory=PointEncoderConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    foreground: ForegroundConfig = field(default_factory=ForegroundConfig)
    head_layers: tuple[int, int] = (1, 0)
    head_channels: int = 128
    head_norm: Literal["batch", "layer"] = "layer"
    loss: LossConfig = field(default_factory=LossConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    fusion: DeepFusionConfig | None = None

    def build(self) -> SWFormerDetector:
        return SWFormerDetector(self)

    @staticmethod
    def waymo(encoder: Literal["pointnet", "pvt"] = "pointnet", frames: int = 1) -> SWFormerConfig:
        """Paper size on Waymo: 0.32 m, +-74.88 m, d 128 (spec 0.3, 1.5). frames: 1, or 3 sweeps at 10 Hz."""
        return SWFormerConfig(encoder=PointEncoderConfig(encoder, frames=frames))

    @staticmethod
    def nuscenes(encoder: Literal["pointnet", "pvt"] = "pointnet", frames: int = 10) -> SWFormerConfig:
        """Paper size on nuScenes: 0.32 m over +-54.4 m (its ranges end at 50 m), ten sweeps at 20 Hz."""
        return SWFormerConfig(
            classes=NUSCENES_CLASSES.names,
            groups=NUSCENES_GROUPS,
            grid=NUSCENES_GRID,
            encoder=PointEncoderConfig(encoder, frames=frames, frame_period_s=0.05, scale_xy=54.4),
        )

    @staticmethod
    def kitti(encoder: Literal["pointnet", "pvt"] = "pvt") -> SWFormerConfig:
        """Paper widths on KITTI's view to the front, [0, 70.4) x [-40, 40) m."""
        return SWFormerConfig(
            classes=KITTI_CLASSES.names,
            groups=KITTI_GROUPS,
            grid=KITTI_GRID,
            encoder=PointEncoderConfig(encoder, scale_xy=70.0),
        )


@dataclass(frozen=True)
class PillarsConfig:
    """The dense baseline. Defaults are PointPillars' size on Waymo with a centre head at stride 1.

    lift: cameras' features, lifted and joined with the map of pillars (BEVFusion); None: lidar alone.
    """

    classes: tuple[str, ...] = WAYMO_CLASSES.names
    groups: tuple[HeadGroup, ...] = WAYMO_GROUPS
    grid: GridSpec = WAYMO_GRID
    encoder: PointEncoderConfig = field(default_factory=PointEncoderConfig)
    channels: int = 64
    dense: DenseConfig = field(default_factory=DenseConfig)
    lift: LiftConfig | None = None
    head_channels: int = 64
    head_norm: Literal["batch", "layer"] = "batch"
    loss: LossConfig = field(default_factory=LossConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)

    def build(self) -> PillarsDetector:
        return PillarsDetector(self)


@dataclass(frozen=True)
class DetectorOutput:
    """What a forward pass leaves for losses and decoding.

    foreground_logits, foreground_target: [V, K] of the stride-1 voxels; the target is bool and there in training only.
    foreground_dropped: int64, kept voxels that the cap left out. None in the dense detector.
    depth_loss: scalar, where the depth of images is supervised.
    """

    batch_size: int
    groups: tuple[GroupOutput, ...]
    foreground_logits: Tensor | None = None
    foreground_target: Tensor | None = None
    foreground_dropped: Tensor | None = None
    depth_loss: Tensor | None = None


class Detector(nn.Module):
    """What all detectors share: losses and decoding of a DetectorOutput."""

    def __init__(self, config: SWFormerConfig | PillarsConfig | VoxelConfig | CameraConfig) -> None:
        super().__init__()
        self.config = config
        self.labels = class_indices(config.classes, config.groups)

    def losses(self, output: DetectorOutput, batch: FrameBatch) -> dict[str, Tensor]:
        """Scalars: "loss" is the sum of the others, named part/first class of the group and without gradient."""
        parts: dict[str, Tensor] = {}
        for group in output.groups:
            for name, value in group_losses(group, batch, self.config.loss).items():
                parts[f"{name}/{group.group.classes[0]}"] = value
        if output.foreground_logits is not None and output.foreground_target is not None:
            parts["foreground"] = foreground_loss(output.foreground_logits, output.foreground_target, self.config.loss)
        if output.depth_loss is not None:
            parts["depth"] = output.depth_loss
        loss = torch.stack(list(parts.values())).sum()
        return {"loss": loss, **{name: part.detach() for name, part in parts.items()}}

    def decode(self, output: DetectorOutput, features: bool = False) -> list[Detections]:
        """One Detections a frame, highest score first; with ``features`` also what was seen at each box."""
        return decode_groups(output.groups, output.batch_size, self.config.decode, features)


class SWFormerDetector(Detector):
    """Points -> pillars (-> joined with images) -> sparse window transformer -> foreground -> diffusion -> centre heads
    (SWFormer; DeepFusion where it has images)."""

    config: SWFormerConfig

    def __init__(self, config: SWFormerConfig) -> None:
        super().__init__(config)
        self.grid = config.grid
        size = config.backbone.channels, config.backbone.heads, config.backbone.mlp_channels
        channels, cues = size[0], SHAPE_CUES * config.foreground.shape_cue
        self.encoder = config.encoder.build(channels)
        self.backbone = SWFormer(config.backbone)
        self.foreground = nn.Linear(channels, len(config.classes))
        nn.init.constant_(self.foreground.bias, FOREGROUND_BIAS)
        self.diffusions = nn.ModuleList(VoxelDiffusion(channels, g.kernel, config.foreground) for g in config.groups)
        self.blocks = nn.ModuleList(
            WindowBlock(*size, *config.head_layers, config.backbone.window, config.backbone.neighbour_mix)
            for _ in config.groups
        )
        centre_z = (self.grid.range[2] + self.grid.range[5]) / 2
        self.heads = nn.ModuleList(
            CentreHead(channels + cues, config.head_channels, g, config.head_norm, centre_z) for g in config.groups
        )
        # Last, so that a seed gives the lidar's part the same weights with and without cameras.
        self.fusion = config.fusion.build(channels) if config.fusion is not None else None

    def forward(self, batch: FrameBatch) -> DetectorOutput:
        config, grid, frames = self.config, self.grid, batch.batch_size
        voxels = voxelize_points(batch.points, batch.point_batch, grid, frames)
        levels = build_levels(voxels.coords, grid, config.backbone.strides, config.backbone.window)
        pillars = self.encoder(voxels)
        if self.fusion is not None:
            pillars = self.fusion(pillars, voxels, batch)
        x = self.backbone(pillars, levels)

        logits = self.foreground(x)
        target = self._foreground_target(voxels.coords, batch) if self.training else None
        places = segment_mean(voxels.points[:, :3].contiguous(), voxels.offsets)
        groups, dropped = [], torch.zeros((), dtype=torch.int64, device=x.device)
        for group, labels, diffusion, block, head in zip(
            config.groups, self.labels, self.diffusions, self.blocks, self.heads, strict=True
        ):
            columns = list(labels)
            score = torch.sigmoid(logits[:, columns]).amax(1)
            always = None if target is None else target[:, columns].any(1)
            keep, left_out = keep_voxels(score.detach(), voxels.coords, frames, config.foreground, always)
            tokens, cues, coords, anchors = diffusion(x, score, keep, places, voxels.coords, grid, frames)
            window = config.backbone.window
            plain, shifted = partition_windows(coords, grid, window, shifts=(0, window // 2))
            near = neighbour_rules(coords, grid) if config.backbone.neighbour_mix else None
            tokens = block(tokens, plain, shifted, near)
            tokens = torch.cat((tokens, cues), 1)
            heat, regression = head(tokens)
            groups.append(GroupOutput(group, labels, grid, coords, heat, regression, anchors, tokens))
            dropped = dropped + left_out
        return DetectorOutput(frames, tuple(groups), logits, target, dropped)

    def _foreground_target(self, coords: Tensor, batch: FrameBatch) -> Tensor:
        seen = batch.num_points > 0
        return foreground_targets(
            coords,
            self.grid,
            batch.batch_size,
            batch.boxes[seen],
            batch.box_batch[seen],
            batch.labels[seen],
            len(self.config.classes),
        )


class DenseDetector(Detector):
    """A detector whose centre heads read every cell of a bird's-eye map."""

    config: PillarsConfig | VoxelConfig | CameraConfig

    def __init__(self, config: PillarsConfig | VoxelConfig | CameraConfig, head_grid: GridSpec, channels: int) -> None:
        """channels: of the map that :meth:`answer` is given, on head_grid."""
        super().__init__(config)
        self.grid, self.head_grid = config.grid, head_grid
        self.shared = nn.Sequential(
            nn.Conv2d(channels, config.head_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(config.head_channels, eps=1e-3, momentum=0.05),
            nn.ReLU(inplace=True),
        )
        centre_z = (self.grid.range[2] + self.grid.range[5]) / 2
        self.heads = nn.ModuleList(
            CentreHead(config.head_channels, config.head_channels, g, config.head_norm, centre_z) for g in config.groups
        )

    def answer(self, bev: Tensor, frames: int, depth_loss: Tensor | None = None) -> DetectorOutput:
        """The heads' answers at every cell of a map [B, channels, ny, nx]."""
        x = self.shared(bev).permute(0, 2, 3, 1)
        cells = x.reshape(-1, x.shape[3])
        coords = self.head_grid.coords(torch.arange(len(cells), device=cells.device))
        anchors = self.head_grid.centres(coords)
        groups = []
        for group, labels, head in zip(self.config.groups, self.labels, self.heads, strict=True):
            heat, regression = head(cells)
            groups.append(GroupOutput(group, labels, self.head_grid, coords, heat, regression, anchors, cells))
        return DetectorOutput(frames, tuple(groups), depth_loss=depth_loss)


class PillarsDetector(DenseDetector):
    """Points -> pillars -> dense bird's-eye map -> convolutions -> centre heads (PointPillars with a centre head).

    With a lift: images -> lifted map, joined with the map of pillars before the convolutions (BEVFusion).
    """

    config: PillarsConfig

    def __init__(self, config: PillarsConfig) -> None:
        stride = config.dense.out_stride
        if any(cells % stride for cells in config.grid.shape[1:]):
            raise ValueError(f"grid {config.grid.shape} does not divide by the head's stride {stride}")
        super().__init__(config, config.grid.at_stride(stride), config.dense.up_channels * len(config.dense.layers))
        self.encoder = config.encoder.build(config.channels)
        self.backbone = DenseBackbone(config.dense, config.channels)
        self.lift = None if config.lift is None else config.lift.build()
        self.fusion = None if config.lift is None else BevFusion(config.lift, config.grid, config.channels)

    def forward(self, batch: FrameBatch) -> DetectorOutput:
        frames, depth_loss = batch.batch_size, None
        voxels = voxelize_points(batch.points, batch.point_batch, self.grid, frames)
        bev = scatter_bev(self.encoder(voxels), voxels.coords, self.grid, frames)
        if self.lift is not None and self.fusion is not None:
            camera, depth_loss = self.lift(batch)
            bev = self.fusion(camera, bev)
        return self.answer(self.backbone(bev), frames, depth_loss)
