"""A pinhole camera on the same geometry as the lidar: flat shading, textures from noise, sky and haze.

Camera frame: x right, y down, z forward. A level camera's pixel columns are vertical planes, which is what makes the
shared caster quick; the picture is right for any orientation, only slower.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from drive.render.cast import GROUND_HIT, NO_HIT, cast, ground_material, random_unit, surface_normal
from drive.render.scene import FACADE, FOLIAGE_NOISE, GROUND_COLOUR, Actors, Material, StaticScene, scene_solids

FARTHEST_M = 2000.0


@dataclass(frozen=True, eq=False)
class CameraModel:
    """A pinhole without distortion: intrinsics float64 [3, 3] in pixels, no skew; pixel centres at whole numbers + 0.5
    (u = fx x / z + cx is 0 at the image's left edge)."""

    name: str
    width: int
    height: int
    intrinsics: np.ndarray

    def __post_init__(self) -> None:
        intrinsics = np.ascontiguousarray(self.intrinsics, dtype=np.float64)
        if intrinsics.shape != (3, 3) or not np.isfinite(intrinsics).all() or intrinsics[0, 1] != 0.0:
            raise ValueError("CameraModel.intrinsics is a finite [3, 3] matrix without skew")
        if self.width < 1 or self.height < 1 or intrinsics[0, 0] <= 0.0 or intrinsics[1, 1] <= 0.0:
            raise ValueError("a CameraModel needs pixels and positive focal lengths")
        object.__setattr__(self, "intrinsics", intrinsics)


@dataclass(frozen=True, eq=False)
class ImageReturn:
    """rgb uint8 [H, W, 3]; depth float32 [H, W], metres along the optical axis, inf = sky; actor int32 [H, W], index
    into the actors, -1 = static or sky."""

    rgb: np.ndarray
    depth: np.ndarray
    actor: np.ndarray


@dataclass(frozen=True)
class Light:
    """The light of a scene: direction to the sun [3], sun and sky light as RGB factors, haze colour, haze distance."""

    sun: np.ndarray
    direct: np.ndarray
    diffuse: np.ndarray
    zenith: np.ndarray
    haze: np.ndarray
    haze_distance_m: float


def scene_light(scene: StaticScene) -> Light:
    """Light of ``scene``: given angles and ambient, tinted and hazed by its seed."""
    rng = np.random.default_rng([abs(int(scene.seed)), 905])
    warmth, exposure = rng.uniform(-0.08, 0.08), rng.uniform(0.88, 1.12)
    level = math.cos(scene.sun_elevation)
    sun = np.array(
        [level * math.cos(scene.sun_azimuth), level * math.sin(scene.sun_azimuth), math.sin(scene.sun_elevation)]
    )
    zenith = np.array(scene.sky_colour, dtype=np.float64) * exposure
    haze = 0.35 * zenith + 0.65 * zenith.max() * np.array([1.0 + warmth, 1.0, 1.0 - warmth]) * 1.02
    tint = exposure * np.array([1.0 + warmth, 1.0, 1.0 - warmth])
    diffuse = 1.4 * scene.ambient * (0.7 * exposure + 0.3 * zenith / max(float(zenith.mean()), 1.0))
    return Light(sun, (1.0 - scene.ambient) * 1.1 * tint, diffuse, zenith, haze, float(rng.uniform(180.0, 500.0)))


@njit(cache=True, nogil=True, error_model="numpy")
def _cell(x: float, y: float, z: float, size: float, key: int) -> float:
    """One random number in (0, 1) a cell of a grid in space."""
    i, j, k = math.floor(x / size), math.floor(y / size), math.floor(z / size)
    return random_unit(int(i) * 73856093 + int(j), int(k) * 19349663, key)


@njit(cache=True, nogil=True, error_model="numpy")
def _facade(along_m: float, height_m: float, wall: int, pixel_m: float, key: int) -> tuple[float, float]:
    """(share of window glass, its brightness) at a point of a wall: storeys of 3.2 m, bays of 2.8 m, each with one
    window; where a pixel covers much of a bay the mean is returned, so that far walls do not flicker."""
    bay, storey = math.floor(along_m / 2.8), math.floor(height_m / 3.2)
    bright = 0.25 + 0.75 * random_unit(int(bay) * 8191 + wall, int(storey), key)
    across, rise = along_m / 2.8 - bay, height_m / 3.2 - storey
    inside = 1.0 if 0.22 < across < 0.78 and 0.28 < rise < 0.80 else 0.0
    blur = min(max(pixel_m / 1.4 - 0.25, 0.0), 1.0)
    return inside * (1.0 - blur) + 0.29 * blur, bright * (1.0 - blur) + 0.6 * blur


@njit(cache=True, nogil=True, error_model="numpy")
def _shade(
    distance: np.ndarray, hit: np.ndarray, origin: np.ndarray, along: np.ndarray, up: np.ndarray, slope: np.ndarray,
    kind: np.ndarray, shapes: np.ndarray, material: np.ndarray, colour: np.ndarray, texture: np.ndarray,
    owner: np.ndarray, raster: np.ndarray, resolution_m: float, low_x: float, low_y: float, ground_colour: np.ndarray,
    sun: np.ndarray, direct: np.ndarray, diffuse: np.ndarray, zenith: np.ndarray, haze: np.ndarray,
    haze_distance_m: float, pixel_rad: float, key: int, grain_key: int, rgb: np.ndarray, depth: np.ndarray,
    actor: np.ndarray,
) -> None:  # fmt: skip
    """Colour every pixel; slopes ascend, so row = height - 1 - b."""
    height, width = len(slope), len(along)
    paint = np.empty(3)
    for c in range(width):
        for b in range(height):
            row = height - 1 - b
            s, t, solid = slope[b], np.float64(distance[c, b]), hit[c, b]
            dx, dy, dz = along[c, 0] + s * up[c, 0], along[c, 1] + s * up[c, 1], along[c, 2] + s * up[c, 2]
            norm = math.sqrt(dx * dx + dy * dy + dz * dz)
            grain = 1.0 + 0.05 * (random_unit(c, b, grain_key) - 0.5)
            actor[row, c] = -1
            if solid == NO_HIT:
                depth[row, c] = np.inf
                rise = min(max(dz / norm, 0.0) * 2.2, 1.0)
                for k in range(3):
                    rgb[row, c, k] = np.uint8(min(grain * (haze[k] + (zenith[k] - haze[k]) * rise), 255.0))
                continue
            depth[row, c] = t
            x, y, z = origin[c, 0] + t * dx, origin[c, 1] + t * dy, origin[c, 2] + t * dz
            reach = t * norm
            pixel_m = reach * pixel_rad
            nx, ny, nz = 0.0, 0.0, 1.0
            rough = 1.0
            shine = 0.0
            if solid == GROUND_HIT:
                made_of = ground_material(raster, resolution_m, low_x, low_y, x, y)
                for k in range(3):
                    paint[k] = ground_colour[made_of, k]
                cell = 0.35 if made_of == Material.GRASS else 0.12
                strength = 0.45 if made_of == Material.GRASS else 0.16
                fade = min(cell / max(pixel_m, 1e-6), 1.0)
                rough += strength * fade * (_cell(x, y, 0.0, cell, key) - 0.5)
                rough += 0.10 * (_cell(x, y, 0.0, 4.0, key) - 0.5)
            else:
                shape = shapes[solid]
                actor[row, c] = owner[solid]
                px, py, pz = x - shape[0], y - shape[1], z - shape[2]
                nx, ny, nz = surface_normal(kind[solid], shape, px, py, pz)
                for k in range(3):
                    paint[k] = colour[solid, k]
                if texture[solid] == FACADE and abs(nz) < 0.5:
                    side = abs(nx * shape[6] + ny * shape[7]) < 0.5
                    lx, ly = shape[6] * px + shape[7] * py, shape[6] * py - shape[7] * px
                    share, bright = _facade((lx if side else ly) + 1000.0, pz + shape[5], int(solid), pixel_m, key)
                    for k in range(3):
                        paint[k] = paint[k] * (1.0 - share) + share * bright * (45.0 + 0.35 * zenith[k])
                elif texture[solid] == FOLIAGE_NOISE:
                    # Leaves: fine grain, and clumps that face a little differently.
                    fade = min(0.15 / max(pixel_m, 1e-6), 1.0)
                    rough += fade * 0.9 * (_cell(x, y, z, 0.09, key) - 0.5) + 0.3 * (_cell(x, y, z, 0.4, key) - 0.5)
                    nx += 0.8 * (_cell(x, y, z, 0.25, key + 1) - 0.5)
                    nz = min(max(nz + 0.8 * (_cell(x, y, z, 0.25, key + 2) - 0.5), -1.0), 1.0)
                elif material[solid] == Material.GLASS:
                    shine = 0.25
            light = max(nx * sun[0] + ny * sun[1] + nz * sun[2], 0.0)
            open_sky = 0.72 + 0.28 * nz  # a surface that faces up sees all of the sky
            clear = math.exp(-(reach / haze_distance_m) * math.sqrt(reach / haze_distance_m))
            for k in range(3):
                value = paint[k] * rough * (direct[k] * light + diffuse[k] * open_sky)
                value = value * (1.0 - shine) + shine * haze[k] * 0.8
                value = value * clear + haze[k] * (1.0 - clear)
                rgb[row, c, k] = np.uint8(min(max(grain * value, 0.0), 255.0))


def render_image(
    scene: StaticScene,
    actors: Actors,
    camera: CameraModel,
    global_from_camera: np.ndarray,
    rng: np.random.Generator,
) -> ImageReturn:
    """The camera's picture of the scene, actors as they stand at their instant (a global shutter).

    global_from_camera float64 [4, 4]. ``rng`` gives only the pixel noise: textures stay on their surfaces from image to
    image. The same arguments and the same state of ``rng`` give the same bytes.
    """
    if global_from_camera.shape != (4, 4) or not np.isfinite(global_from_camera).all():
        raise ValueError("a camera pose is a finite [4, 4] matrix")
    kind, shapes, velocity, material, colour, texture, owner = scene_solids(scene, actors)
    right, down, forward, position = (global_from_camera[:3, i] for i in range(4))
    fx, fy, cx, cy = camera.intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]]
    width, height = camera.width, camera.height
    across = (np.arange(width) + 0.5 - cx) / fx
    slope = ((cy - 0.5 - np.arange(height)) / fy)[::-1].copy()
    origin = np.tile(position, (width, 1))
    along = forward + across[:, None] * right
    up = np.tile(-down, (width, 1))
    distance, hit = np.empty((width, height), np.float32), np.empty((width, height), np.int32)
    cast(
        kind, shapes, velocity, np.zeros(len(kind), np.bool_), origin, along, up, np.zeros(width), np.arctan(across),
        slope, np.full(height, FARTHEST_M), np.stack([position, forward, right, -down]), 0.0, 0.0, 0.0, 0,
        distance, hit,
    )  # fmt: skip
    light = scene_light(scene)
    rgb = np.empty((height, width, 3), np.uint8)
    depth, actor = np.empty((height, width), np.float32), np.empty((height, width), np.int32)
    ground = scene.ground
    _shade(
        distance, hit, origin, along, up, slope, kind, shapes, material, colour, texture, owner, ground.material,
        ground.resolution_m, *ground.origin_xy, GROUND_COLOUR.astype(np.float64), light.sun, light.direct,
        light.diffuse, light.zenith, light.haze, light.haze_distance_m, 1.0 / fx,
        abs(int(scene.seed)), int(rng.integers(1 << 62)), rgb, depth, actor,
    )  # fmt: skip
    return ImageReturn(rgb, depth, actor)
