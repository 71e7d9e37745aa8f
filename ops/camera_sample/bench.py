"""This operator beside its peers (`python -m ops bench`)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from ops.camera_sample import Cameras, pinhole_cameras, project_points, sample_points
from ops.examples import make
from ops.pair import Pair, with_gradient

IMAGE = 1920, 1280
YAWS = 0.0, 45.0, -45.0, 90.0, -90.0


def rig(distortion: list[float] | None = None, frames: int = 1) -> tuple[Cameras, Tensor]:
    """Five cameras a frame, as on a Waymo car: (cameras, image from ego without lens [5 * frames, 3, 4])."""
    pose = torch.eye(4, dtype=torch.float64).repeat(len(YAWS), 1, 1)
    for n, degrees in enumerate(YAWS):
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        pose[n, :3, :3] = torch.tensor([[s, -c, 0.0], [0.0, 0.0, -1.0], [c, s, 0.0]])
        pose[n, :3, 3] = -pose[n, :3, :3] @ torch.tensor([1.5, 0.0, 0.3], dtype=torch.float64)
    width, height = IMAGE
    inner = torch.tensor([[1200.0, 0, width / 2], [0, 1200.0, height / 2], [0, 0, 1]], dtype=torch.float64)
    N = len(YAWS) * frames
    pose, inner = pose.repeat(frames, 1, 1), inner.repeat(N, 1, 1)
    lens = None if distortion is None else torch.tensor(distortion, dtype=torch.float64).repeat(N, 1)
    cameras = pinhole_cameras(pose, inner, torch.tensor(IMAGE).repeat(N, 1), lens, torch.tensor([len(YAWS)] * frames))
    return cameras, inner @ pose[:, :3]


def example(seed: int) -> tuple[Tensor, Tensor, Cameras, Tensor]:
    """A small input: (points, point_batch, cameras, features)."""
    e = make(500, 2, 1, 1, 1, seed=seed)
    cameras, _ = rig([0.04, -0.3, 0.001, -0.001, 0.0], 2)
    features = torch.randn(10, 8, 9, 13, generator=torch.Generator().manual_seed(seed))
    return e.points, e.point_batch, cameras, features


def visible_only(points: Tensor, matrices: Tensor, features: Tensor) -> Tensor:
    """The usual way in torch: camera by camera, only the visible points through grid_sample; mean over cameras."""
    out = features.new_zeros(points.shape[0], features.shape[1])
    seen = features.new_zeros(points.shape[0], 1)
    homogeneous = torch.cat([points[:, :3], torch.ones_like(points[:, :1])], 1)
    size = torch.tensor(IMAGE)
    for n, matrix in enumerate(matrices.float()):
        x, y, depth = (homogeneous @ matrix.T).unbind(1)
        place = (torch.stack([x, y], 1) / depth.clamp(min=1e-5)[:, None] + 0.5) / size
        rows = ((depth > 0.1) & (place >= 0).all(1) & (place < 1).all(1)).nonzero()[:, 0]
        grid = (2 * place[rows] - 1)[None, None]
        found = grid_sample(features[n : n + 1], grid, align_corners=False)[0, :, 0].T
        out, seen = out.index_add(0, rows, found), seen.index_add(0, rows, torch.ones(len(rows), 1))
    return out / seen.clamp(min=1)


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed."""
    points = make(172_000, 1, 1, 1, 1).points
    cameras, matrices = rig()
    features = torch.randn(5, 64, 80, 120, generator=torch.Generator().manual_seed(0))
    packed = features.contiguous(memory_format=torch.channels_last)

    def ours(maps: Tensor) -> Tensor:
        return sample_points(maps, project_points(points, cameras))

    size = f"{len(points)} points, 5 cameras, 64 channels"
    peer = "torch grid_sample, visible only"
    # The peer projects in float32: a point may lie 5e-4 pixels off, on maps that change by 4 from cell to cell.
    slack = 2e-3
    yield Pair(
        f"project + sample, {size}",
        peer,
        lambda: [ours(features)],
        lambda: [visible_only(points, matrices, features)],
        slack,
        goal=5.0,
    )
    yield Pair(
        "project + sample, maps channels last",
        peer,
        lambda: [ours(packed)],
        lambda: [visible_only(points, matrices, packed)],
        slack,
        goal=5.0,
    )
    # A cell's gradient sums the weights of the points near it, each off by 6e-5.
    yield Pair(
        "project + sample and gradient",
        peer,
        with_gradient(ours, features),
        with_gradient(lambda maps: visible_only(points, matrices, maps), features),
        5e-2,
        goal=5.0,
    )
