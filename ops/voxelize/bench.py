"""This operator beside its peers (`python -m ops bench`): rows 1a to 1c, spconv's CPU voxelizer and torch.unique."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ops.pair import Pair
from ops.scans import NUSCENES_VOXELS, WAYMO_PILLARS, WAYMO_VOXELS, scan
from ops.voxelize import VoxelGroups, grid_shape, voxelize


def example(seed: int = 0) -> tuple[Tensor, Tensor, tuple[float, ...], tuple[float, ...], int]:
    """Small arguments of `voxelize`: two frames, some points outside or not finite."""
    points = scan(8, 120, 2, seed)
    points[::50, 0], points[1::50, 2] = torch.nan, torch.inf
    batch = (torch.arange(len(points)) >= len(points) // 2).long()
    return points, batch, *WAYMO_PILLARS, 2


def _unique_of_keys(points: Tensor, batch: Tensor, bounds: Any, size: Any, _frames: int) -> list[Tensor]:
    """The usual way in torch: torch.unique of one integer a point."""
    low, high, edge = (points.new_tensor(v) for v in (bounds[:3], bounds[3:], size))
    inside = ((points[:, :3] >= low) & (points[:, :3] < high)).all(1)
    nz, ny, nx = grid_shape(bounds, size)
    last = torch.tensor([nx - 1, ny - 1, nz - 1])
    cell = torch.minimum(((points[inside, :3] - low) / edge).long(), last)
    key = ((batch[inside] * nz + cell[:, 2]) * ny + cell[:, 1]) * nx + cell[:, 0]
    key, inverse, counts = torch.unique(key, return_inverse=True, return_counts=True)
    coords = torch.stack([key // (nx * ny * nz), key // (nx * ny) % nz, key // nx % ny, key % nx], 1)
    order = inside.nonzero()[:, 0][torch.argsort(inverse, stable=True)]
    return [coords, order, torch.cat([counts.new_zeros(1), counts.cumsum(0)])]


def _spconv(points: Tensor, bounds: Any, size: Any, kept: int) -> Callable[[], Any] | None:
    """The peer's call, or None where it is not installed."""
    try:
        from cumm import tensorview as tv
        from spconv.utils import Point2VoxelCPU3d
    except ImportError:
        return None
    peer = Point2VoxelCPU3d(list(size), list(bounds), points.shape[1], 400_000, kept)
    given = tv.from_numpy(points.numpy())
    return lambda: peer.point_to_voxel(given)


def _same(points: Tensor, shape: tuple[int, int, int], kept: int) -> Callable[[Any, Any], None]:
    """Compares with spconv: the cells, their counts up to `kept`, and the points of a voxel in their order."""

    def check(ours: VoxelGroups, theirs: Any) -> None:
        rows, cells, counts = (torch.from_numpy(t.numpy().copy()) for t in theirs)
        order = torch.argsort((cells[:, 0].long() * shape[1] + cells[:, 1]) * shape[2] + cells[:, 2])
        assert torch.equal(ours.coords[:, 1:], cells[order].long()), "voxelize: spconv found other voxels"
        fewer = ours.offsets.diff().clamp(max=kept)
        assert torch.equal(fewer, counts[order].long()), "voxelize: spconv counted other points"
        for place in range(kept):
            there = fewer > place
            mine = points[ours.order[(ours.offsets[:-1] + place)[there]]]
            assert torch.equal(mine, rows[order][there, place]), "voxelize: spconv holds other points"

    return check


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed. The peer drops points; the goals are the rows'."""
    waymo, nuscenes = scan(64, 2770), scan(32, 930, 10)
    for row, points, (bounds, size), kept in (
        ("Waymo pillars", waymo, WAYMO_PILLARS, 20),
        ("Waymo voxels", waymo, WAYMO_VOXELS, 5),
        ("ten nuScenes sweeps", nuscenes, NUSCENES_VOXELS, 10),
    ):
        batch = torch.zeros(len(points), dtype=torch.int64)
        given: Any = (points, batch, bounds, size, 1)
        name = f"voxelize {row}, {len(points) // 1000}k points"
        peer = _spconv(points, bounds, size, kept)
        yield Pair(
            name,
            f"spconv Point2VoxelCPU3d, {kept} a voxel",
            partial(voxelize, *given),
            peer,
            same=_same(points, grid_shape(bounds, size), kept),
            goal=2.0,
        )
        yield Pair(
            name,
            "torch.unique of keys",
            partial(voxelize, *given),
            partial(_unique_of_keys, *given),
        )
