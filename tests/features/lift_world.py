"""Hand-made batches of cameras for the tests of the lift: a camera that looks forward, left or back, and no lidar."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from drive.samples.batch import FrameBatch, collate
from drive.samples.images import ImageBatch
from drive.samples.sample import empty_sample
from ops.camera_sample import pinhole_cameras

HIGH, WIDE = 16, 32
# At 16 pixels of focal length: what stands at depth 8, 2 to the left and 1 up is seen at (13.5, 5.5), the centre of
# cell (row 1, column 3) of a map at stride 4.
FOCAL, CENTRE = 16.0, (17.5, 7.5)


def pose(yaw: float = 0.0, at: Sequence[float] = (0.0, 0.0, 0.0)) -> Tensor:
    """camera_from_ego [4, 4] of a camera that looks along yaw (radians) from a place of the ego frame."""
    c, s = math.cos(yaw), math.sin(yaw)
    out = torch.eye(4, dtype=torch.float64)
    out[:3, :3] = torch.tensor([[s, -c, 0.0], [0.0, 0.0, -1.0], [c, s, 0.0]], dtype=torch.float64)
    out[:3, 3] = -out[:3, :3] @ torch.tensor(at, dtype=torch.float64)
    return out


def intrinsics(image: Tensor | None = None) -> Tensor:
    """Of the camera above; `image` [3, 3] is what happened to the picture since."""
    inner = torch.eye(3, dtype=torch.float64)
    inner[0, 0] = inner[1, 1] = FOCAL
    inner[:2, 2] = torch.tensor(CENTRE)
    return inner if image is None else image @ inner


def batch_of(
    poses: Sequence[Sequence[Tensor]],
    *,
    inner: Tensor | None = None,
    lens: Sequence[float] = (0.0, 0.0, 0.0, 0.0, 0.0),
    present: Sequence[bool] | None = None,
    undo: Tensor | None = None,
    points: Tensor | None = None,
    size: tuple[int, int] = (HIGH, WIDE),
) -> FrameBatch:
    """A batch with a frame for each tuple of poses. `undo` [4, 4]: recorded from augmented, of every frame. `points`
    [P, 3], recorded, of the first frame."""
    flat = [p for frame in poses for p in frame]
    N, (high, wide) = len(flat), size
    g = torch.Generator().manual_seed(N)
    pixels = torch.randint(0, 256, (N, high, wide, 3), generator=g, dtype=torch.uint8).permute(0, 3, 1, 2)
    cameras = pinhole_cameras(
        torch.stack(flat) if flat else torch.zeros(0, 4, 4, dtype=torch.float64),
        (intrinsics() if inner is None else inner).expand(N, 3, 3),
        torch.tensor([[wide, high]]).expand(N, 2),
        torch.tensor([lens] * N, dtype=torch.float64).reshape(N, 5),
        torch.tensor([len(frame) for frame in poses]),
    )
    there = torch.ones(N, dtype=torch.bool) if present is None else torch.tensor(present)
    names: list[tuple[str, ...]] = [tuple(f"cam{i}" for i in range(len(frame))) for frame in poses]
    images = ImageBatch(pixels, there, cameras, names, [() for _ in poses])
    bare = collate([empty_sample(f"frame{i}") for i in range(len(poses))])
    undo = torch.eye(4, dtype=torch.float64) if undo is None else undo
    places = torch.zeros(0, 3) if points is None else points.float()
    homogeneous = torch.cat([places.double(), torch.ones(len(places), 1, dtype=torch.float64)], 1)
    rows = torch.zeros(len(places), 6)
    rows[:, :3] = (homogeneous @ torch.linalg.inv(undo).T)[:, :3]
    offsets = torch.full((len(poses) + 1,), len(places))
    offsets[0] = 0
    return FrameBatch.of_tensors(
        bare.tensors()
        | {"points": rows, "point_offsets": offsets, "recorded_xyz": places}
        | {"recorded_from_augmented": undo.expand(len(poses), 4, 4)}
        | {f"images.{n}": t for n, t in images.tensors().items()},
        bare.frame_ids,
        names,
    )


class Painted(nn.Module):
    """In place of an image network: maps that are given, depth logits and context."""

    strides, channels = (4,), 1

    def __init__(self, maps: Tensor) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        return (self.maps[: len(pixels)],)
