"""A seeded synthetic scan of a real one's size for the benchmarks, and the grids of the rows that are measured."""

from __future__ import annotations

import torch
from torch import Tensor

# (range, voxel size) of rows 1a to 1c: Waymo pillars, Waymo voxels, ten nuScenes sweeps.
WAYMO_PILLARS = (-74.88, -74.88, -2.0, 74.88, 74.88, 4.0), (0.32, 0.32, 6.0)
WAYMO_VOXELS = (-75.2, -75.2, -2.0, 75.2, 75.2, 4.0), (0.1, 0.1, 0.15)
NUSCENES_VOXELS = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), (0.1, 0.1, 0.2)


def scan(rings: int, columns: int, sweeps: int = 1, seed: int = 0) -> Tensor:
    """A spinning lidar's points f32 [P, 5] (x y z and two features), ring after ring: ground, walls, things between.

    64 rings of 2770 columns give nearly a Waymo sweep's 177,000 points, 13,600 pillars of 0.32 m, 690 windows.
    """
    g = torch.Generator().manual_seed(seed)
    elevation = torch.linspace(-0.31, 0.04, rings)[:, None]
    azimuth = torch.arange(columns) * (2 * torch.pi / columns)
    # Distance to the street's walls at y = -18 and 14 m, to the ground 2 m below, and to things in between.
    side = torch.where(azimuth.sin() > 0, 14.0, 18.0) / azimuth.sin().abs().clamp(min=0.08)
    ground = 2.0 / (-elevation.sin()).clamp(min=0.01)
    thing = 6 + 60 * torch.rand(columns // 40 + 1, generator=g).repeat_interleave(40)[:columns]
    there = (torch.rand(columns // 40 + 1, generator=g) < 0.35).repeat_interleave(40)[:columns]
    parts = []
    for sweep in range(sweeps):
        reach = torch.minimum(ground, torch.where(there, torch.minimum(thing, side), side)).clamp(max=110)
        reach = reach * (1 + 0.0035 * torch.randn(reach.shape, generator=g))
        flat = reach * elevation.cos()
        shine = torch.rand(2, *reach.shape, generator=g)
        x, y = flat * azimuth.cos() + 0.4 * sweep, flat * azimuth.sin()
        parts.append(torch.stack((x, y, reach * elevation.sin() + 2.0, shine[0], shine[1]), 2).view(-1, 5))
    return torch.cat(parts)
