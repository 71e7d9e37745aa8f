"""Seeded inputs of realistic shape for the checks and the benchmark: one scan-like scene, nothing read from disk."""

from dataclasses import dataclass

import torch
from torch import Tensor

RANGE, VOXEL = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), (0.32, 0.32, 8.0)


@dataclass(frozen=True)
class Example:
    """Points of several frames, boxes, and ragged windows of tokens."""

    points: Tensor
    """f32 [P, 5] x y z and two features, dense near the sensor."""
    point_batch: Tensor
    """int64 [P]."""
    frames: int
    boxes: Tensor
    """f32 [N, 9] in box columns; every fifth one lies close to its predecessor."""
    scores: Tensor
    """f32 [N]."""
    labels: Tensor
    """int64 [N] in 0..2."""
    qkv: tuple[Tensor, Tensor, Tensor]
    """f32 [T, H, D] each."""
    windows: Tensor
    """int64 [W + 1], 1 to 100 tokens a window, median about 11, as in a lidar's 10 x 10 pillar windows."""


def make(points: int, frames: int, boxes: int, tokens: int, heads: int, device: str = "cpu", seed: int = 0) -> Example:
    """One example; `points` and `tokens` in all, not a frame."""
    g = torch.Generator().manual_seed(seed)
    angle = torch.rand(points, generator=g) * (2 * torch.pi)
    distance = 2 + 70 * torch.rand(points, generator=g) ** 2
    columns = [distance * angle.cos(), distance * angle.sin(), torch.rand(points, generator=g) * 4 - 2]
    cloud = torch.stack([*columns, torch.rand(points, generator=g), torch.rand(points, generator=g)], 1)
    box = torch.rand(boxes, 9, generator=g)
    box[:, :2] = 100 * box[:, :2] - 50
    box[:, 3:6] = 0.5 + 4.5 * box[:, 3:6]
    box[:, 6] = (box[:, 6] - 0.5) * (2 * torch.pi)
    box[4::5, :7] = box[3::5, :7][: len(box[4::5])] + 0.2
    sizes = (2.4 + 1.1 * torch.randn(tokens, generator=g)).exp().clamp(1, 100).long()
    sizes = sizes[: int((sizes.cumsum(0) <= tokens).sum())]
    T = int(sizes.sum())
    q, k, v = torch.randn(3, T, heads, 16, generator=g).unbind()
    return Example(
        points=cloud.to(device),
        point_batch=(torch.arange(points) * frames // max(points, 1)).to(device),
        frames=frames,
        boxes=box.to(device),
        scores=torch.rand(boxes, generator=g).to(device),
        labels=torch.randint(0, 3, (boxes,), generator=g).to(device),
        qkv=(q.to(device), k.to(device), v.to(device)),
        windows=torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]).to(device),
    )
