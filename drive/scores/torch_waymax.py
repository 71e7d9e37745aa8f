"""Waymax's four metrics of a step as tensors, for a GPU: `drive.scores.waymax_step` on any device, in any precision.

A GPU cannot look through rings of cells one after the other. So each cell of 4 m of a map lists beforehand every road
edge that can be the nearest one to a place in it, whatever recorded height that place has; a step reads one list a
corner. Maps of road edges alone: others are what the compiled metrics are for.

Shape letters: S drives, O objects (the ego last), E segments of all maps, C cells, K the longest list.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from torch import Tensor

from drive.rollouts.ground import EDGES, Z_WEIGHT, Ground
from drive.rollouts.state import World
from drive.rollouts.torch_ego import wrap
from drive.rollouts.torch_step import TorchState, TorchWorld, seen_by_all, touch
from drive.scores.waymax import WaymaxConfig
from drive.scores.waymax_step import SLACK, recorded

CELL_M, BLOCK = 4.0, 8
"""A cell's side, and how many cells long a block is that lists are first made for."""
AROUND_M = 32.0
"""How far beyond the outermost road edge there are cells. Further out the distance is that to the nearest edge of the
outermost cell's list."""


@dataclass(frozen=True)
class EdgeLists:
    """Road edges of S scenes by cell.

    Attributes:
        segments: [E, 6] x y z of both ends; before, after int64 [E].
        place: [S, 2] corner of the first cell; shape int64 [S, 3] columns, rows, number of the first cell.
        lists: int64 [C, K] segments that can be nearest, padded with -1.
    """

    segments: Tensor
    before: Tensor
    after: Tensor
    place: Tensor
    shape: Tensor
    lists: Tensor

    @staticmethod
    def of(world: World, device: str = "cpu", dtype: torch.dtype = torch.float64) -> EdgeLists:
        """The lists of a world's maps. ValueError: a scene whose road is not bounded by road edges."""
        ground = world.ground
        if (ground.kind != EDGES).any():
            raise ValueError("tensors know where the road ends only where the map has road edges")
        steps = world.ground_z.shape[1]
        heights = [recorded(world, k) for k in range(steps)]
        place, shape, lists, cells = [], [], [], 0
        for s in range(len(world.scenes)):
            z = np.concatenate([h[2][s] for h in heights])
            first = int(ground.edge_starts_at[s])
            members = ground.edge_members[ground.edge_starts[first] : ground.edge_starts[_end(ground, s)]]
            own = np.unique(members)
            low = ground.segments[own][:, [0, 1, 3, 4]].reshape(-1, 2).min(axis=0) - AROUND_M
            high = ground.segments[own][:, [0, 1, 3, 4]].reshape(-1, 2).max(axis=0) + AROUND_M
            columns, rows = (int(n) for n in np.ceil((high - low) / (CELL_M * BLOCK)) * BLOCK)
            counts, flat = _lists(ground.segments, own, low[0], low[1], columns, rows, z.min(), z.max())
            lists.append(np.split(flat, np.cumsum(counts)[:-1]))
            place.append(low)
            shape.append((columns, rows, cells))
            cells += columns * rows
        most = max(len(own) for part in lists for own in part)
        padded = np.full((cells, most), -1, np.int64)
        for n, own in enumerate(own for part in lists for own in part):
            padded[n, : len(own)] = own
        real = lambda a: torch.tensor(np.asarray(a), dtype=dtype, device=device)  # noqa: E731
        whole = lambda a: torch.tensor(np.asarray(a), device=device)  # noqa: E731
        return EdgeLists(
            real(ground.segments), whole(ground.before), whole(ground.after), real(place), whole(shape), whole(padded)
        )


def _end(ground: Ground, s: int) -> int:
    """Index into edge_starts of the end of scene s's last cell."""
    return int(ground.edge_starts_at[s] + ground.edge_place[s, 3] * ground.edge_place[s, 4])


@njit(cache=True, nogil=True)
def _lists(segments, own, x, y, columns, rows, z_low, z_high):  # type: ignore[no-untyped-def]
    """(segments in each cell's list int64 [columns * rows], the lists one after the other)."""
    counts = np.zeros(columns * rows, np.int64)
    flat = np.empty(1024, np.int64)
    used = 0
    for bj in range(rows // BLOCK):
        side = BLOCK * CELL_M
        blocks = [
            _can_be_nearest(segments, own, x + (bi + 0.5) * side, y + (bj + 0.5) * side, side, z_low, z_high)
            for bi in range(columns // BLOCK)
        ]
        for j in range(bj * BLOCK, (bj + 1) * BLOCK):
            for i in range(columns):
                cx, cy = x + (i + 0.5) * CELL_M, y + (j + 0.5) * CELL_M
                found = _can_be_nearest(segments, blocks[i // BLOCK], cx, cy, CELL_M, z_low, z_high)
                while used + found.size > flat.size:
                    flat = np.concatenate((flat, np.empty(flat.size, np.int64)))
                flat[used : used + found.size] = found
                counts[j * columns + i] = found.size
                used += found.size
    return counts, flat[:used]


@njit(cache=True, nogil=True)
def _can_be_nearest(segments, among, x, y, side, z_low, z_high):  # type: ignore[no-untyped-def]
    """Which segments can be the nearest (heights stretched) to a place in the square around (x, y) at a height between
    z_low and z_high: whose least distance is not above the smallest of all greatest ones."""
    radius = side * np.sqrt(0.5) + 1e-3
    least, bound = np.empty(among.size), np.inf
    for n in range(among.size):
        q = among[n]
        x0, y0, z0, x1, y1, z1 = segments[q]
        dx, dy, ox, oy = x1 - x0, y1 - y0, x - x0, y - y0
        share = min(max((ox * dx + oy * dy) / max(dx * dx + dy * dy, 1e-18), 0.0), 1.0)
        away = np.sqrt((ox - share * dx) ** 2 + (oy - share * dy) ** 2)
        low, high = min(z0, z1), max(z0, z1)
        near = Z_WEIGHT * max(low - z_high, z_low - high, 0.0)
        far = Z_WEIGHT * max(high - z_low, z_high - low)
        least[n] = max(away - radius, 0.0) ** 2 + near * near
        bound = min(bound, (away + radius) ** 2 + far * far)
    return among[least <= bound]


def off_road(edges: EdgeLists, places: Tensor, z: Tensor) -> Tensor:
    """`drive.rollouts.ground.off_road` [S, Q] of places [S, Q, 2] at heights z [S, Q]."""
    columns, rows, first = (edges.shape[:, c, None] for c in range(3))
    at = ((places - edges.place[:, None]) / CELL_M).floor().long()
    cell = first + at[..., 1].clamp(min=0).minimum(rows - 1) * columns + at[..., 0].clamp(min=0).minimum(columns - 1)
    rows_of = edges.lists[cell]
    q = edges.segments[rows_of.clamp(min=0)]
    weight = torch.tensor([1.0, 1.0, Z_WEIGHT], dtype=q.dtype, device=q.device)
    d = (q[..., 3:] - q[..., :3]) * weight
    o = (torch.cat([places, z[..., None]], dim=-1)[..., None, :] - q[..., :3]) * weight
    share = ((o * d).sum(-1) / (d * d).sum(-1).clamp(min=1e-18)).clamp(0, 1)
    gap = ((o - share[..., None] * d) ** 2).sum(-1)
    best = torch.where(rows_of >= 0, gap, torch.inf).argmin(-1, keepdim=True)
    found, t = rows_of.gather(-1, best)[..., 0], share.gather(-1, best)[..., 0]
    q = edges.segments[found]
    away = places - (q[..., :2] + t[..., None] * (q[..., 3:5] - q[..., :2]))
    other = torch.where(t <= 0, edges.before[found], torch.where(t >= 1, edges.after[found], -1))
    n = edges.segments[other.clamp(min=0)]
    cross = (q[..., 3] - q[..., 0]) * (n[..., 4] - n[..., 1]) - (q[..., 4] - q[..., 1]) * (n[..., 3] - n[..., 0])
    turns_left = torch.where(t <= 0, cross < 0, cross > 0)
    left, left_too = _left_of(q, places), _left_of(n, places)
    left = torch.where(other < 0, left, torch.where(turns_left, left & left_too, left | left_too))
    distance = away.norm(dim=-1)
    return torch.where(left, -distance, distance)


def _left_of(q: Tensor, places: Tensor) -> Tensor:
    across = (q[..., 3] - q[..., 0]) * (places[..., 1] - q[..., 1])
    return across - (q[..., 4] - q[..., 1]) * (places[..., 0] - q[..., 0]) >= 0


@dataclass(frozen=True)
class Logged:
    """What was recorded at each step: xy [N + 1, S, O, 2], valid [N + 1, S, O], z [N + 1, S, O] global height."""

    xy: Tensor
    valid: Tensor
    z: Tensor

    @staticmethod
    def of(world: World, device: str = "cpu", dtype: torch.dtype = torch.float64) -> Logged:
        """All steps of a world's drives."""
        xy, valid, z = (np.stack(v) for v in zip(*(recorded(world, k) for k in range(world.ground_z.shape[1]))))  # noqa: B905
        real = lambda a: torch.tensor(a, dtype=dtype, device=device)  # noqa: E731
        return Logged(real(xy), torch.tensor(valid, device=device), real(z))


def step_metrics_tensors(
    world: TorchWorld, edges: EdgeLists, logged: Logged, before: TorchState, after: TorchState,
    config: WaymaxConfig | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """overlap bool, off_road_m, divergence_m, infeasible bool [S, O]: `drive.scores.waymax_step.StepMetrics`."""
    config = config or WaymaxConfig()
    box, valid = seen_by_all(world, after)
    k = min(after.step, len(logged.z) - 1)
    pairs = touch(box[:, :, None], box[:, None]) & valid[:, :, None] & valid[:, None]
    overlap = (pairs & ~torch.eye(box.shape[1], dtype=torch.bool, device=box.device)).any(-1)
    cos, sin = box[..., 4].cos(), box[..., 4].sin()
    half = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=box.dtype, device=box.device) / 2
    ahead, left = (box[..., 2:4, None] * half.T).unbind(-2)
    corners = torch.stack(
        [box[..., 0, None] + ahead * cos[..., None] - left * sin[..., None],
         box[..., 1, None] + ahead * sin[..., None] + left * cos[..., None]], dim=-1,
    )  # fmt: skip
    S, objects = valid.shape
    heights = logged.z[k][..., None].expand(S, objects, 4).reshape(S, -1)
    off = off_road(edges, corners.reshape(S, -1, 2), heights).reshape(S, objects, 4).amax(-1)
    both = valid & logged.valid[k]
    divergence = torch.where(both, (box[..., :2] - logged.xy[k]).norm(dim=-1), 0.0)
    return overlap, torch.where(valid, off, 0.0), divergence, _infeasible(world, before, after, config)


def _infeasible(world: TorchWorld, before: TorchState, after: TorchState, config: WaymaxConfig) -> Tensor:
    """No car could have come here from the instant before."""

    def moving(state: TorchState) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        box, valid = seen_by_all(world, state)
        course = torch.stack([state.ego[:, 2].cos(), state.ego[:, 2].sin()], dim=-1) * state.ego[:, 3, None]
        velocity = torch.cat([state.velocity, course[:, None]], dim=1)
        return box[..., 4], velocity, velocity.norm(dim=-1), valid

    heading, _, speed, there = moving(before)
    new_heading, velocity, new_speed, valid = moving(after)
    step = config.step_s
    acceleration = (new_speed - speed) / step
    course = torch.where(new_speed > config.standing_mps, torch.atan2(velocity[..., 1], velocity[..., 0]), new_heading)
    way = speed * step + 0.5 * acceleration * step * step
    bends = wrap(course - heading).abs() > (config.most_curvature_1pm + SLACK) * way.abs()
    moves = (speed >= config.standing_mps) & (new_speed >= config.standing_mps)
    hard = acceleration.abs() > config.most_acceleration_mps2 + SLACK
    return (hard | (moves & bends)) & there & valid
