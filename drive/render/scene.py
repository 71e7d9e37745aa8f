"""What the sensors see: a static world of simple solids on flat ground, and the actors that move in it.

Every sensor (``lidar.py``, ``camera.py``) casts its rays against the same three kinds of solid, so what a camera
shows is where the lidar measured it. Frames: static primitives and the ground raster are in the GLOBAL frame
(x, y horizontal, z up, ground at z = 0); an actor's parts are in its body frame (x forward, y left, z up, origin on
the ground under its centre). Lengths in metres, angles in radians counter-clockwise from +x, colours are RGB bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

BOX, CYLINDER, ELLIPSOID = 0, 1, 2
PLAIN, FACADE, FOLIAGE_NOISE = 0, 1, 2


class Material(IntEnum):
    """What a surface is made of: decides lidar reflectivity and, for ground, the colour."""

    ROAD = 0
    SIDEWALK = 1
    GRASS = 2
    MARKING = 3
    BUILDING = 4
    TRUNK = 5
    FOLIAGE = 6
    CAR_PAINT = 7
    GLASS = 8
    TYRE = 9
    CLOTH = 10
    SKIN = 11
    METAL = 12
    PLASTIC = 13
    RETRO = 14


# Mean and spread (one sigma, relative) of the diffuse reflectivity at 905 nm, by Material. Rough values, set so that
# rendered intensities fall where real 32-beam ones do: road near 12 of 255, paint several times that.
REFLECTIVITY = np.array(
    [
        (0.08, 0.25), (0.14, 0.25), (0.22, 0.35), (0.45, 0.20), (0.22, 0.15), (0.14, 0.25), (0.20, 0.45), (0.35, 0.15),
        (0.08, 0.30), (0.04, 0.30), (0.30, 0.25), (0.45, 0.15), (0.40, 0.25), (0.45, 0.15), (2.00, 0.15),
    ]
)  # fmt: skip
# Reflectivity of these follows the lightness of their colour: a black car returns less than a white one.
COLOUR_MATTERS = np.array(
    [m in (Material.BUILDING, Material.CAR_PAINT, Material.CLOTH, Material.PLASTIC) for m in Material]
)
GROUND_COLOUR = np.array([(72, 73, 77), (152, 148, 142), (92, 112, 62), (226, 226, 220)] + [(120, 116, 110)] * 11)

_PRIMITIVE_TYPES = {
    "kind": np.int8, "centre": np.float64, "half_size": np.float64, "yaw": np.float64, "material": np.int16,
    "colour": np.uint8, "texture": np.uint8,
}  # fmt: skip
_PRIMITIVE_WIDTH = {"centre": 3, "half_size": 3, "colour": 3}


@dataclass(frozen=True, eq=False)
class Primitives:
    """N upright solids as a struct of arrays; all share the vertical axis.

    kind int8 [N] (BOX, CYLINDER, ELLIPSOID); centre float64 [N, 3], the geometric centre; half_size float64 [N, 3]
    (box: half length, width, height; cylinder: radius, radius, half height; ellipsoid: semi-axes); yaw float64 [N];
    material int16 [N]; colour uint8 [N, 3]; texture uint8 [N] (PLAIN, FACADE, FOLIAGE_NOISE).
    Arrays are converted to these types; a wrong shape, a size that is not positive or a non-finite number is a
    ValueError.
    """

    kind: np.ndarray
    centre: np.ndarray
    half_size: np.ndarray
    yaw: np.ndarray
    material: np.ndarray
    colour: np.ndarray
    texture: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.kind)
        for name, dtype in _PRIMITIVE_TYPES.items():
            array = np.ascontiguousarray(getattr(self, name), dtype=dtype)
            shape = (n, _PRIMITIVE_WIDTH[name]) if name in _PRIMITIVE_WIDTH else (n,)
            if array.shape != shape:
                raise ValueError(f"Primitives.{name} has shape {array.shape}, not {shape}")
            object.__setattr__(self, name, array)
        if not (np.isfinite(self.centre).all() and np.isfinite(self.yaw).all() and np.isfinite(self.half_size).all()):
            raise ValueError("Primitives holds a number that is not finite")
        if n and not (self.half_size > 0).all():
            raise ValueError("Primitives.half_size must be positive")
        if n and not (self.kind.min() >= 0 and self.kind.max() <= ELLIPSOID):
            raise ValueError("Primitives.kind must be BOX, CYLINDER or ELLIPSOID")
        if n and not (self.material.min() >= 0 and self.material.max() < len(Material)):
            raise ValueError("Primitives.material must be values of Material")

    def __len__(self) -> int:
        return len(self.kind)

    @staticmethod
    def empty() -> Primitives:
        """No primitive at all."""
        shapes = ((0, _PRIMITIVE_WIDTH[name]) if name in _PRIMITIVE_WIDTH else (0,) for name in _PRIMITIVE_TYPES)
        return Primitives(*(np.zeros(shape) for shape in shapes))

    @staticmethod
    def concatenate(parts: Sequence[Primitives]) -> Primitives:
        """All primitives of ``parts`` in order."""
        if not parts:
            return Primitives.empty()
        return Primitives(*(np.concatenate([getattr(p, name) for p in parts]) for name in _PRIMITIVE_TYPES))

    def transformed(self, x: float, y: float, z: float, yaw: float) -> Primitives:
        """The same solids turned by ``yaw`` about the vertical through the origin, then moved by (x, y, z)."""
        cos, sin = np.cos(yaw), np.sin(yaw)
        cx, cy, cz = self.centre.T
        centre = np.stack([x + cos * cx - sin * cy, y + sin * cx + cos * cy, z + cz], axis=1)
        return Primitives(self.kind, centre, self.half_size, self.yaw + yaw, self.material, self.colour, self.texture)

    @cached_property
    def shapes(self) -> np.ndarray:
        """float64 [N, 8]: centre (3), half size (3), cos yaw, sin yaw: what the ray caster reads."""
        cos, sin = np.cos(self.yaw)[:, None], np.sin(self.yaw)[:, None]
        return np.ascontiguousarray(np.hstack([self.centre, self.half_size, cos, sin]))


@dataclass(frozen=True, eq=False)
class Ground:
    """Flat ground at z = 0 with a raster of materials; GRASS outside the raster.

    material uint8 [H, W], row i and column j cover global y from ``origin_xy[1] + i * resolution_m`` and x from
    ``origin_xy[0] + j * resolution_m``.
    """

    material: np.ndarray
    resolution_m: float
    origin_xy: tuple[float, float]

    def __post_init__(self) -> None:
        material = np.ascontiguousarray(self.material, dtype=np.uint8)
        if material.ndim != 2 or self.resolution_m <= 0:
            raise ValueError("Ground needs a raster [H, W] and a positive resolution")
        if material.size and material.max() >= len(Material):
            raise ValueError("Ground.material must be values of Material")
        # The kernels take writable arrays only: a second kind of array would be compiled a second time.
        object.__setattr__(self, "material", material if material.flags.writeable else material.copy())
        object.__setattr__(self, "origin_xy", (float(self.origin_xy[0]), float(self.origin_xy[1])))


@dataclass(frozen=True, eq=False)
class StaticScene:
    """Everything that does not move, and the light.

    primitives: GLOBAL frame. sun_azimuth, sun_elevation: direction to the sun; ambient in 0..1 is the light that
    reaches a surface turned away from it; sky_colour: RGB at the zenith. ``seed`` varies light tint, haze and
    textures, never geometry.
    """

    primitives: Primitives
    ground: Ground
    sun_azimuth: float
    sun_elevation: float
    ambient: float
    sky_colour: tuple[int, int, int]
    seed: int

    def __post_init__(self) -> None:
        if not (0.0 <= self.ambient <= 1.0 and np.isfinite([self.sun_azimuth, self.sun_elevation]).all()):
            raise ValueError("StaticScene needs an ambient in 0..1 and finite sun angles")
        red, green, blue = (int(v) for v in self.sky_colour)
        object.__setattr__(self, "sky_colour", (red, green, blue))

    def to_table(self) -> pa.Table:
        """One-row Arrow table (for ``LogWriter.add_table``); :meth:`from_table` is its inverse, bit for bit."""
        from drive.render.scene_file import scene_to_table

        return scene_to_table(self)

    @staticmethod
    def from_table(table: pa.Table, place: str = "static scene") -> StaticScene:
        """Inverse of :meth:`to_table`; a table that is not one raises UserError at ``place``."""
        from drive.render.scene_file import scene_from_table

        return scene_from_table(table, place)

    def to_bytes(self) -> bytes:
        """An LZ4 Arrow IPC file in memory; the same scene gives the same bytes."""
        from drive.render.scene_file import scene_to_bytes

        return scene_to_bytes(self)

    @staticmethod
    def from_bytes(data: bytes, place: str = "static scene") -> StaticScene:
        """Inverse of :meth:`to_bytes`; anything else raises UserError at ``place``."""
        from drive.render.scene_file import scene_from_bytes

        return scene_from_bytes(data, place)

    def save(self, path: Path) -> None:
        """Write :meth:`to_bytes` to ``path`` under a temporary name first, so that no half file is ever visible."""
        from drive.render.scene_file import save_scene

        save_scene(self, path)

    @staticmethod
    def load(path: Path) -> StaticScene:
        """Read a file of :meth:`save`; UserError when it is missing, truncated or something else."""
        from drive.render.scene_file import load_scene

        return load_scene(path)


@dataclass(frozen=True, eq=False)
class Actors:
    """Moving things at one instant, N actors.

    pose float64 [N, 4]: global x, y, z of the ground contact under the centre, yaw; velocity float64 [N, 2] global
    m/s; yaw_rate float64 [N] rad/s; part_offsets int64 [N + 1] into ``parts`` (body frame), actor i owning rows
    ``part_offsets[i]:part_offsets[i + 1]``. At t seconds from the instant an actor stands at pose + velocity * t.
    """

    pose: np.ndarray
    velocity: np.ndarray
    yaw_rate: np.ndarray
    part_offsets: np.ndarray
    parts: Primitives

    def __post_init__(self) -> None:
        n = len(self.pose)
        expected = {"pose": (n, 4), "velocity": (n, 2), "yaw_rate": (n,), "part_offsets": (n + 1,)}
        for field in fields(self):
            if field.name in expected:
                dtype = np.int64 if field.name == "part_offsets" else np.float64
                array = np.ascontiguousarray(getattr(self, field.name), dtype=dtype)
                if array.shape != expected[field.name]:
                    raise ValueError(f"Actors.{field.name} has shape {array.shape}, not {expected[field.name]}")
                if not np.isfinite(array).all():
                    raise ValueError(f"Actors.{field.name} holds a number that is not finite")
                object.__setattr__(self, field.name, array)
        offsets = self.part_offsets
        if offsets[0] != 0 or offsets[-1] != len(self.parts) or (np.diff(offsets) < 0).any():
            raise ValueError("Actors.part_offsets must rise from 0 to the number of parts")

    def __len__(self) -> int:
        return len(self.pose)

    @staticmethod
    def empty() -> Actors:
        """No actor at all."""
        return Actors(np.zeros((0, 4)), np.zeros((0, 2)), np.zeros(0), np.zeros(1, np.int64), Primitives.empty())

    @cached_property
    def part_actor(self) -> np.ndarray:
        """int32 [number of parts]: the actor that owns each part."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.part_offsets))

    @cached_property
    def global_shapes(self) -> np.ndarray:
        """float64 [number of parts, 8]: the parts' ``Primitives.shapes`` in the GLOBAL frame at the instant."""
        body = self.parts.shapes
        x, y, z, yaw = self.pose[self.part_actor].T
        cos, sin = np.cos(yaw), np.sin(yaw)
        out = body.copy()
        out[:, 0] = x + cos * body[:, 0] - sin * body[:, 1]
        out[:, 1] = y + sin * body[:, 0] + cos * body[:, 1]
        out[:, 2] = z + body[:, 2]
        out[:, 6] = cos * body[:, 6] - sin * body[:, 7]
        out[:, 7] = sin * body[:, 6] + cos * body[:, 7]
        return out


def scene_solids(scene: StaticScene, actors: Actors) -> tuple[np.ndarray, ...]:
    """Static primitives, then the actors' parts, as arrays in the GLOBAL frame:
    kind, shapes [N, 8], velocity [N, 2], material, colour [N, 3], texture, owner int32 [N] (-1 = static)."""
    fixed, parts = scene.primitives, actors.parts
    return (
        np.concatenate([fixed.kind, parts.kind]),
        np.concatenate([fixed.shapes, actors.global_shapes]),
        np.concatenate([np.zeros((len(fixed), 2)), actors.velocity[actors.part_actor]]),
        np.concatenate([fixed.material, parts.material]),
        np.concatenate([fixed.colour, parts.colour]),
        np.concatenate([fixed.texture, parts.texture]),
        np.concatenate([np.full(len(fixed), -1, np.int32), actors.part_actor]),
    )
