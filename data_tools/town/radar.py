"""Five radars as on the real car: a few returns an actor with cross-section and radial velocity, some clutter.

Not a physical model. What the lidar sees at the same moment the radar may see too, so that walls hide things from
both. Files are nuScenes' `.pcd`: 18 fields, binary, x forward and y left of the radar, z always 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_tools.town.sensors import Mounted
from drive.geometry.rigid import matrix_to_quaternion
from drive.render.lidar import SweepReturn

# Channel: yaw in degrees, position in the ego frame, microseconds after the lidar sweep's end.
RADARS = {
    "RADAR_FRONT": (0.0, (3.412, 0.0, 0.5), -3000),
    "RADAR_FRONT_LEFT": (85.0, (2.422, 0.800, 0.78), -6000),
    "RADAR_FRONT_RIGHT": (-85.0, (2.422, -0.800, 0.77), -9000),
    "RADAR_BACK_LEFT": (160.0, (-0.562, 0.628, 0.53), -12000),
    "RADAR_BACK_RIGHT": (-160.0, (-0.562, -0.618, 0.53), -15000),
}
PERIOD_US = 100_000
RANGE_M = 100.0
HALF_VIEW_RAD = np.radians(60.0)
CLUTTER = 18
# Mean radar cross-section (dBsm), chance to be detected, most returns, by kind.
ECHO = {
    "car": (9.0, 0.85, 3),
    "truck": (17.0, 0.95, 5),
    "bus": (19.0, 0.95, 6),
    "bicycle": (1.0, 0.5, 1),
    "pedestrian": (-6.0, 0.4, 1),
    "cone": (-12.0, 0.1, 1),
}
_FIELDS = (
    ("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("dyn_prop", "i1"), ("id", "<i2"), ("rcs", "<f4"), ("vx", "<f4"),
    ("vy", "<f4"), ("vx_comp", "<f4"), ("vy_comp", "<f4"), ("is_quality_valid", "i1"), ("ambig_state", "i1"),
    ("x_rms", "i1"), ("y_rms", "i1"), ("invalid_state", "i1"), ("pdh0", "i1"), ("vx_rms", "i1"), ("vy_rms", "i1"),
)  # fmt: skip
RECORD = np.dtype(list(_FIELDS))
MOVING, STATIONARY, ONCOMING = 0, 1, 2


@dataclass(frozen=True)
class Targets:
    """What the radars may see at an instant, N things: kinds, global box poses [N, 3] (x y yaw), sizes [N, 3],
    velocities [N, 2]; and `clutter` [K, 2], global points of still surroundings."""

    kinds: list[str]
    poses: np.ndarray
    sizes: np.ndarray
    velocity: np.ndarray
    clutter: np.ndarray


def radar_mount(channel: str) -> Mounted:
    """Radar frame x forward, y left, z up."""
    degrees, position, _ = RADARS[channel]
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    w, x, y, z = (float(v) for v in matrix_to_quaternion(np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0, 0, 1.0]])))
    return Mounted(position, (w, x, y, z))


def clutter_points(returns: SweepReturn, global_from_lidar: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Global xy [K, 2] of some lidar returns on still things between knee and head height."""
    static = np.flatnonzero(returns.actor < 0)
    chosen = rng.choice(static, min(600, len(static)), replace=False) if len(static) else static
    world = returns.points[chosen].astype(np.float64) @ global_from_lidar[:3, :3].T + global_from_lidar[:3, 3]
    return world[(world[:, 2] > 0.4) & (world[:, 2] < 2.2), :2]


def scan(
    targets: Targets, global_from_radar: np.ndarray, sensor_velocity: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """One scan: structured array of `RECORD`. `sensor_velocity` [2] is the radar's own, global m/s."""
    points, velocity, section = [], [], []
    for n, kind in enumerate(targets.kinds):
        mean, chance, most = ECHO[kind]
        if rng.random() < chance:
            for _ in range(int(rng.integers(1, most + 1))):
                share = rng.uniform(-0.45, 0.45, 2) * targets.sizes[n, :2]
                x, y, yaw = targets.poses[n]
                cos, sin = np.cos(yaw), np.sin(yaw)
                points.append((x + cos * share[0] - sin * share[1], y + sin * share[0] + cos * share[1]))
                velocity.append(targets.velocity[n])
                section.append(mean + rng.normal(0.0, 3.0))
    moving = len(points)
    if len(targets.clutter):
        rows = rng.integers(0, len(targets.clutter), CLUTTER)
        points += list(targets.clutter[rows])
        velocity += [np.zeros(2)] * CLUTTER
        section += list(rng.normal(2.0, 6.0, CLUTTER))
    flat = np.array(points).reshape(-1, 2)
    rotation = global_from_radar[:2, :2]
    local = (flat - global_from_radar[:2, 3]) @ rotation
    local[moving:] += rng.normal(0.0, 0.15, local[moving:].shape)
    reach = np.hypot(local[:, 0], local[:, 1])
    seen = (reach > 0.5) & (reach < RANGE_M) & (np.abs(np.arctan2(local[:, 1], local[:, 0])) < HALF_VIEW_RAD)
    local, reach = local[seen], reach[seen]
    motion = np.array(velocity).reshape(-1, 2)[seen] @ rotation
    own = sensor_velocity @ rotation
    ray = local / reach[:, None]
    # A radar measures only the part of the velocity along the ray.
    over_ground = (motion * ray).sum(axis=1) + rng.normal(0.0, 0.1, len(ray))
    relative = over_ground - ray @ own
    out = np.zeros(len(local), RECORD)
    out["x"], out["y"] = local.T
    out["id"] = np.arange(len(local))
    out["rcs"] = np.round(np.array(section)[seen] * 2) / 2
    out["vx_comp"], out["vy_comp"] = (ray * over_ground[:, None]).T
    out["vx"], out["vy"] = (ray * relative[:, None]).T
    fast = np.hypot(*motion.T) > 0.5
    out["dyn_prop"] = np.where(fast, np.where(over_ground < -0.5, ONCOMING, MOVING), STATIONARY)
    out["is_quality_valid"], out["ambig_state"], out["pdh0"] = 1, 3, 1
    out["x_rms"] = out["y_rms"] = 19
    out["vx_rms"], out["vy_rms"] = 16, 3
    if len(out):
        return out
    # The devkit refuses an empty file: one return that is marked invalid stands for nothing seen.
    nothing = np.zeros(1, RECORD)
    nothing["x"], nothing["invalid_state"], nothing["ambig_state"] = RANGE_M, 1, 3
    return nothing


def to_pcd(records: np.ndarray) -> bytes:
    """A binary `.pcd` file of version 0.7 with nuScenes' 18 fields, and the byte after the last point that the
    devkit's reader insists on."""
    sizes = " ".join(str(RECORD[name].itemsize) for name, _ in _FIELDS)
    types = " ".join("F" if RECORD[name].kind == "f" else "I" for name, _ in _FIELDS)
    header = (
        "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\n"
        f"FIELDS {' '.join(name for name, _ in _FIELDS)}\nSIZE {sizes}\nTYPE {types}\n"
        f"COUNT {' '.join('1' for _ in _FIELDS)}\nWIDTH {len(records)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\n"
        f"POINTS {len(records)}\nDATA binary\n"
    )
    return header.encode("ascii") + records.tobytes() + b"\n"
