"""Shapes of the moving things: each a few solids in its body frame, with the box that bounds them exactly.

Sizes follow the means and spreads of the classes in public urban data (car 4.6 x 1.9 x 1.6 m and so on). The body
origin is on the ground under the box's centre, so a box is centred on its actor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drive.render.scene import BOX, CYLINDER, ELLIPSOID, Material, Primitives

PAINTS = (
    (235, 235, 232), (200, 203, 206), (130, 134, 138), (40, 42, 46), (24, 38, 84), (150, 24, 28), (38, 84, 56),
    (186, 150, 60), (70, 116, 168), (98, 66, 48),
)  # fmt: skip
CLOTHS = (
    (40, 44, 60), (90, 30, 34), (58, 90, 60), (200, 190, 170), (30, 30, 32), (190, 120, 40), (70, 100, 150),
    (140, 60, 110), (210, 210, 210), (120, 100, 80),
)  # fmt: skip
GLASS = (36, 46, 54)
TYRE = (22, 22, 24)

CATEGORY = {
    "car": "vehicle.car",
    "truck": "vehicle.truck",
    "bus": "vehicle.bus.rigid",
    "bicycle": "vehicle.bicycle",
    "pedestrian": "human.pedestrian.adult",
    "cone": "movable_object.trafficcone",
}


@dataclass(frozen=True)
class Body:
    """One actor's shape. `size` is length, width, height of the box that bounds `parts` exactly, bottom at z = 0."""

    kind: str
    size: tuple[float, float, float]
    parts: Primitives


class _Builder:
    """Collects solids, then centres them on the origin."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, tuple[float, ...], tuple[float, ...], int, tuple[int, int, int], int]] = []

    def add(
        self,
        kind: int,
        centre: tuple[float, float, float],
        half: tuple[float, float, float],
        material: Material,
        colour: tuple[int, int, int],
        texture: int = 0,
    ) -> None:
        self.rows.append((kind, centre, half, int(material), colour, texture))

    def wheels(self, front: float, rear: float, side: float, radius: float, half_width: float) -> None:
        for x in (front, rear):
            for y in (side, -side):
                self.add(ELLIPSOID, (x, y, radius), (radius, half_width, radius), Material.TYRE, TYRE)

    def build(self, kind: str) -> Body:
        centre = np.array([row[1] for row in self.rows])
        half = np.array([row[2] for row in self.rows])
        low, high = (centre - half).min(axis=0), (centre + half).max(axis=0)
        centre = centre - np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
        size = high - low
        parts = Primitives(
            np.array([row[0] for row in self.rows], np.int8),
            centre,
            half,
            np.zeros(len(self.rows)),
            np.array([row[3] for row in self.rows], np.int16),
            np.array([row[4] for row in self.rows], np.uint8),
            np.array([row[5] for row in self.rows], np.uint8),
        )
        return Body(kind, (float(size[0]), float(size[1]), float(size[2])), parts)


def make_body(kind: str, rng: np.random.Generator) -> Body:
    """A body of a kind ('car', 'truck', 'bus', 'bicycle', 'pedestrian', 'cone'), its looks by `rng`."""
    makers = {
        "car": _car,
        "truck": _truck,
        "bus": _bus,
        "bicycle": _bicycle,
        "pedestrian": _pedestrian,
        "cone": _cone,
    }
    return makers[kind](rng)


def _pick(rng: np.random.Generator, colours: tuple[tuple[int, int, int], ...]) -> tuple[int, int, int]:
    r, g, b = colours[int(rng.integers(len(colours)))]
    shift = rng.integers(-12, 13, 3)
    return (
        int(np.clip(r + shift[0], 0, 255)),
        int(np.clip(g + shift[1], 0, 255)),
        int(np.clip(b + shift[2], 0, 255)),
    )


def _car(rng: np.random.Generator) -> Body:
    style = rng.choice(["sedan", "hatch", "suv", "van"], p=[0.4, 0.25, 0.25, 0.1])
    length = {"sedan": 4.7, "hatch": 4.1, "suv": 4.75, "van": 5.0}[style] + rng.normal(0.0, 0.12)
    width = {"sedan": 1.84, "hatch": 1.77, "suv": 1.92, "van": 1.98}[style] + rng.normal(0.0, 0.03)
    height = {"sedan": 1.46, "hatch": 1.52, "suv": 1.72, "van": 1.98}[style] + rng.normal(0.0, 0.04)
    paint = _pick(rng, PAINTS)
    b = _Builder()
    waist = 0.58 * height if style != "van" else 0.52 * height
    b.add(BOX, (0, 0, (0.24 + waist) / 2), (length / 2, width / 2, (waist - 0.24) / 2), Material.CAR_PAINT, paint)
    rear = {"sedan": 0.34, "hatch": 0.48, "suv": 0.47, "van": 0.49}[style] * length
    front = {"sedan": 0.20, "hatch": 0.20, "suv": 0.20, "van": 0.34}[style] * length
    cabin, roof = (rear + front) / 2, height - 0.07
    middle = (front - rear) / 2
    b.add(BOX, (middle, 0, (waist + roof) / 2), (cabin, width * 0.44, (roof - waist) / 2), Material.GLASS, GLASS)
    b.add(BOX, (middle - 0.05, 0, height - 0.035), (cabin * 0.86, width * 0.43, 0.035), Material.CAR_PAINT, paint)
    # Door pillars: strips of paint that stand out from the glass by a centimetre.
    b.add(
        BOX,
        (middle - 0.12, 0, (waist + roof) / 2),
        (0.09, width * 0.445, (roof - waist) / 2),
        Material.CAR_PAINT,
        paint,
    )
    b.wheels(0.31 * length, -0.30 * length, width / 2 - 0.09, 0.32, 0.09)
    # Lamps stand out a centimetre, so that they and not the body behind them are seen.
    b.add(BOX, (length / 2 - 0.04, 0, waist - 0.14), (0.05, width * 0.42, 0.06), Material.METAL, (236, 236, 226))
    b.add(BOX, (-length / 2 + 0.04, 0, waist - 0.12), (0.05, width * 0.44, 0.06), Material.PLASTIC, (168, 22, 20))
    return b.build("car")


def _truck(rng: np.random.Generator) -> Body:
    length, width, height = rng.uniform(6.2, 8.8), rng.uniform(2.25, 2.5), rng.uniform(2.8, 3.6)
    cab_length, cab_height = rng.uniform(1.7, 2.1), min(rng.uniform(2.4, 2.8), height - 0.1)
    paint, box = _pick(rng, PAINTS), _pick(rng, ((225, 225, 220), (200, 206, 212), (90, 110, 140), (176, 150, 96)))
    b = _Builder()
    cab_x = length / 2 - cab_length / 2
    b.add(BOX, (cab_x, 0, 1.1), (cab_length / 2, width / 2 - 0.05, 0.65), Material.CAR_PAINT, paint)
    pane = (1.75 + cab_height) / 2, (cab_height - 1.75) / 2
    b.add(BOX, (cab_x - 0.1, 0, pane[0]), (cab_length / 2 - 0.1, width / 2 - 0.12, pane[1]), Material.GLASS, GLASS)
    b.add(
        BOX,
        (cab_x - 0.1, 0, cab_height - 0.03),
        (cab_length / 2 - 0.08, width / 2 - 0.1, 0.05),
        Material.CAR_PAINT,
        paint,
    )
    load = length - cab_length - 0.35
    b.add(BOX, (-length / 2 + load / 2, 0, (1.0 + height) / 2), (load / 2, width / 2, (height - 1.0) / 2),
          Material.CAR_PAINT, box)  # fmt: skip
    b.add(BOX, (-0.2, 0, 0.82), (length / 2 - 0.3, 0.45, 0.18), Material.METAL, (60, 60, 62))
    b.wheels(length / 2 - 1.0, -length / 2 + 1.5, width / 2 - 0.15, 0.48, 0.15)
    return b.build("truck")


def _bus(rng: np.random.Generator) -> Body:
    length, width, height = rng.uniform(10.4, 12.0), rng.uniform(2.5, 2.6), rng.uniform(3.0, 3.4)
    paint = _pick(rng, ((196, 40, 36), (40, 110, 170), (232, 184, 40), (60, 140, 90), (230, 230, 228)))
    b = _Builder()
    b.add(BOX, (0, 0, 0.85), (length / 2, width / 2, 0.55), Material.CAR_PAINT, paint)
    b.add(BOX, (0, 0, (1.4 + height - 0.45) / 2), (length / 2 - 0.03, width / 2 - 0.03, (height - 0.45 - 1.4) / 2),
          Material.GLASS, GLASS)  # fmt: skip
    b.add(BOX, (0, 0, height - 0.225), (length / 2 - 0.02, width / 2, 0.225), Material.CAR_PAINT, paint)
    for x in np.linspace(-length / 2 + 0.1, length / 2 - 0.1, 6):
        b.add(BOX, (float(x), 0, height / 2), (0.08, width / 2 - 0.01, height / 2 - 0.4), Material.CAR_PAINT, paint)
    b.wheels(length / 2 - 2.6, -length / 2 + 3.0, width / 2 - 0.16, 0.48, 0.15)
    return b.build("bus")


def _rider(b: _Builder, rng: np.random.Generator, seat: float, top: float, x: float) -> None:
    """A seated person above a two-wheeler, head's top at `top`."""
    cloth, trousers = _pick(rng, CLOTHS), _pick(rng, CLOTHS)
    b.add(BOX, (x + 0.05, 0, seat - 0.20), (0.20, 0.20, 0.24), Material.CLOTH, trousers)
    b.add(BOX, (x + 0.10, 0, seat + 0.28), (0.16, 0.23, 0.27), Material.CLOTH, cloth)
    b.add(BOX, (x + 0.36, 0, seat + 0.34), (0.20, 0.27, 0.05), Material.CLOTH, cloth)
    b.add(ELLIPSOID, (x + 0.16, 0, top - 0.13), (0.12, 0.10, 0.13), Material.SKIN, (196, 150, 120))


def _bicycle(rng: np.random.Generator) -> Body:
    length, top, frame = rng.uniform(1.6, 1.8), rng.uniform(1.6, 1.78), _pick(rng, PAINTS)
    b = _Builder()
    radius = 0.34
    for x in (length / 2 - radius, -length / 2 + radius):
        b.add(ELLIPSOID, (x, 0, radius), (radius, 0.03, radius), Material.TYRE, TYRE)
    b.add(BOX, (0, 0, 0.55), (length / 2 - radius, 0.03, 0.09), Material.METAL, frame)
    b.add(BOX, (length / 2 - radius - 0.1, 0, 0.98), (0.05, 0.27, 0.03), Material.METAL, frame)
    _rider(b, rng, seat=top - 0.78, top=top, x=-0.15)
    return b.build("bicycle")


def _pedestrian(rng: np.random.Generator) -> Body:
    height, width, depth = rng.normal(1.74, 0.09), rng.uniform(0.52, 0.68), rng.uniform(0.26, 0.34)
    height = float(np.clip(height, 1.5, 1.95))
    top, trousers = _pick(rng, CLOTHS), _pick(rng, CLOTHS)
    stride = rng.uniform(0.10, 0.24)
    b = _Builder()
    hip, neck = 0.48 * height, 0.84 * height
    for side in (-1.0, 1.0):
        b.add(BOX, (side * stride, side * 0.11, hip / 2), (0.10, 0.09, hip / 2), Material.CLOTH, trousers)
        b.add(BOX, (-side * stride * 0.6, side * (width / 2 - 0.06), 0.64 * height), (0.08, 0.06, 0.17 * height),
              Material.CLOTH, top)  # fmt: skip
    b.add(BOX, (0, 0, (hip + neck) / 2), (depth / 2, width / 2 - 0.11, (neck - hip) / 2), Material.CLOTH, top)
    b.add(
        ELLIPSOID,
        (0.02, 0, height - 0.13),
        (0.11, 0.09, 0.13),
        Material.SKIN,
        _pick(rng, ((206, 160, 130), (120, 84, 62))),
    )
    return b.build("pedestrian")


def _cone(rng: np.random.Generator) -> Body:
    height, base = rng.uniform(0.72, 1.05), rng.uniform(0.19, 0.22)
    orange, white = (226, 86, 24), (240, 240, 236)
    b = _Builder()
    b.add(BOX, (0, 0, 0.03), (base, base, 0.03), Material.PLASTIC, (40, 40, 42))
    for k, (share, colour, material) in enumerate(
        ((0.80, orange, Material.PLASTIC), (0.60, white, Material.RETRO), (0.42, orange, Material.PLASTIC),
         (0.28, white, Material.RETRO), (0.16, orange, Material.PLASTIC))
    ):  # fmt: skip
        step = (height - 0.06) / 5
        radius = base * share
        b.add(CYLINDER, (0, 0, 0.06 + (k + 0.5) * step), (radius, radius, step / 2), material, colour)
    return b.build("cone")
