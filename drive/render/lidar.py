"""A spinning lidar by ray casting.

The lidar frame is that of the pose given (for the 32-beam model: x right, y forward, z up, about 1.84 m above ground);
the model holds only the beam pattern. Each column is cast from its own interpolated pose at its own time, so the scan
carries both motions; ego motion is then compensated to the sweep's end (as nuScenes does), while actors stay smeared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from drive.render.cast import GROUND_HIT, NO_HIT, cast, ground_material, random_unit, surface_normal
from drive.render.scene import COLOUR_MATTERS, ELLIPSOID, REFLECTIVITY, Actors, Material, StaticScene, scene_solids


@dataclass(frozen=True)
class LidarModel:
    """The beam pattern and the physics of one spinning lidar.

    beam_elevations_rad: one a ring, in ring order. Column c of ``columns`` is fired ``(c + 1) / columns`` of
    ``period_s`` after the sweep's start, at azimuth ``start_azimuth_rad`` -/+ (c + 0.5) turns / columns in the lidar
    frame (counter-clockwise from its +x; minus when ``clockwise``).

    Physics: ``range_noise_m`` is one sigma along the ray. A surface of reflectivity rho met at incidence cosine m and
    range r returns a signal ``rho * sqrt(m) * (half_range_m / r)^2 / 0.1``; it is detected with probability
    ``1 / (1 + signal^-2) * (1 - dropout)``, so half_range_m is where a dark wall (rho 0.1) is seen half of the
    time. Glass passes or mirrors ``glass_dropout`` of its rays. ``foliage_depth_m`` is the mean depth at which leaves
    are met in porous ellipsoids; 0 makes them solid.
    """

    name: str
    beam_elevations_rad: tuple[float, ...]
    columns: int
    period_s: float
    start_azimuth_rad: float
    clockwise: bool = True
    min_range_m: float = 1.0
    max_range_m: float = 100.0
    range_noise_m: float = 0.02
    dropout: float = 0.01
    glass_dropout: float = 0.75
    half_range_m: float = 75.0
    foliage_depth_m: float = 0.35

    def __post_init__(self) -> None:
        elevations = np.asarray(self.beam_elevations_rad)
        if elevations.size == 0 or self.columns < 1 or np.abs(elevations).max() > math.radians(80.0):
            raise ValueError("a LidarModel needs beams within 80 degrees of the horizon and at least one column")
        if not (0.0 <= self.min_range_m < self.max_range_m and self.period_s > 0.0):
            raise ValueError("a LidarModel needs 0 <= min_range_m < max_range_m and a positive period")


# Rings and columns of real nuScenes sweeps: 4/3 degrees apart, ring 0 lowest, clockwise from the left side.
NUSCENES_32 = LidarModel(
    name="nuscenes_32",
    beam_elevations_rad=tuple(np.radians(-30.67 + np.arange(32) * 4.0 / 3.0).tolist()),
    columns=1084,
    period_s=0.05,
    start_azimuth_rad=math.radians(188.0),
)
# Waymo's top lidar: ring 0 highest, denser towards the horizon, frame x forward, y left (start behind, clockwise).
WAYMO_64 = LidarModel(
    name="waymo_64",
    beam_elevations_rad=tuple(np.radians(2.4 - (0.17 * np.arange(64) + 9.29 / 3969.0 * np.arange(64) ** 2)).tolist()),
    columns=2650,
    period_s=0.1,
    start_azimuth_rad=math.pi,
    max_range_m=75.0,
)


@dataclass(frozen=True, eq=False)
class SweepReturn:
    """The P returns of one turn, in firing order (column by column, beams from the lowest up).

    points float32 [P, 3] in the lidar frame at the sweep's end; intensity float32 [P] 0..255; ring int32 [P];
    time_offset_s float32 [P] <= 0, before the sweep's end; actor int32 [P], index into the actors, -1 = static.
    """

    points: np.ndarray
    intensity: np.ndarray
    ring: np.ndarray
    time_offset_s: np.ndarray
    actor: np.ndarray


@dataclass(frozen=True, eq=False)
class ColumnPoses:
    """Where each of C columns is fired: origin, along, up float64 [C, 3] GLOBAL, time_s float64 [C] <= 0, azimuth
    float64 [C] ascending; frame float64 [4, 3] and the pads of ``cast.cast``."""

    origin: np.ndarray
    along: np.ndarray
    up: np.ndarray
    time_s: np.ndarray
    azimuth: np.ndarray
    frame: np.ndarray
    pad_m: float
    pad_rad: float


def _rotation_vector(rotation: np.ndarray) -> np.ndarray:
    """Axis times angle [3] of a rotation matrix [3, 3] (angle below pi: a sensor does not turn over in a sweep)."""
    skew = 0.5 * np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    sine = float(np.sqrt(skew @ skew))
    angle = math.atan2(sine, 0.5 * (float(np.trace(rotation)) - 1.0))
    if sine < 1e-12:
        if angle > 1.0:
            raise ValueError("the lidar's start and end pose are half a turn apart")
        return skew
    return skew * (angle / sine)


def column_poses(model: LidarModel, global_from_start: np.ndarray, global_from_end: np.ndarray) -> ColumnPoses:
    """Pose of every column: position linear, rotation about one axis at constant speed between the two 4x4 poses."""
    for pose in (global_from_start, global_from_end):
        if pose.shape != (4, 4) or not np.isfinite(pose).all():
            raise ValueError("a lidar pose is a finite [4, 4] matrix")
    count = model.columns
    fraction = np.arange(1, count + 1) / count
    start, end = global_from_start[:3, :3], global_from_end[:3, :3]
    turn = _rotation_vector(start.T @ end)
    angle = float(np.sqrt(turn @ turn))
    axis = turn / angle if angle > 0.0 else turn

    def rotated(vectors: np.ndarray, by: np.ndarray) -> np.ndarray:  # Rodrigues' formula, then into the global frame
        cos, sin = np.cos(by)[:, None], np.sin(by)[:, None]
        cross = vectors @ np.array([[0, axis[2], -axis[1]], [-axis[2], 0, axis[0]], [axis[1], -axis[0], 0]])
        return (vectors * cos + cross * sin + axis * (vectors @ axis)[:, None] * (1.0 - cos)) @ start.T

    sign = -1.0 if model.clockwise else 1.0
    azimuth = (np.arange(count) + 0.5) * (2.0 * math.pi / count)
    beam = model.start_azimuth_rad + sign * azimuth
    along = rotated(np.stack([np.cos(beam), np.sin(beam), np.zeros(count)], axis=1), fraction * angle)
    up = rotated(np.tile([0.0, 0.0, 1.0], (count, 1)), fraction * angle)
    low, high = global_from_start[:3, 3], global_from_end[:3, 3]
    zero, quarter = model.start_azimuth_rad, model.start_azimuth_rad + sign * 0.5 * math.pi
    axes = np.array([[math.cos(zero), math.sin(zero), 0.0], [math.cos(quarter), math.sin(quarter), 0.0], [0, 0, 1.0]])
    return ColumnPoses(
        origin=low + fraction[:, None] * (high - low),
        along=np.ascontiguousarray(along),
        up=np.ascontiguousarray(up),
        time_s=(fraction - 1.0) * model.period_s,
        azimuth=azimuth,
        frame=np.vstack([0.5 * (low + high), rotated(axes, np.full(3, 0.5 * angle))]),
        pad_m=0.5 * float(np.sqrt(((high - low) ** 2).sum())),
        pad_rad=0.5 * angle,
    )


def beam_delay(model: LidarModel, places: np.ndarray, lidar_from_global: np.ndarray) -> np.ndarray:
    """Seconds (<= 0) from a sweep's end, at the pose float64 [4, 4], to when the beam met ``places`` [N, 3] global."""
    local = places @ lidar_from_global[:3, :3].T + lidar_from_global[:3, 3]
    turned = model.start_azimuth_rad - np.arctan2(local[:, 1], local[:, 0])
    turned = np.mod(turned if model.clockwise else -turned, 2 * np.pi)
    return np.asarray((turned / (2 * np.pi) - 1.0) * model.period_s)


@njit(cache=True, nogil=True, error_model="numpy")
def _returns(
    distance: np.ndarray, hit: np.ndarray, origin: np.ndarray, along: np.ndarray, up: np.ndarray, time: np.ndarray,
    slope: np.ndarray, ring_of: np.ndarray, kind: np.ndarray, shapes: np.ndarray, velocity: np.ndarray,
    material: np.ndarray, lightness: np.ndarray, actor_of: np.ndarray, raster: np.ndarray, resolution_m: float,
    low_x: float, low_y: float, reflectivity: np.ndarray, physics: np.ndarray, noise: np.ndarray, luck: np.ndarray,
    end_from_global: np.ndarray, points: np.ndarray, intensity: np.ndarray, ring: np.ndarray, offset: np.ndarray,
    actor: np.ndarray, key: int,
) -> int:  # fmt: skip
    """Hits to detected returns (the formulas are in ``LidarModel``); fills the last arrays, returns how many."""
    min_range, max_range, sigma, dropout, glass_dropout, half_range = physics
    count = 0
    for c in range(len(origin)):
        for b in range(len(slope)):
            solid = hit[c, b]
            if solid == NO_HIT:
                continue
            s, t = slope[b], np.float64(distance[c, b])
            norm = math.sqrt(1.0 + s * s)
            dx, dy, dz = along[c, 0] + s * up[c, 0], along[c, 1] + s * up[c, 1], along[c, 2] + s * up[c, 2]
            reach = t * norm
            if reach < min_range or reach > max_range:
                continue
            x, y, z = origin[c, 0] + t * dx, origin[c, 1] + t * dy, origin[c, 2] + t * dz
            owner = -1
            if solid == GROUND_HIT:
                made_of = ground_material(raster, resolution_m, low_x, low_y, x, y)
                rho, cosine = reflectivity[made_of, 0], abs(dz) / norm
            else:
                made_of, owner = int(material[solid]), actor_of[solid]
                rho = reflectivity[made_of, 0] * lightness[solid]
                px = x - shapes[solid, 0] - velocity[solid, 0] * time[c]
                py = y - shapes[solid, 1] - velocity[solid, 1] * time[c]
                nx, ny, nz = surface_normal(kind[solid], shapes[solid], px, py, z - shapes[solid, 2])
                cosine = abs(nx * dx + ny * dy + nz * dz) / norm
                if made_of == Material.FOLIAGE:
                    cosine = 0.3 + 0.7 * random_unit(c * len(slope) + b, solid, key)  # leaves hang in every direction
            glance = math.sqrt(max(cosine, 1e-3))
            signal = rho * glance * (half_range * half_range) / (reach * reach) / 0.1
            seen = (1.0 - dropout) / (1.0 + 1.0 / (signal * signal))
            if made_of == Material.GLASS:
                seen *= 1.0 - glass_dropout
            if luck[c, b] >= seen:
                continue
            t += sigma * noise[0, c, b] / norm
            x, y, z = origin[c, 0] + t * dx, origin[c, 1] + t * dy, origin[c, 2] + t * dz
            for k in range(3):
                e = end_from_global[k]
                points[count, k] = e[0] * x + e[1] * y + e[2] * z + e[3]
            grain = max(1.0 + reflectivity[made_of, 1] * noise[1, c, b], 0.05)
            value = 255.0 * rho * glance * grain / (1.0 + reach / 80.0)
            intensity[count] = min(max(math.floor(value + 0.5), 0.0), 255.0)
            ring[count], offset[count], actor[count] = ring_of[b], time[c], owner
            count += 1
    return count


def render_sweep(
    scene: StaticScene,
    actors: Actors,
    model: LidarModel,
    global_from_lidar_start: np.ndarray,
    global_from_lidar_end: np.ndarray,
    rng: np.random.Generator,
) -> SweepReturn:
    """One turn of the lidar.

    ``actors`` are given at the sweep's end; t seconds (<= 0) from it each stands at pose + velocity * t (its yaw is
    held). The same arguments and the same state of ``rng`` give the same bytes. Poses are float64 [4, 4].
    """
    poses = column_poses(model, global_from_lidar_start, global_from_lidar_end)
    kind, shapes, velocity, material, colour, _, owner = scene_solids(scene, actors)
    order = np.argsort(model.beam_elevations_rad, kind="stable")
    slope = np.tan(np.asarray(model.beam_elevations_rad))[order]
    far = model.max_range_m / np.sqrt(1.0 + slope * slope)
    rays = (model.columns, len(slope))
    distance, hit = np.empty(rays, np.float32), np.empty(rays, np.int32)
    key = int(rng.integers(1 << 62))
    cast(
        kind, shapes, velocity, (kind == ELLIPSOID) & (material == Material.FOLIAGE),
        poses.origin, poses.along, poses.up, poses.time_s, poses.azimuth, slope, far, poses.frame,
        poses.pad_m, poses.pad_rad, model.foliage_depth_m, key, distance, hit,
    )  # fmt: skip
    light = 0.15 + 1.6 * (colour @ np.array([0.299, 0.587, 0.114])) / 255.0
    lightness = np.where(COLOUR_MATTERS[material], light, 1.0)
    end_from_global = np.empty((3, 4))
    end_from_global[:, :3] = global_from_lidar_end[:3, :3].T
    end_from_global[:, 3] = -end_from_global[:, :3] @ global_from_lidar_end[:3, 3]
    size = rays[0] * rays[1]
    points, intensity = np.empty((size, 3), np.float32), np.empty(size, np.float32)
    ring, offset, actor = np.empty(size, np.int32), np.empty(size, np.float32), np.empty(size, np.int32)
    ground = scene.ground
    count = _returns(
        distance, hit, poses.origin, poses.along, poses.up, poses.time_s, slope, order.astype(np.int32), kind, shapes,
        velocity, material, lightness, owner, ground.material, ground.resolution_m, *ground.origin_xy, REFLECTIVITY,
        np.array([model.min_range_m, model.max_range_m, model.range_noise_m, model.dropout, model.glass_dropout,
                  model.half_range_m]),
        rng.standard_normal((2, *rays), dtype=np.float32), rng.random(rays, dtype=np.float32),
        end_from_global, points, intensity, ring, offset, actor, key,
    )  # fmt: skip
    return SweepReturn(points[:count], intensity[:count], ring[:count], offset[:count], actor[:count])
