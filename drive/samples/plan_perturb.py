"""Decisions beside the recorded drive: the ego put somewhat aside, turned, faster or slower, and the way back.

A planner that has only seen recorded places does not know how to come back to its lane from the half metre that closed
loop takes it aside. After ChauffeurNet (Bansal et al., arXiv 1812.03079), in closed form: the recorded path, beside
which one comes back to it by a cubic, at a speed that comes back to the recorded one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drive.geometry.angles import wrap_angle
from drive.samples.scene import HEADING, VX, X, Y

LEAST_STEP_M = 0.05


@dataclass(frozen=True)
class PerturbConfig:
    """share: of the decisions that are moved. The others are as recorded.

    aside_m, turn_rad, speed_mps: standard deviations, cut at twice that. Speeds are only changed where the ego drives
    at `driving_mps` or more. back_s, back_m: one is back on the path after so many seconds' way, but so many metres at
    least; settle_s: the speed comes back with this time. All [inferred].
    """

    share: float = 0.0
    aside_m: float = 0.4
    turn_rad: float = 0.05
    speed_mps: float = 0.7
    driving_mps: float = 1.0
    back_s: float = 2.5
    back_m: float = 8.0
    settle_s: float = 1.0


@dataclass(frozen=True)
class Beside:
    """aside_m to the left of the path, turned by turn_rad, faster by speed_mps."""

    aside_m: float
    turn_rad: float
    speed_mps: float


def draw(rng: np.random.Generator, speed: float, config: PerturbConfig) -> Beside | None:
    """How a decision is moved, or None."""
    moved = rng.random() < config.share
    aside, turn, faster = np.clip(rng.normal(size=3), -2, 2) * (config.aside_m, config.turn_rad, config.speed_mps)
    if not moved:
        return None
    if speed < config.driving_mps:
        return Beside(float(aside), 0.0, 0.0)
    return Beside(float(aside), float(turn), float(max(faster, config.driving_mps / 2 - speed)))


def ego_beside(ego: np.ndarray, beside: Beside) -> np.ndarray:
    """States [H, 11] of the past, the last row now, as if the ego had come to where it is put. Copies.

    The way aside grows evenly from nothing at the first row: enough for where it was; rates are as recorded.
    """
    out = ego.copy()
    share = np.linspace(0.0, 1.0, len(ego))
    aside = share * beside.aside_m
    out[:, X] = ego[:, X] - aside * np.sin(ego[:, HEADING])
    out[:, Y] = ego[:, Y] + aside * np.cos(ego[:, HEADING])
    out[:, HEADING] = wrap_angle(ego[:, HEADING] + share * beside.turn_rad)
    out[-1, VX] = ego[-1, VX] + beside.speed_mps
    return out


def future_beside(poses: np.ndarray, times_s: np.ndarray, beside: Beside, config: PerturbConfig) -> np.ndarray:
    """Poses [Q, 3] at times_s [Q] after now of the drive that comes back, of recorded poses [T, 3] 0.1 s apart, the
    first now and the last one at the last of the times or later.

    Beside a recording that stands the ego stands where it was put.
    """
    step = np.hypot(*np.diff(poses[:, :2], axis=0).T)
    way = np.concatenate([[0.0], np.cumsum(step)])
    stamps = np.arange(len(poses)) * 0.1
    ways = np.interp(times_s, stamps, way) + beside.speed_mps * times_s * np.exp(-times_s / config.settle_s)
    ways = np.maximum.accumulate(np.maximum(ways, 0.0))
    # Places at least LEAST_STEP_M apart, straight on beyond the last one.
    kept = [0]
    for t in range(1, len(way)):
        if way[t] - way[kept[-1]] >= LEAST_STEP_M:
            kept.append(t)
    path, along = poses[kept, :2], way[kept]
    ends = poses[[kept[-1]], 2]
    beyond = path[-1] + 20.0 * np.array([np.cos(ends[0]), np.sin(ends[0])])
    path, along = np.concatenate([path, [beyond]]), np.append(along, along[-1] + 20.0)
    headings = np.append(np.unwrap(poses[kept, 2]), np.unwrap(poses[kept, 2])[-1])
    speed = way[min(5, len(way) - 1)] / 0.5
    over = max(config.back_m, config.back_s * speed)
    u, slope = np.clip(ways / over, 0.0, 1.0), np.tan(beside.turn_rad)
    aside = beside.aside_m * (1 - 3 * u**2 + 2 * u**3) + over * slope * (u - 2 * u**2 + u**3)
    turned = beside.aside_m / over * (6 * u**2 - 6 * u) + slope * (1 - 4 * u + 3 * u**2)
    places = np.stack([np.interp(ways, along, path[:, 0]), np.interp(ways, along, path[:, 1])], axis=1)
    heading = np.interp(ways, along, headings)
    normal = np.stack([-np.sin(heading), np.cos(heading)], axis=1)
    return np.concatenate([places + aside[:, None] * normal, wrap_angle(heading + np.arctan(turned))[:, None]], axis=1)
