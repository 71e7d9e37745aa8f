"""Images to a bird's-eye map: every image cell is spread along its ray by a depth distribution, and cells add up.

Lift-Splat (arXiv 2008.05711), with BEVFusion's pooling, its depth from lidar and its fusion (arXiv 2205.13542, code:
mit-han-lab/bevfusion), and BEVDepth's supervision of the depth (arXiv 2206.10092). Frames: images are posed in the
RECORDED ego frame; the map that comes out lies in the augmented one, where points and boxes are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drive.features.images import ImageNetConfig
from drive.features.lift_depth import (
    DEPTH_CHANNELS,
    DepthBins,
    DepthEncoder,
    depth_loss,
    depth_targets,
    nearest_depth,
)
from drive.features.lift_plan import PlanCache, augmented_cameras, batch_cameras
from drive.features.pillars import conv_block
from drive.samples.batch import FrameBatch
from drive.voxels.grid import GridSpec
from ops.camera_sample import Cameras, Pairs, project_points
from ops.lift_pool import lift_pool

BEVFUSION_GRID = GridSpec((-54.0, -54.0, -10.0, 54.0, 54.0, 10.0), (0.3, 0.3, 20.0))


@dataclass(frozen=True)
class LiftConfig:
    """Sizes of a lift. Defaults are BEVFusion's on nuScenes (code): 118 depths, 80 channels, 0.3 m halved to 0.6 m.

    images: the image network; it must give one map.
    grid: where image cells are added up, in the ego frame; layers in z follow each other in the channels.
    depth: the bins of depth. channels: of the context, and of each layer of the map.
    down: 2 halves the map by three convolutions, as BEVFusion; 1 leaves it as it was added up.
    lidar_depth: the depth net also sees the points' depths, drawn into the images (DepthLSS).
    depth_loss: weight of the supervision of depth by the key sweep's points in training; 0 is none. BEVDepth's 3 is
        for another form of it (code).
    plan_slack_m: how far a place in the grid may move in a camera's frame before its plan is made anew. More than
        rounding (the default) makes a frame's answer depend on the frames before it, within that distance.
    """

    images: ImageNetConfig
    grid: GridSpec = BEVFUSION_GRID
    depth: DepthBins = field(default_factory=DepthBins)
    channels: int = 80
    down: int = 2
    lidar_depth: bool = False
    depth_loss: float = 0.0
    plan_slack_m: float = 1e-6

    def __post_init__(self) -> None:
        if len(self.images.out_strides) != 1:
            raise ValueError(f"a lift reads one image map, not strides {self.images.out_strides}")
        if self.down not in (1, 2) or any(cells % self.down for cells in self.grid.shape[1:]):
            raise ValueError(f"a lift's grid of {self.grid.shape} is left as it is or halved, not cut by {self.down}")

    @property
    def out_grid(self) -> GridSpec:
        """The cells of the map that comes out."""
        return self.grid.at_stride(self.down)

    @property
    def out_channels(self) -> int:
        return self.channels * self.grid.shape[0]

    def build(self) -> Lift:
        return Lift(self)


class Lifted(NamedTuple):
    """What a lift gives."""

    bev: Tensor
    """[B, out_channels, ny, nx] on out_grid; zeros are added up where no camera looks."""
    depth_loss: Tensor | None
    """Scalar, weighted, where depth is supervised; None elsewhere."""


class Lift(nn.Module):
    """Images -> image map -> depth and context -> bird's-eye map. A camera that is missing adds nothing."""

    def __init__(self, config: LiftConfig) -> None:
        super().__init__()
        self.config = config
        self.images = config.images.build()
        self.stride, width = self.images.strides[0], self.images.channels
        out = config.depth.count + config.channels
        self.depth_encoder = DepthEncoder(self.stride, config.depth.stop) if config.lidar_depth else None
        self.depth_net: nn.Module = nn.Conv2d(width, out, 1)
        if config.lidar_depth:
            seen = width + DEPTH_CHANNELS
            self.depth_net = nn.Sequential(conv_block(seen, width), conv_block(width, width), nn.Conv2d(width, out, 1))
        c = config.out_channels
        halve = conv_block(c, c), conv_block(c, c, stride=2), conv_block(c, c)
        self.down = nn.Sequential(*halve) if config.down == 2 else nn.Identity()
        self.plans = PlanCache(config.grid, config.depth.values(), config.plan_slack_m)

    def forward(self, batch: FrameBatch) -> Lifted:
        pixels, cameras = batch_cameras(batch)
        supervised = self.training and self.config.depth_loss > 0
        if not len(pixels):
            nothing = torch.zeros((), device=batch.points.device) if supervised else None
            return Lifted(self.down(self._zeros(batch)), nothing)
        (image,) = self.images(pixels)
        size = self._cells(pixels)

        if self.depth_encoder is not None:
            seen = self._seen(batch, cameras)
            sparse = nearest_depth(seen, len(pixels), (pixels.shape[2], pixels.shape[3]))
            image = torch.cat((image, self.depth_encoder(sparse[:, None])), 1)
        logits, context = self.depth_net(image).split((self.config.depth.count, self.config.channels), 1)

        plan = self.plans.plan(augmented_cameras(cameras, batch.recorded_from_augmented), size)
        bev = self.down(lift_pool(logits.softmax(1), context, plan))
        return Lifted(bev, self._supervise(logits, batch, cameras) if supervised else None)

    def _cells(self, pixels: Tensor) -> tuple[int, int]:
        high, wide = pixels.shape[2:]
        if high % self.stride or wide % self.stride:
            raise ValueError(f"images of {high} x {wide} pixels do not divide by the lift's stride {self.stride}")
        return high // self.stride, wide // self.stride

    def _zeros(self, batch: FrameBatch) -> Tensor:
        _, ny, nx = self.config.grid.shape
        return torch.zeros(batch.batch_size, self.config.out_channels, ny, nx, device=batch.points.device)

    @staticmethod
    def _seen(batch: FrameBatch, cameras: Cameras, key_sweep: bool = False) -> Pairs:
        """Which cameras see the points, where they were recorded; with key_sweep, those of the key sweep alone."""
        assert batch.recorded_xyz is not None, "a batch with images has the recorded places of its points"
        places = batch.recorded_xyz
        if key_sweep:
            places = torch.where(batch.points[:, 5:6] == 0, places, torch.nan)
        return project_points(places, cameras, batch.point_batch)

    def _supervise(self, logits: Tensor, batch: FrameBatch, cameras: Cameras) -> Tensor:
        seen = self._seen(batch, cameras, key_sweep=True)
        nearest = nearest_depth(seen, len(logits), (logits.shape[2], logits.shape[3]))
        return self.config.depth_loss * depth_loss(logits, depth_targets(nearest, self.config.depth))


class BevFusion(nn.Module):
    """Camera map and lidar map, joined and mixed by one 3 x 3 convolution (BEVFusion): [B, channels, ny, nx]."""

    def __init__(self, lift: LiftConfig, grid: GridSpec, channels: int) -> None:
        """grid, channels: of the lidar map, and of what comes out. ValueError: grids that do not cover each other."""
        super().__init__()
        camera = lift.out_grid
        ratio = round(camera.cell_size[0] / grid.cell_size[0])
        same_range = camera.range[:2] == grid.range[:2] and camera.range[3:5] == grid.range[3:5]
        if not same_range or [cells * ratio for cells in camera.shape[1:]] != list(grid.shape[1:]):
            raise ValueError(
                f"a lift of {camera.shape[1:]} cells over {camera.range} does not fit a lidar map of {grid.shape[1:]} "
                f"cells over {grid.range}: the range must agree in x and y, cells be as wide or a whole number wider"
            )
        self.ratio = ratio
        self.mix = conv_block(lift.out_channels + channels, channels)

    def forward(self, camera: Tensor, lidar: Tensor) -> Tensor:
        if self.ratio > 1:
            camera = F.interpolate(camera, scale_factor=self.ratio, mode="nearest")
        return self.mix(torch.cat((camera, lidar), 1))
