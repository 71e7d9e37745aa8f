"""Which lanes a recorded drive took: the likeliest sequence of lanes for a sequence of poses (Viterbi)."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from drive.geometry.angles import angle_difference
from drive.geometry.polylines import arc_length, project_to_polyline
from drive.samples.scene import SceneMap

REACH_M, REACH_RAD = 3.0, np.deg2rad(45.0)
OFFSET_M, TURN_RAD = 1.0, np.deg2rad(20.0)
SAME, BESIDE, JUMP = 0.0, 4.0, 25.0
HOPS = 3
"""Lanes this many links ahead count as following: between two instants one may pass a short lane."""


@dataclass(frozen=True)
class Stay:
    """A stretch of the drive in one lane, with the arc lengths (m) of its first and last matched pose there."""

    lane: int
    enter: float
    leave: float


def match(lanes: SceneMap, poses: np.ndarray) -> tuple[list[Stay], int]:
    """The stays of a drive through poses float64 [Q, 3] (x, y, heading), and how many poses lie in a lane.

    Candidates are lanes whose centre line passes within REACH_M and REACH_RAD; costs as in the module's constants.
    """
    along, cost = _candidates(lanes, poses)
    known = np.flatnonzero(np.isfinite(cost).any(axis=1))
    if not len(known):
        return [], 0
    move = _Moves(lanes)
    total = cost[known[0]]
    came = np.zeros((len(known), cost.shape[1]), np.int64)
    for k, q in enumerate(known[1:], start=1):
        live = np.flatnonzero(np.isfinite(total))
        ways = total[live, None] + np.array([[move(i, j) for j in range(cost.shape[1])] for i in live.tolist()])
        best = ways.argmin(axis=0)
        came[k] = live[best]
        total = ways[best, np.arange(cost.shape[1])] + cost[q]
    lane = int(total.argmin())
    path = [lane]
    for k in range(len(known) - 1, 0, -1):
        lane = int(came[k, lane])
        path.append(lane)
    path.reverse()
    stays: list[Stay] = []
    for q, lane in zip(known, path, strict=True):
        at = float(along[q, lane])
        if stays and stays[-1].lane == lane:
            stays[-1] = Stay(lane, stays[-1].enter, max(at, stays[-1].leave))
        else:
            stays.append(Stay(lane, at, at))
    return stays, len(known)


def _candidates(lanes: SceneMap, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Arc length and cost [Q, L] of each pose on each lane; cost infinite where it is no candidate."""
    count = len(lanes.lane_ids)
    along, cost = np.zeros((len(poses), count)), np.full((len(poses), count), np.inf)
    for lane in range(count):
        line = lanes.lane_line(lane)
        low, high = line.min(axis=0) - REACH_M, line.max(axis=0) + REACH_M
        near = np.flatnonzero(((poses[:, :2] >= low) & (poses[:, :2] <= high)).all(axis=1))
        if not len(near):
            continue
        at, offset = project_to_polyline(line, poses[near])
        length = arc_length(line)
        segment = np.clip(np.searchsorted(length, at, side="right") - 1, 0, len(line) - 2)
        step = line[segment + 1] - line[segment]
        turn = angle_difference(poses[near, 2], np.arctan2(step[:, 1], step[:, 0]))
        good = (np.abs(offset) <= REACH_M) & (np.abs(turn) <= REACH_RAD)
        along[near, lane] = at
        cost[near[good], lane] = ((offset / OFFSET_M) ** 2 + (turn / TURN_RAD) ** 2)[good]
    return along, cost


class _Moves:
    """Cost of going from a lane to another one between two instants, worked out when first asked for."""

    def __init__(self, lanes: SceneMap) -> None:
        self.lanes = lanes
        self.known: dict[int, dict[int, float]] = {}

    def __call__(self, start: int, end: int) -> float:
        if start not in self.known:
            self.known[start] = self._from(start)
        return self.known[start].get(end, JUMP)

    def _from(self, start: int) -> dict[int, float]:
        costs = {start: SAME}
        front = [start]
        for _ in range(HOPS):
            front = [int(n) for lane in front for n in self.lanes.successors_of(lane) if int(n) not in costs]
            costs.update(dict.fromkeys(front, SAME))
        for lane in list(costs):
            for other in (self.lanes.left[lane], self.lanes.right[lane]):
                if other >= 0:
                    costs.setdefault(int(other), BESIDE)
        return costs


def shortest(lanes: SceneMap, start: int, end: int, longest_m: float) -> list[int] | None:
    """Lanes between ``start`` and ``end`` (both left out) on the shortest way; None: none is under ``longest_m``."""
    length = {start: 0.0}
    came: dict[int, int] = {}
    queue = [(0.0, start)]
    while queue:
        cost, lane = heapq.heappop(queue)
        if lane == end:
            way = []
            while came[lane] != start:
                lane = came[lane]
                way.append(lane)
            return way[::-1]
        if cost > length[lane]:
            continue
        for follow in lanes.successors_of(lane).tolist():
            line = lanes.lane_line(follow)
            further = cost + (0.0 if follow == end else float(arc_length(line)[-1]))
            if further < min(length.get(follow, np.inf), longest_m):
                length[follow], came[follow] = further, lane
                heapq.heappush(queue, (further, follow))
    return None
