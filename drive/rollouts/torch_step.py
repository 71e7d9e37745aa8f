"""The step of many drives as tensors, for a GPU: `drive.rollouts.simulate.step` with log replay and IDM traffic.

The same rules as the compiled one (`drive.rollouts.agents`), in float64 to 1e-9; float32 keeps 1e-4 m for a second.
Paths are padded to the longest one, so that all that drive by themselves are rows of one array. Who is in the way is
looked for in two rounds: stretches of 8 m against all boxes, then half-metre pieces of what is left.

Shape letters: S drives, A others, D of them that drive by themselves, N points of a path, P pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from drive.plans.corridor import PIECE_M, Idm, idm_numbers
from drive.plans.planner import HISTORY
from drive.rollouts.agents import END_M, REACH_M, REACH_S, START
from drive.rollouts.config import ActorConfig
from drive.rollouts.state import State, World
from drive.rollouts.torch_ego import plan_profiles, step_ego, wrap
from drive.samples.scene import STEP_S

_NOW = HISTORY - 1
STRETCH = 16
"""Pieces of a stretch."""
FAR = 1e9
"""Arc length of the points that pad a path."""


class TorchState(NamedTuple):
    """`State` as tensors, attribute by attribute."""

    step: int
    ego: Tensor
    box: Tensor
    velocity: Tensor
    valid: Tensor
    along: Tensor
    speed: Tensor


class TorchReference(NamedTuple):
    """Plans in force: poses [S, K + 1, 3], the speed and curvature [S, K] they ask for, since int64 [S]."""

    poses: Tensor
    speed: Tensor
    curvature: Tensor
    since: Tensor


@dataclass(frozen=True)
class TorchWorld:
    """What does not change while the drives run.

    Attributes:
        box, velocity, valid: [S, A, H + N, ...], the recording.
        vehicle: [S, 5] length, width, front, centre, wheelbase.
        row: int64 [D], s * A + a of who drives by itself; paths [D, N, 2], along [D, N] (FAR behind a path's end),
            heading [D, N], count int64 [D] points, logged [D, N + 1], first, last int64 [D], desired [D].
    """

    box: Tensor
    velocity: Tensor
    valid: Tensor
    vehicle: Tensor
    row: Tensor
    paths: Tensor
    along: Tensor
    heading: Tensor
    count: Tensor
    logged: Tensor
    first: Tensor
    last: Tensor
    desired: Tensor
    idm: Idm
    bound: bool

    @staticmethod
    def of(world: World, config: ActorConfig, device: str = "cpu", dtype: torch.dtype = torch.float64) -> TorchWorld:
        """A world moved to a device."""
        real = lambda a: torch.as_tensor(np.ascontiguousarray(a), dtype=dtype, device=device)  # noqa: E731
        whole = lambda a: torch.as_tensor(np.ascontiguousarray(a), device=device)  # noqa: E731
        p = world.paths
        row = np.flatnonzero(p.drives)
        count = p.offsets[row + 1] - p.offsets[row]
        most = int(count.max()) if len(row) else 2
        at = p.offsets[row][:, None] + np.minimum(np.arange(most), count[:, None] - 1)
        beyond = np.arange(most) >= count[:, None]
        wheelbase = [[s.vehicle.wheelbase] for s in world.scenes]
        flat = lambda a: a.reshape(len(p.drives.ravel()), *a.shape[2:])[row]  # noqa: E731
        return TorchWorld(
            real(world.recording.box), real(world.recording.velocity), whole(world.recording.valid),
            real(np.concatenate([world.vehicle, wheelbase], axis=1)), whole(row), real(p.places[at]),
            real(np.where(beyond, FAR, p.along[at])), real(p.heading[at]), whole(count), real(flat(p.logged)),
            whole(flat(p.first)), whole(flat(p.last)), real(flat(p.desired)), idm_numbers(config.idm),
            config.never_ahead_of_log,
        )  # fmt: skip

    def state(self, state: State) -> TorchState:
        """A state moved to where the world is."""
        real = lambda a: torch.tensor(a, dtype=self.box.dtype, device=self.box.device)  # noqa: E731
        return TorchState(
            state.step, real(state.ego), real(state.box), real(state.velocity),
            torch.tensor(state.valid, device=self.box.device), real(state.along), real(state.speed),
        )  # fmt: skip


def reference_of(poses: Tensor, since: int = 0) -> TorchReference:
    """Plans [S, K + 1, 3] that come into force at a step."""
    at = torch.full((len(poses),), since, dtype=torch.int64, device=poses.device)
    return TorchReference(poses, *plan_profiles(poses), at)


def step_tensors(world: TorchWorld, state: TorchState, reference: TorchReference) -> TorchState:
    """The world one step (0.1 s) later: `drive.rollouts.simulate.step`."""
    ego = step_ego(
        reference.poses, reference.speed, reference.curvature, state.step - reference.since, state.ego,
        world.vehicle[:, 4],
    )  # fmt: skip
    last = world.valid.shape[2] - 1
    at = min(_NOW + state.step + 1, last)
    box, velocity = world.box[:, :, at].clone(), world.velocity[:, :, at].clone()
    valid = world.valid[:, :, at] & (_NOW + state.step + 1 <= last)
    along, speed = torch.zeros_like(state.along), velocity.norm(dim=-1)
    if len(world.row):
        own = _drivers(world, state)
        for whole, part in zip((box, velocity, valid, along, speed), own, strict=True):
            whole.view(-1, *whole.shape[2:])[world.row] = part
    return TorchState(state.step + 1, ego, box, velocity, valid, along, speed)


def seen_by_all(world: TorchWorld, state: TorchState) -> tuple[Tensor, Tensor]:
    """box [S, A + 1, 5] and valid [S, A + 1] of everybody, the ego last."""
    x, y, heading = state.ego[:, 0], state.ego[:, 1], state.ego[:, 2]
    length, width, _, centre, _ = world.vehicle.T
    ego = torch.stack([x + centre * heading.cos(), y + centre * heading.sin(), length, width, heading], dim=-1)
    there = torch.ones(len(x), 1, dtype=torch.bool, device=x.device)
    return torch.cat([state.box, ego[:, None]], dim=1), torch.cat([state.valid, there], dim=1)


def touch(a: Tensor, b: Tensor) -> Tensor:
    """Whether boxes [..., 5] share a point: separating axes of both, as ``drive.plans.corridor.boxes_touch``."""
    dx, dy = b[..., 0] - a[..., 0], b[..., 1] - a[..., 1]
    ac, asn, bc, bs = a[..., 4].cos(), a[..., 4].sin(), b[..., 4].cos(), b[..., 4].sin()
    cos, sin = (ac * bc + asn * bs).abs(), (ac * bs - asn * bc).abs()
    (al, aw), (bl, bw) = (a[..., 2], a[..., 3]), (b[..., 2], b[..., 3])
    return (
        (2 * (dx * ac + dy * asn).abs() <= al + bl * cos + bw * sin)
        & (2 * (dy * ac - dx * asn).abs() <= aw + bl * sin + bw * cos)
        & (2 * (dx * bc + dy * bs).abs() <= bl + al * cos + aw * sin)
        & (2 * (dy * bc - dx * bs).abs() <= bw + al * sin + aw * cos)
    )


def _drivers(world: TorchWorld, state: TorchState) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """box [D, 5], velocity, valid, along, speed of those who drive by themselves."""
    A, idm, k = state.valid.shape[1], world.idm, state.step
    drive, own = world.row // A, world.row % A
    old = [v.reshape(-1, *v.shape[2:])[world.row] for v in (state.box, state.velocity, state.valid)]
    here, v = state.along.reshape(-1)[world.row], state.speed.reshape(-1)[world.row]
    seen, there = seen_by_all(world, state)
    rows, last = torch.arange(len(own), device=own.device), world.logged.shape[1] - 1
    before, logged = world.logged[:, min(k, last)], world.logged[:, min(k + 1, last)]
    soon = (world.first + START).clamp(max=last)
    began = (world.logged[rows, soon] - world.logged[rows, world.first]) / (
        (soon - world.first).clamp(min=1).to(v.dtype) * STEP_S
    )
    start = here == 0
    v = torch.where(start, began, v)
    gap, leader, heading = nearest_ahead(world, old[0], here, v, seen[drive], there[drive], own)
    followed = leader.clamp(min=0)
    is_ego, cos, sin = leader == A, heading.cos(), heading.sin()
    other = state.velocity[drive, followed.clamp(max=max(A - 1, 0))]
    along_path = torch.where(
        is_ego, state.ego[drive, 3] * (state.ego[drive, 2] - heading).cos(), other[:, 0] * cos + other[:, 1] * sin
    )
    lead = torch.where(leader >= 0, along_path.clamp(min=0), 0.0)
    answer = _idm(v, world.desired, gap, lead, idm)
    if world.bound:
        recorded = (logged - before) / STEP_S
        highest = (recorded**2 + 2 * idm.comfortable_braking * (before - here).clamp(min=0)).sqrt()
        answer = torch.minimum(answer, ((highest - v) / STEP_S).clamp(min=-idm.hardest_braking))
    ended = v + answer * STEP_S
    stops = ended < 0
    distance = torch.where(stops, v * v / (2 * (-answer).clamp(min=1e-9)), 0.5 * (v + ended) * STEP_S)
    v, after = ended.clamp(min=0), here + distance
    if world.bound:
        over = after > logged
        after = torch.where(over, torch.maximum(logged, here), after)
        v = torch.where(over, (after - here) / STEP_S, v)
    place, tangent = _place_on(world, after[:, None])
    new_box = old[0].clone()
    new_box[:, :2], new_box[:, 4] = place[:, 0], wrap(_heading_at(world, after))
    new_velocity = v[:, None] * torch.stack([tangent[:, 0].cos(), tangent[:, 0].sin()], dim=-1)
    end = world.along[rows, world.count - 1]
    new_valid = ~((after >= end - END_M) & (k + 1 > world.last))
    # Who is not there yet waits until nobody is where its track begins.
    first_box = world.box.reshape(-1, *world.box.shape[2:])[world.row, _NOW + world.first]
    first_velocity = world.velocity.reshape(-1, *world.velocity.shape[2:])[world.row, _NOW + world.first]
    longer = first_box.clone()
    longer[:, 2] += 2 * idm.standstill_gap
    free = ~(touch(longer[:, None], seen[drive]) & there[drive]).any(dim=1)
    moves, waits = old[2], ~old[2] & (k + 1 >= world.first) & start
    choose = lambda a, b, c: torch.where(  # noqa: E731
        moves.view(-1, *[1] * (a.ndim - 1)), a, torch.where(waits.view(-1, *[1] * (a.ndim - 1)), b, c)
    )
    speed = state.speed.reshape(-1)[world.row]
    return (
        choose(new_box, first_box, old[0]), choose(new_velocity, first_velocity, old[1]),
        choose(new_valid, free, old[2]), choose(after, here, here), choose(v, speed, speed),
    )  # fmt: skip


def _idm(v: Tensor, desired: Tensor, gap: Tensor, lead: Tensor, p: Idm) -> Tensor:
    """`drive.plans.corridor.idm_one`."""
    gap, desired = gap.clamp(min=1e-3), desired.clamp(min=1e-3)
    way = v * p.headway + v * (v - lead) / (2 * float(np.sqrt(p.acceleration * p.comfortable_braking)))
    wanted = p.standstill_gap + way.clamp(min=0)
    answer = p.acceleration * (1 - (v / desired) ** p.exponent - (wanted / gap) ** 2)
    return answer.clamp(-p.hardest_braking, p.acceleration)


def _segment(world: TorchWorld, s: Tensor) -> Tensor:
    """Segment of each path that arc lengths s [D, P] lie on."""
    k = torch.searchsorted(world.along, s.contiguous()) - 1
    return torch.minimum(k.clamp(min=0), (world.count - 2)[:, None])


def _place_on(world: TorchWorld, s: Tensor) -> tuple[Tensor, Tensor]:
    """Place [D, P, 2] and heading [D, P] at arc lengths s [D, P]: `drive.plans.corridor.place_on`."""
    k = _segment(world, s)
    rows = torch.arange(len(k), device=k.device)[:, None]
    a, b = world.paths[rows, k], world.paths[rows, k + 1]
    first, second = world.along[rows, k], world.along[rows, k + 1]
    share = (s - first) / (second - first).clamp(min=1e-9)
    d = b - a
    return a + share[..., None] * d, torch.atan2(d[..., 1], d[..., 0])


def _heading_at(world: TorchWorld, s: Tensor) -> Tensor:
    """Recorded heading [D] at arc lengths s [D], that of an end beyond it."""
    k = _segment(world, s[:, None])[:, 0]
    rows = torch.arange(len(k), device=k.device)
    first, second = world.along[rows, k], world.along[rows, k + 1]
    share = ((s - first) / (second - first).clamp(min=1e-9)).clamp(0, 1)
    return world.heading[rows, k] * (1 - share) + world.heading[rows, k + 1] * share


def nearest_ahead(
    world: TorchWorld, box: Tensor, here: Tensor, v: Tensor, seen: Tensor, there: Tensor, own: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gap [D], index int64 [D] and path's heading [D] at the first box in the way of each driver: boxes seen
    [D, A + 1, 5]; (inf, -1, 0) where the way is free. `drive.plans.corridor.nearest_ahead`."""
    D, width, front = len(here), box[:, 3], here + 0.5 * box[:, 2]
    pieces = ((REACH_M + REACH_S * v) / PIECE_M).ceil()
    stretches = max(-(-int(pieces.max()) // STRETCH), 1)
    at = torch.arange(stretches * STRETCH, device=here.device)
    place, heading = _place_on(world, front[:, None] + (at + 0.5).to(here.dtype) * PIECE_M)
    radius = 0.5 * (seen[..., 2] ** 2 + seen[..., 3] ** 2).sqrt() + 0.5 * width[:, None] + PIECE_M
    middle = place[:, STRETCH // 2 :: STRETCH]
    away = (middle[:, :, None] - seen[:, None, :, :2]).norm(dim=-1)
    others = there & (torch.arange(seen.shape[1], device=own.device) != own[:, None])
    d, j, b = (others[:, None] & (away <= radius[:, None] + PIECE_M * (STRETCH // 2 + 1))).nonzero(as_tuple=True)
    k = j[:, None] * STRETCH + torch.arange(STRETCH, device=j.device)
    px, ph = place[d[:, None], k], heading[d[:, None], k]
    piece = torch.stack(
        [px[..., 0], px[..., 1], torch.full_like(ph, PIECE_M), width[d][:, None].expand_as(ph), ph], dim=-1
    )
    met = seen[d, b][:, None]
    hit = touch(piece, met) & (k < pieces[d][:, None])
    turn = met[..., 4] - ph
    half = 0.5 * (met[..., 2] * turn.cos().abs() + met[..., 3] * turn.sin().abs())
    into = (met[..., 0] - px[..., 0]) * ph.cos() + (met[..., 1] - px[..., 1]) * ph.sin() - half + 0.5 * PIECE_M
    gaps = torch.where(hit, k * PIECE_M + into.clamp(0, PIECE_M), torch.inf).reshape(-1)
    driver = d[:, None].expand_as(k).reshape(-1)
    gap = torch.full((D,), torch.inf, dtype=here.dtype, device=here.device).scatter_reduce(0, driver, gaps, "amin")
    # Of equal gaps the first box's, and its first piece.
    most = stretches * STRETCH
    never = (seen.shape[1] + 1) * most
    code = torch.where(hit.reshape(-1) & (gaps == gap[driver]), (b[:, None] * most + k).reshape(-1), never)
    best = torch.full((D,), never, dtype=torch.int64, device=here.device).scatter_reduce(0, driver, code, "amin")
    free = best == never
    piece_of = torch.where(free, 0, best % most)
    found = heading[torch.arange(D, device=here.device), piece_of]
    return gap, torch.where(free, -1, best // most), torch.where(free, 0.0, found)
