"""Where a batch's frustums lie in the bird's-eye grid, worked out once as long as the cameras stay where they are."""

from __future__ import annotations

import itertools
from dataclasses import replace

import torch
from torch import Tensor

from drive.samples.batch import FrameBatch
from drive.voxels.grid import GridSpec
from ops.camera_sample import Cameras
from ops.camera_sample.cameras import INTRINSICS
from ops.lift_pool import LiftPlan, plan_cameras
from ops.segment.reference import segment_ids


def present_cameras(cameras: Cameras, present: Tensor) -> Cameras:
    """The cameras of the rows where present (bool [N]) is True, of the same frames."""
    before = torch.cat((cameras.offsets.new_zeros(1), present.cumsum(0)))
    return Cameras(cameras.table[present], before[cameras.offsets])


def augmented_cameras(cameras: Cameras, recorded_from_augmented: Tensor) -> Cameras:
    """The same cameras seen from each frame's augmented ego frame: poses times float64 [B, 4, 4].

    What a mirror image or a scale does to the ego frame ends up in the pose, which is then no longer rigid; a depth
    stays what the camera measured.
    """
    frame = segment_ids(cameras.offsets, len(cameras.table))
    pose = cameras.table[:, :INTRINSICS].reshape(-1, 3, 4) @ recorded_from_augmented[frame]
    return replace(cameras, table=torch.cat((pose.reshape(-1, INTRINSICS), cameras.table[:, INTRINSICS:]), 1))


class PlanCache:
    """The plan of the last cameras, given again for cameras that see the grid from the same place.

    Same place: no corner of the grid's box moves by more than slack_m metres in a camera's frame (and so nothing in
    the box does), and intrinsics and lens agree to 1e-9. The default slack is for rounding alone.
    """

    def __init__(self, grid: GridSpec, depths: Tensor, slack_m: float) -> None:
        """depths: float64 [D], metres along the optical axis."""
        self.grid, self.depths, self.slack_m = grid, depths, slack_m
        self.made = 0  # plans worked out so far
        low, high = grid.range[:3], grid.range[3:]
        corners = [(*corner, 1.0) for corner in itertools.product(*zip(low, high, strict=True))]
        self.corners = torch.tensor(corners, dtype=torch.float64)
        self.last: tuple[Cameras, tuple[int, int], LiftPlan] | None = None

    def plan(self, cameras: Cameras, size: tuple[int, int]) -> LiftPlan:
        """Plan for feature maps of size (h, w) of these cameras, posed in the frame of the grid."""
        if self.last is not None:
            known, known_size, plan = self.last
            if size == known_size and self._same(known, cameras):
                return plan
        self.made += 1
        cell = (*self.grid.cell_size, self.grid.voxel_size[2])
        plan = plan_cameras(cameras, self.depths, size, self.grid.range, cell)
        self.last = cameras, size, plan
        return plan

    def _same(self, known: Cameras, cameras: Cameras) -> bool:
        if known.table.device != cameras.table.device or known.table.shape != cameras.table.shape:
            return False
        if not torch.equal(known.offsets, cameras.offsets):
            return False
        if not torch.allclose(known.table[:, INTRINSICS:], cameras.table[:, INTRINSICS:], rtol=1e-9, atol=0.0):
            return False
        change = (cameras.table - known.table)[:, :INTRINSICS].reshape(-1, 3, 4)
        moved = torch.linalg.vector_norm(change @ self.corners.to(change.device).T, dim=1)
        return bool((moved <= self.slack_m).all())


def batch_cameras(batch: FrameBatch) -> tuple[Tensor, Cameras]:
    """Images uint8 [N, 3, H, W] of the cameras that are there, and those cameras in the RECORDED ego frame.

    N is 0 where the batch has no image at all.
    """
    images = batch.images
    if images is None:
        offsets = torch.zeros(batch.batch_size + 1, dtype=torch.int64, device=batch.points.device)
        table = torch.zeros(0, 26, dtype=torch.float64, device=batch.points.device)
        return torch.zeros(0, 3, 1, 1, dtype=torch.uint8, device=batch.points.device), Cameras(table, offsets)
    if bool(images.present.all()):
        return images.pixels, images.cameras
    return images.pixels[images.present], present_cameras(images.cameras, images.present)
