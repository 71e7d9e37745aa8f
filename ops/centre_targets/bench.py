"""This operator beside its peers (`python -m ops bench`): row 5, a loop over boxes in numpy; torch's way on voxels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ops.centre_targets import centre_targets, foreground_targets, gaussian_heat, reference
from ops.pair import Pair
from ops.scans import WAYMO_PILLARS, scan
from ops.voxelize import grid_shape, voxelize

ORIGIN, CELL = (-74.88, -74.88), (0.32, 0.32)
SIZES = torch.tensor([[4.7, 2.1, 1.7], [0.9, 0.8, 1.7], [1.8, 0.8, 1.7]])


def boxes_on(coords: Tensor, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Boxes float32 [N, 9] near occupied cells, and their labels in 0..2."""
    g = torch.Generator().manual_seed(seed)
    rows = torch.randint(0, len(coords), (count,), generator=g)
    labels = torch.randint(0, 3, (count,), generator=g)
    boxes = torch.zeros(count, 9)
    at = coords[rows][:, [3, 2]] + 3 * torch.rand(count, 2, generator=g) - 1
    boxes[:, :2] = at * CELL[0] + ORIGIN[0]
    boxes[:, 3:6] = SIZES[labels] * (0.8 + 0.4 * torch.rand(count, 1, generator=g))
    boxes[:, 6] = 6.28 * torch.rand(count, generator=g) - 3.14
    return boxes, labels


def example(seed: int = 0) -> tuple[Any, ...]:
    """Small arguments of `centre_targets`: two frames, a box that is not finite."""
    g = torch.Generator().manual_seed(seed)
    coords = torch.nonzero(torch.rand(2, 1, 40, 50, generator=g) < 0.2)
    boxes, labels = boxes_on(coords, 12, seed)
    boxes[3, 0], boxes[4, 3] = torch.nan, torch.inf
    scales = torch.tensor([1.0, 0.22, 0.39])
    return coords, boxes, (torch.arange(12) % 2), labels, scales, ORIGIN, CELL, (40, 50), 2, 0.2


def centerpoint_loop(boxes: np.ndarray, labels: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """CenterPoint's way, written anew: for each object a radius, a Gaussian of that size, a maximum into the map."""
    ny, nx = grid
    heat = np.zeros((3, ny, nx), np.float32)
    for box, label in zip(boxes, labels, strict=True):
        length, width = float(box[3]) / CELL[0], float(box[4]) / CELL[1]
        if length <= 0 or width <= 0:
            continue
        radius = max(2, int(reference.gaussian_radius(length, width, 0.1)))
        x, y = (float(box[0]) - ORIGIN[0]) / CELL[0], (float(box[1]) - ORIGIN[1]) / CELL[1]
        i, j = math.floor(x), math.floor(y)
        if not (0 <= i < nx and 0 <= j < ny):
            continue
        n = 2 * radius + 1
        up, along = np.ogrid[-radius : radius + 1, -radius : radius + 1]
        gaussian = np.exp(-(along * along + up * up) / (2 * (n / 6) * (n / 6)))
        gaussian[gaussian < np.finfo(gaussian.dtype).eps * gaussian.max()] = 0
        left, right, top, bottom = min(i, radius), min(nx - i, radius + 1), min(j, radius), min(ny - j, radius + 1)
        patch = heat[label, j - top : j + bottom, i - left : i + right]
        np.maximum(patch, gaussian[radius - top : radius + bottom, radius - left : radius + right], out=patch)
    return heat


def _same_targets(ours: Any, theirs: Any) -> None:
    """Heat to 1e-5; the pairs equal (a pair may differ where two boxes are equally near within rounding: none here)."""
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=1e-5)
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        assert torch.equal(a, b), "centre_targets: other pairs than the reference's"


def pairs() -> Iterator[Pair]:
    """Comparisons, the peer's output checked before either is timed."""
    points = scan(64, 2770)
    coords = voxelize(points, torch.zeros(len(points), dtype=torch.int64), *WAYMO_PILLARS, 1).coords
    grid = grid_shape(*WAYMO_PILLARS)[1:]
    scales = torch.tensor([1.0, 0.22, 0.39])
    for count in (60, 200):
        boxes, labels = boxes_on(coords, count)
        batch = torch.zeros(count, dtype=torch.int64)
        place: Any = (ORIGIN, CELL, grid, 1)
        dense, sparse = (boxes, batch, labels, 3, *place), (coords, boxes, batch, labels, scales, *place, 0.2)

        def ours(dense: Any = dense) -> list[Tensor]:
            return [gaussian_heat(*dense)]

        def loop(boxes: Tensor = boxes, labels: Tensor = labels) -> list[Tensor]:
            return [torch.from_numpy(centerpoint_loop(boxes.numpy(), labels.numpy(), grid))[None]]

        yield Pair(
            f"dense heat 3 x {grid[0]} x {grid[1]}, {count} boxes",
            "CenterPoint's loop, numpy",
            ours,
            loop,
            1e-6,
            goal=25.0 if count == 200 else 0.0,  # asked of 200 boxes: clearing the map outweighs fewer
        )
        yield Pair(
            f"sparse centre targets, {count} boxes, {len(coords) / 1000:.1f}k voxels",
            "torch, all cells in reach at once",
            _call(centre_targets, sparse),
            _call(reference.centre_targets, sparse),
            same=_same_targets,
        )
        inside = coords, boxes, batch, labels, 3, *place
        yield Pair(
            f"foreground, {count} boxes, {len(coords) / 1000:.1f}k voxels",
            "torch, all cells in reach at once",
            _call(lambda *a: [foreground_targets(*a)], inside),
            _call(lambda *a: [reference.foreground_targets(*a)], inside),
        )


def _call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[[], Any]:
    return lambda: function(*arguments)
