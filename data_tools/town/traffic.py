"""The traffic: movers on fixed paths, their speeds by IDM, right of way by reservation; then poses at any instant.

Every mover keeps to its path and decides only how fast to follow it. It looks along its own path for anything whose
outline reaches into it (leader, crossing vehicle, pedestrian, ego), and treats as a standing leader: the stop line of
an intersection it has not reserved, and a pedestrian crossing that somebody has claimed. An intersection grants a
passage only if it stays clear of every passage already granted, so that nothing drives through anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from data_tools.town.routes import SPACING, Passage, Path, rolling_headings
from drive.dynamics.idm import IdmParameters, advance, idm_acceleration
from drive.geometry.angles import wrap_angle

STEP = 0.1  # seconds
REACH = 45.0  # metres a driver looks ahead
WALK_REACH = 1.6
CLEARANCE = 0.3  # beside a vehicle
DRIVER = IdmParameters()


@dataclass(frozen=True)
class Mover:
    """One thing on a path: `half_length` and `half_width` of its box, `axle` half the distance between the two points
    of it that follow the path exactly, `hold_until` the time before which it stands still.

    `rolls`: the box's centre follows the path instead, and the rear axle, `axle` behind it, never slips sideways: it
    moves along the heading, as a vehicle's does.
    """

    path: Path
    start: float
    speed: float
    desired_speed: float
    half_length: float
    half_width: float
    axle: float
    walks: bool
    hold_until: float = -1e9
    rolls: bool = False


class Fleet:
    """Poses of movers from their arc lengths, all at once."""

    def __init__(self, movers: list[Mover]) -> None:
        self.movers = movers
        counts = np.array([len(m.path.points) for m in movers], dtype=np.int64)
        self.first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.points = np.concatenate([m.path.points for m in movers])
        self.limits = np.concatenate([m.path.speed_limit for m in movers])
        self.axle = np.array([m.axle for m in movers])
        self.half_length = np.array([m.half_length for m in movers])
        self.half_width = np.array([m.half_width for m in movers])
        self.rolling = {i: rolling_headings(m.path.points, m.axle) for i, m in enumerate(movers) if m.rolls}

    def at(self, along: np.ndarray) -> np.ndarray:
        """Path points [..., N, 2] of the first N movers at arc lengths [..., N]."""
        first = self.first[: along.shape[-1] + 1]
        place = np.clip(along / SPACING, 0.0, np.diff(first) - 1.001)
        low = place.astype(np.int64)
        share = (place - low)[..., None]
        rows = first[:-1] + low
        return (1 - share) * self.points[rows] + share * self.points[rows + 1]

    def pose(self, along: np.ndarray) -> np.ndarray:
        """Box centres and yaws [..., N, 3] of the first N: the chord between the two points that follow the path; of
        those that roll, the path's point and the heading that the rear axle has been pulled to."""
        axle = self.axle[: along.shape[-1]]
        rear, front = self.at(along - axle), self.at(along + axle)
        step = front - rear
        poses = np.empty((*along.shape, 3))
        poses[..., :2], poses[..., 2] = (rear + front) / 2, np.arctan2(step[..., 1], step[..., 0])
        for i, headings in self.rolling.items():
            if i < along.shape[-1]:
                poses[..., i, :2] = self.at(along[..., : i + 1])[..., i, :]
                poses[..., i, 2] = wrap_angle(np.interp(along[..., i] / SPACING, np.arange(len(headings)), headings))
        return poses

    def limit(self, along: np.ndarray) -> np.ndarray:
        count = np.diff(self.first)
        return self.limits[self.first[:-1] + np.clip((along / SPACING).astype(np.int64), 0, count - 1)]


def outline_points(movers: list[Mover]) -> tuple[np.ndarray, np.ndarray]:
    """Body-frame points [F, 2] around each mover's box at most a metre apart, and their offsets [N + 1]."""
    points, first = [], [0]
    for m in movers:
        xs = np.linspace(-m.half_length, m.half_length, int(2 * m.half_length) + 2)
        ys = np.linspace(-m.half_width, m.half_width, int(2 * m.half_width) + 2)
        sides = [np.column_stack([xs, np.full_like(xs, y)]) for y in (-m.half_width, m.half_width)]
        ends = [np.column_stack([np.full_like(ys, x), ys]) for x in (-m.half_length, m.half_length)]
        points.append(np.concatenate(sides + ends))
        first.append(first[-1] + len(points[-1]))
    return np.concatenate(points), np.array(first, dtype=np.int64)


@numba.njit(cache=True, nogil=True)
def path_gaps(
    points: np.ndarray, first: np.ndarray, front: np.ndarray, half_width: np.ndarray, reach: np.ndarray,
    poses: np.ndarray, radius: np.ndarray, speed: np.ndarray, outline: np.ndarray, outline_first: np.ndarray,
    gap: np.ndarray, leader_speed: np.ndarray, leader: np.ndarray, clearance: float, spacing: float,
) -> None:  # fmt: skip
    """Writes for each mover the free distance [N] along its path before the first outline point in its way, that
    thing's speed [N] along the path, and its index [N] (-1, infinity where nothing is within reach)."""
    count = len(front)
    for i in range(count):
        gap[i], leader_speed[i], leader[i] = np.inf, 0.0, -1
        k0 = int(np.ceil(front[i] / spacing))
        last = first[i + 1] - first[i] - 2
        limit2 = (half_width[i] + clearance) ** 2
        for j in range(count):
            if i == j:
                continue
            dx, dy = poses[j, 0] - poses[i, 0], poses[j, 1] - poses[i, 1]
            if dx * dx + dy * dy > (reach[i] + radius[i] + radius[j]) ** 2:
                continue
            k1 = min(last, k0 + int(min(reach[i], gap[i]) / spacing))
            # Whom no point of the path comes near has no outline in the way: most of them.
            near2, near = (radius[j] + half_width[i] + clearance + 1e-6) ** 2, False
            for k in range(k0, k1 + 1):
                px, py = points[first[i] + k, 0] - poses[j, 0], points[first[i] + k, 1] - poses[j, 1]
                if px * px + py * py < near2:
                    near = True
                    break
            if not near:
                continue
            cos, sin = np.cos(poses[j, 2]), np.sin(poses[j, 2])
            for f in range(outline_first[j], outline_first[j + 1]):
                x = poses[j, 0] + cos * outline[f, 0] - sin * outline[f, 1]
                y = poses[j, 1] + sin * outline[f, 0] + cos * outline[f, 1]
                for k in range(k0, k1 + 1):
                    px, py = points[first[i] + k, 0], points[first[i] + k, 1]
                    if (px - x) ** 2 + (py - y) ** 2 < limit2:
                        found = k * spacing - front[i]
                        if found < gap[i]:
                            hx = points[first[i] + k + 1, 0] - px
                            hy = points[first[i] + k + 1, 1] - py
                            gap[i] = found
                            leader[i] = j
                            leader_speed[i] = max(0.0, speed[j] * (cos * hx + sin * hy) / spacing)
                        break


@dataclass(frozen=True)
class History:
    """Arc lengths and speeds [T, N] of a fleet every `STEP` seconds, the first at `start_time`."""

    fleet: Fleet
    start_time: float
    along: np.ndarray
    speed: np.ndarray

    def along_at(self, time: float, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Arc lengths and speeds [N] of the first `count` movers (all) at a time: the cubic through two steps."""
        place = min(max((time - self.start_time) / STEP, 0.0), len(self.along) - 1.000001)
        k = int(place)
        u = place - k
        a, b = self.along[k, :count], self.along[k + 1, :count]
        va, vb = self.speed[k, :count], self.speed[k + 1, :count]
        along = (2 * u**3 - 3 * u**2 + 1) * a + (3 * u**2 - 2 * u**3) * b
        along += ((u**3 - 2 * u**2 + u) * va + (u**3 - u**2) * vb) * STEP
        return along, (1 - u) * va + u * vb

    def poses_at(self, time: float, count: int | None = None) -> np.ndarray:
        """Box centres and yaws [N, 3] of the first `count` movers (all)."""
        return self.fleet.pose(self.along_at(time, count)[0])


class _RightOfWay:
    """Reservations of intersections by vehicles and claims of crossings by pedestrians."""

    def __init__(self, movers: list[Mover]) -> None:
        self.movers = movers
        self.poses = np.zeros((len(movers), 3))  # of this step
        self.next_junction = [0] * len(movers)
        self.next_passage = [0] * len(movers)
        self.held: dict[int, dict[int, int]] = {}  # node -> mover -> index of its junction
        self.claims: dict[int, set[int]] = {}  # crossing -> pedestrians
        self.clear: dict[tuple[int, int, int, int], bool] = {}

    def compatible(self, i: int, ki: int, j: int, kj: int) -> bool:
        """Whether two passages of one intersection never come near each other."""
        key = (i, ki, j, kj)
        if key not in self.clear:
            a, b = self.movers[i].path.junctions[ki].line, self.movers[j].path.junctions[kj].line
            distance = np.linalg.norm(a[:, None] - b[None], axis=-1)
            room = self.movers[i].half_width + self.movers[j].half_width + 0.5
            room += 0.6 * (max(self.movers[i].half_length, self.movers[j].half_length) > 3.5)  # long bodies swing
            # Two that leave the same lane in the same place follow each other: no conflict.
            same_way_in = float(np.linalg.norm(a[0] - b[0])) < 1.0
            self.clear[key] = self.clear[(j, kj, i, ki)] = bool(distance.min() > room) or same_way_in
        return self.clear[key]

    def barrier(self, i: int, front: float, rear: float, speed: float, leader_gap: float) -> float:
        """Distance to where vehicle `i` must stop for a junction or a crossing (infinity: nowhere).

        Mover 0, the ego, asks for its way earlier than others do, so that recordings get somewhere.
        """
        mover, best = self.movers[i], np.inf
        k = self.next_junction[i]
        junctions = mover.path.junctions
        while k < len(junctions) and rear > junctions[k].leave + 0.5:
            self.held.get(junctions[k].node, {}).pop(i, None)
            k += 1
        self.next_junction[i] = k
        if k < len(junctions):
            junction = junctions[k]
            holders = self.held.setdefault(junction.node, {})
            ahead = junction.stop - front
            if i not in holders:
                near = ahead < (34.0 if i == 0 else max(18.0, 2.6 * speed)) and leader_gap > ahead - 0.5
                if near and all(self.compatible(i, k, j, kj) for j, kj in holders.items()):
                    holders[i] = k
                else:
                    best = min(best, max(ahead, 0.05))
            # Look past a granted junction only when it is left: the next one is a road away.
        p = self.next_passage[i]
        passages = mover.path.passages
        while p < len(passages) and rear > passages[p].stop:
            p += 1
        self.next_passage[i] = p
        for passage in passages[p : p + 2]:
            ahead = passage.start - 0.8 - front
            if ahead > -0.6 and self.blocked(i, passage):
                best = min(best, max(ahead, 0.05))
        return best

    def blocked(self, i: int, passage: Passage) -> bool:
        """Whether somebody on the crossing is in the vehicle's way or will be before it has passed."""
        claimed = self.claims.get(passage.crossing)
        if not claimed:
            return False
        mover = self.movers[i]
        middle = mover.path.points[int((passage.start + passage.stop) / 2 / SPACING)]
        for walker in claimed:
            x, y, yaw = self.poses[walker]
            to_go = (middle[0] - x) * np.cos(yaw) + (middle[1] - y) * np.sin(yaw)
            if -(mover.half_width + 0.9) < to_go < mover.half_width + 4.0 + 0.6 * mover.half_length:
                return True
        return False

    def may_walk(self, i: int, along: float, vehicles: list[tuple[int, float, float, float]]) -> bool:
        """Whether pedestrian `i` may go on: claims the crossing it stands before when the traffic allows it."""
        mover, p = self.movers[i], self.next_passage[i]
        passages = mover.path.passages
        if p < len(passages) and along - mover.half_length > passages[p].stop:
            self.claims[passages[p].crossing].discard(i)
            p = self.next_passage[i] = p + 1
        if p >= len(passages) or along + mover.half_length + 0.3 < passages[p].start:
            return True
        claimed = self.claims.setdefault(passages[p].crossing, set())
        if i in claimed:
            return True
        for j, front, rear, speed in vehicles:
            for passage in self.movers[j].path.passages[self.next_passage[j] :][:3]:
                if passage.crossing == passages[p].crossing and rear < passage.stop + 0.3:
                    ahead = passage.start - 0.8 - front
                    if ahead < speed**2 / 5.0 + 0.4 * speed:
                        return False
        claimed.add(i)
        return True


def simulate(movers: list[Mover], start_time: float, end_time: float) -> History:
    """Drive and walk from `start_time` to a little after `end_time`; deterministic, no random numbers inside."""
    fleet = Fleet(movers)
    way = _RightOfWay(movers)
    outline, outline_first = outline_points(movers)
    walks = np.array([m.walks for m in movers])
    desired = np.array([m.desired_speed for m in movers])
    reach = np.where(walks, WALK_REACH, REACH)
    clearance_width = fleet.half_width + np.where(walks, -0.22, 0.0)
    radius = np.hypot(fleet.half_length, fleet.half_width)
    hold = np.array([m.hold_until for m in movers])
    along, speed = np.array([m.start for m in movers]), np.array([m.speed for m in movers])
    count = len(movers)
    gap, leader_speed, leader = np.empty(count), np.empty(count), np.empty(count, dtype=np.int64)
    drivers, walkers = np.flatnonzero(~walks), np.flatnonzero(walks)
    steps = int(np.ceil((end_time - start_time) / STEP)) + 3
    history_along, history_speed = [along.copy()], [speed.copy()]
    for step in range(steps):
        time = start_time + step * STEP
        poses = way.poses = fleet.pose(along)
        front, rear = along + fleet.half_length, along - fleet.half_length
        path_gaps(fleet.points, fleet.first, front, clearance_width, reach, poses, radius, speed, outline,
                  outline_first, gap, leader_speed, leader, CLEARANCE, SPACING)  # fmt: skip
        barrier = np.full(count, np.inf)
        for i in drivers:
            barrier[i] = way.barrier(int(i), front[i], rear[i], speed[i], gap[i])
        wanted = np.minimum(desired, fleet.limit(along))
        free = idm_acceleration(speed, wanted, gap - 0.3, leader_speed, DRIVER)
        # A driver stops with the bumper at the line, not a standstill gap before it.
        lines = idm_acceleration(speed, wanted, barrier + DRIVER.standstill_gap_m - 0.5, np.zeros(count), DRIVER)
        acceleration = np.minimum(free, lines)
        acceleration[time < hold] = -DRIVER.hardest_braking_mps2
        vehicles = [(int(j), float(front[j]), float(rear[j]), float(speed[j])) for j in drivers]
        new_along, new_speed = advance(along, speed, acceleration, STEP)
        for i in walkers:
            go = way.may_walk(int(i), float(along[i]), vehicles)
            target = float(desired[i]) * min(max((float(gap[i]) - 0.35) / 0.8, 0.0), 1.0) if go else 0.0
            # A walker stops within a step and sets off gently.
            new_speed[i] = min(max(target, float(speed[i]) - 0.3), float(speed[i]) + 0.15) if target > 0 else 0.0
            new_along[i] = along[i] + new_speed[i] * STEP
        along, speed = new_along, new_speed
        history_along.append(along.copy())
        history_speed.append(speed.copy())
    return History(fleet, start_time, np.array(history_along), np.array(history_speed))
