"""What stands still: the ground raster, buildings, trees, poles, bins and hedges of a town."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from data_tools.town.layout import (
    CYCLE_STRIP,
    LANE_WIDTH,
    PARKING_STRIP,
    STOP_LINE,
    WALKWAY,
    Road,
    Town,
    arm_frame,
)  # fmt: skip
from drive.render.scene import BOX, CYLINDER, ELLIPSOID, Ground, Material, Primitives, StaticScene

GROUND_RESOLUTION = 0.1
WALLS = (
    (168, 150, 132), (150, 96, 78), (196, 186, 168), (120, 124, 130), (182, 164, 128), (140, 132, 126), (206, 200, 192),
    (128, 84, 72),
)  # fmt: skip
Solid = tuple[int, tuple[float, float, float], tuple[float, float, float], float, Material, tuple[int, int, int], int]


class Canvas:
    """A raster over the town to draw polygons into; row 0 is the south edge, as `Ground` wants it."""

    def __init__(self, town: Town, resolution: float, fill: int) -> None:
        self.resolution = resolution
        size = (round(town.size[0] / resolution), round(town.size[1] / resolution))
        self.image = Image.new("L", size, fill)
        self.draw = ImageDraw.Draw(self.image)

    def polygon(self, points: np.ndarray, value: int) -> None:
        # Pixel k covers [k, k + 1) resolutions; PIL draws pixel centres at whole numbers.
        pixels = points / self.resolution - 0.5
        self.draw.polygon([(float(x), float(y)) for x, y in pixels], fill=value)

    def array(self) -> np.ndarray:
        return np.asarray(self.image)


def draw_ground(town: Town) -> np.ndarray:
    """Material raster uint8 [H, W] of the whole town at `GROUND_RESOLUTION`."""
    canvas = Canvas(town, GROUND_RESOLUTION, int(Material.GRASS))
    for road in town.roads:
        for side in (1.0, -1.0):
            near, far = side * road.half_width, side * (road.half_width + WALKWAY)
            canvas.polygon(road.strip(0.0, road.length, near, far), int(Material.SIDEWALK))
    for corner in town.corners:
        canvas.polygon(np.concatenate([corner.kerb, corner.outer[::-1]]), int(Material.SIDEWALK))
    for road in town.roads:
        canvas.polygon(road.strip(0.0, road.length, road.half_width, -road.half_width), int(Material.ROAD))
    for node in range(len(town.nodes)):
        canvas.polygon(town.intersection(node), int(Material.ROAD))
    for road in town.roads:
        _draw_markings(canvas, road)
    for crossing in town.crossings:
        road = town.roads[crossing.road]
        for offset in np.arange(-road.half_width + 0.4, road.half_width - 0.5, 1.0):
            canvas.polygon(
                road.strip(crossing.start + 0.2, crossing.stop - 0.2, offset + 0.5, offset), int(Material.MARKING)
            )
    return canvas.array()


def _draw_markings(canvas: Canvas, road: Road) -> None:
    marking, half = int(Material.MARKING), 0.08
    low, high = STOP_LINE, road.length - STOP_LINE
    if road.lanes == 2:
        for side in (0.18, -0.18):
            canvas.polygon(road.strip(low, high, side + half, side - half), marking)
    else:
        for start in np.arange(low, high - 3.0, 6.0):
            canvas.polygon(road.strip(start, start + 3.0, half, -half), marking)
    for side in (1.0, -1.0):
        if road.lanes == 2:
            at = side * LANE_WIDTH
            for start in np.arange(low, high - 2.0, 5.0):
                canvas.polygon(road.strip(start, start + 2.0, at + half, at - half), marking)
        edge = side * road.lane_edge
        canvas.polygon(road.strip(low, high, edge + half, edge - half), marking)
        if road.parking:
            edge = side * (road.lane_edge + CYCLE_STRIP)
            for start in np.arange(low + 8.0, high - 8.0, 6.0):
                canvas.polygon(road.strip(start, start + 0.15, edge + side * PARKING_STRIP, edge), marking)
    # Stop lines: across the lanes that arrive, in front of the crossing.
    canvas.polygon(road.strip(high, high + 0.35, 0.0, -road.lane_edge), marking)
    canvas.polygon(road.strip(low - 0.35, low, road.lane_edge, 0.0), marking)


def build_scene(town: Town, ground: np.ndarray, scene_seed: int) -> StaticScene:
    """The town's static scene; solids follow the town's seed, sun and sky the scene's."""
    rng = np.random.default_rng([town.seed, 29])
    solids: list[Solid] = []
    occupied = _Occupied(town, ground)
    for road in town.roads:
        for side in (1.0, -1.0):
            _add_buildings(rng, road, side, occupied, solids)
    _add_far_buildings(rng, town, occupied, solids)
    for road in town.roads:
        for side in (1.0, -1.0):
            _add_street_furniture(rng, road, side, occupied, solids)
    _add_signals(town, solids)
    light = np.random.default_rng([scene_seed, 31])
    overcast = light.random() < 0.35
    return StaticScene(
        _primitives(solids),
        Ground(ground, GROUND_RESOLUTION, (0.0, 0.0)),
        sun_azimuth=float(light.uniform(-np.pi, np.pi)),
        sun_elevation=float(light.uniform(0.35, 1.2)),
        ambient=float(light.uniform(0.65, 0.8) if overcast else light.uniform(0.35, 0.55)),
        sky_colour=(196, 202, 208) if overcast else (126, 172, 222),
        seed=scene_seed,
    )


class _Occupied:
    """Half-metre raster of what nothing may be built on; also where earlier solids stand."""

    def __init__(self, town: Town, ground: np.ndarray) -> None:
        self.cell = 0.5
        step = round(self.cell / GROUND_RESOLUTION)
        self.taken = ground[::step, ::step] != int(Material.GRASS)

    def take(self, x: float, y: float, yaw: float, half_length: float, half_width: float, gap: float) -> bool:
        """Reserve a rectangle if it is free with `gap` metres around it."""
        us = np.arange(-half_length - gap, half_length + gap + 0.4, 0.4)
        vs = np.arange(-half_width - gap, half_width + gap + 0.4, 0.4)
        u, v = np.meshgrid(us, vs)
        column = ((x + np.cos(yaw) * u - np.sin(yaw) * v) / self.cell).astype(int)
        row = ((y + np.sin(yaw) * u + np.cos(yaw) * v) / self.cell).astype(int)
        if row.min() < 0 or column.min() < 0 or row.max() >= self.taken.shape[0] or column.max() >= self.taken.shape[1]:
            return False
        if self.taken[row, column].any():
            return False
        self.taken[row, column] = True
        return True


def _place(road: Road, along: float, offset: float) -> tuple[float, float, float]:
    """Global x, y and heading of a point beside a road."""
    points = road.along(max(along - 1.0, 0.0), min(along + 1.0, road.length), offset)
    middle, step = points.mean(axis=0), points[-1] - points[0]
    return float(middle[0]), float(middle[1]), float(np.arctan2(step[1], step[0]))


def _wall(rng: np.random.Generator) -> tuple[int, int, int]:
    r, g, b = WALLS[int(rng.integers(len(WALLS)))]
    shift = rng.integers(-14, 15, 3)
    return int(r + shift[0]), int(g + shift[1]), int(b + shift[2])


def _add_building(
    rng: np.random.Generator, solids: list[Solid], x: float, y: float, yaw: float, half: tuple[float, float]
) -> None:
    height, colour = float(rng.choice([rng.uniform(4.0, 8.0), rng.uniform(8.0, 22.0)])), _wall(rng)
    solids.append((BOX, (x, y, height / 2), (*half, height / 2), yaw, Material.BUILDING, colour, 1))
    if rng.random() < 0.4:  # a smaller block on the roof breaks the silhouette
        top = rng.uniform(1.0, 2.5)
        size = (half[0] * rng.uniform(0.3, 0.7), half[1] * rng.uniform(0.3, 0.7), top / 2)
        solids.append((BOX, (x, y, height + top / 2), size, yaw, Material.BUILDING, colour, 0))


def _add_buildings(rng: np.random.Generator, road: Road, side: float, occupied: _Occupied, solids: list[Solid]) -> None:
    along = rng.uniform(-8.0, 2.0)
    while along < road.length + 4.0:
        front, depth, back = rng.uniform(9.0, 24.0), rng.uniform(8.0, 15.0), rng.uniform(1.2, 5.0)
        middle = float(np.clip(along + front / 2, 0.0, road.length))
        x, y, yaw = _place(road, middle, side * (road.half_width + WALKWAY + back + depth / 2))
        excess = along + front / 2 - middle  # beyond the mouth: straight on
        x, y = x + excess * np.cos(yaw), y + excess * np.sin(yaw)
        if occupied.take(x, y, yaw, front / 2, depth / 2, gap=0.6):
            _add_building(rng, solids, x, y, yaw, (front / 2, depth / 2))
            along += front + (rng.uniform(0.5, 2.0) if rng.random() < 0.6 else rng.uniform(4.0, 12.0))
        else:
            along += 3.0


def _add_far_buildings(rng: np.random.Generator, town: Town, occupied: _Occupied, solids: list[Solid]) -> None:
    """Fill the blocks' inside and the outskirts thinly."""
    for _ in range(160):
        x, y = rng.uniform(5.0, town.size[0] - 5.0), rng.uniform(5.0, town.size[1] - 5.0)
        half = (rng.uniform(4.0, 11.0), rng.uniform(4.0, 9.0))
        yaw = rng.uniform(-0.3, 0.3)
        if occupied.take(x, y, yaw, *half, gap=4.0):
            _add_building(rng, solids, x, y, yaw, half)


def _add_street_furniture(
    rng: np.random.Generator, road: Road, side: float, occupied: _Occupied, solids: list[Solid]
) -> None:
    """Trees, hedges and bins behind the walkway, lamps and signs at the kerb."""
    behind = road.half_width + WALKWAY + 0.7
    for along in np.arange(rng.uniform(2.0, 6.0), road.length - 2.0, rng.uniform(7.0, 13.0)):
        kind = rng.random()
        x, y, yaw = _place(road, along + rng.uniform(-1.5, 1.5), side * (behind + rng.uniform(0.0, 0.3)))
        if kind < 0.55 and occupied.take(x, y, yaw, 0.35, 0.35, gap=0.0):
            _add_tree(rng, solids, x, y)
        elif kind < 0.72 and occupied.take(x, y, yaw, 2.2, 0.35, gap=0.0):
            high = rng.uniform(0.35, 0.7)
            colour = (int(rng.integers(44, 80)), int(rng.integers(90, 124)), int(rng.integers(36, 60)))
            solids.append((BOX, (x, y, high), (rng.uniform(1.2, 2.2), 0.35, high), yaw, Material.FOLIAGE, colour, 2))
        elif kind < 0.88 and occupied.take(x, y, yaw, 0.4, 0.4, gap=0.0):
            high = rng.uniform(0.45, 0.65)
            solids.append((BOX, (x, y, high), (0.30, 0.33, high), yaw, Material.PLASTIC, (54, 76, 60), 0))
    kerb = road.half_width + 0.35
    for along in np.arange(rng.uniform(8.0, 16.0), road.length - 6.0, 27.0):
        x, y, yaw = _place(road, along, side * kerb)
        solids.append((CYLINDER, (x, y, 3.0), (0.08, 0.08, 3.0), 0.0, Material.METAL, (92, 96, 98), 0))
        reach = -side * 0.7
        arm = (x - reach * np.sin(yaw), y + reach * np.cos(yaw), 5.95)
        solids.append((BOX, arm, (0.12, 0.75, 0.07), yaw, Material.METAL, (92, 96, 98), 0))
    for along in np.arange(rng.uniform(14.0, 30.0), road.length - 10.0, rng.uniform(28.0, 45.0)):
        x, y, yaw = _place(road, along, side * kerb)
        solids.append((CYLINDER, (x, y, 1.3), (0.04, 0.04, 1.3), 0.0, Material.METAL, (150, 152, 154), 0))
        plate = ((204, 40, 36), (236, 236, 232), (44, 84, 160))[int(rng.integers(3))]
        solids.append((BOX, (x, y, 2.35), (0.03, 0.3, 0.3), yaw, Material.RETRO, plate, 0))


def _add_tree(rng: np.random.Generator, solids: list[Solid], x: float, y: float) -> None:
    trunk, crown = rng.uniform(1.0, 1.6), rng.uniform(1.1, 2.1)
    green = (int(rng.integers(46, 92)), int(rng.integers(88, 136)), int(rng.integers(34, 62)))
    solids.append((CYLINDER, (x, y, trunk), (0.16, 0.16, trunk), 0.0, Material.TRUNK, (92, 72, 52), 0))
    tall = crown * rng.uniform(0.9, 1.4)
    top = 2 * trunk + 0.75 * tall
    solids.append((ELLIPSOID, (x, y, top), (crown, crown, tall), 0.0, Material.FOLIAGE, green, 2))
    if rng.random() < 0.5:
        lump = (x + rng.uniform(-0.8, 0.8), y + rng.uniform(-0.8, 0.8), top + rng.uniform(-0.4, 0.8))
        solids.append((ELLIPSOID, lump, (crown * 0.7,) * 3, 0.0, Material.FOLIAGE, green, 2))


def _add_signals(town: Town, solids: list[Solid]) -> None:
    """A signal post at the right of every arriving lane of a crossroads of four."""
    for node, arms in enumerate(town.arms):
        if len(arms) < 4:
            continue
        for arm in arms:
            x, y = signal_position(town, arm)
            solids.append((CYLINDER, (x, y, 1.5), (0.07, 0.07, 1.5), 0.0, Material.METAL, (60, 62, 60), 0))
            _, out = arm_frame(town, arm)
            yaw = float(np.arctan2(out[1], out[0]))
            solids.append((BOX, (x, y, 3.2), (0.16, 0.17, 0.42), yaw, Material.PLASTIC, (30, 32, 30), 0))
        del node


def signal_position(town: Town, arm: tuple[int, int]) -> tuple[float, float]:
    """Foot of the signal post of an arm: at the kerb, right of the traffic that arrives at the node."""
    point, out = arm_frame(town, arm)
    right = np.array([-out[1], out[0]])  # arriving traffic drives along -out
    foot = point + out * (STOP_LINE - 0.3) + right * (town.roads[arm[0]].half_width + 0.35)
    return float(foot[0]), float(foot[1])


def _primitives(solids: list[Solid]) -> Primitives:
    return Primitives(
        np.array([s[0] for s in solids], np.int8),
        np.array([s[1] for s in solids]),
        np.array([s[2] for s in solids]),
        np.array([s[3] for s in solids]),
        np.array([int(s[4]) for s in solids], np.int16),
        np.array([s[5] for s in solids]).clip(0, 255).astype(np.uint8),
        np.array([s[6] for s in solids], np.uint8),
    )
