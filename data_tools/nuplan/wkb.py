"""Well-known binary geometries (OGC 06-103r4) to point arrays: lines and polygons, single or several, 2D or more."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

_LINE, _POLYGON, _MULTI_LINE, _MULTI_POLYGON, _COLLECTION = 2, 3, 5, 6, 7
_MAX_DEPTH = 4


class WkbError(ValueError):
    """A geometry that is damaged or of a kind that maps do not have; ``offset`` counts its bytes."""

    def __init__(self, what: str, offset: int) -> None:
        self.offset = offset
        super().__init__(f"geometry, byte {offset}: {what}")


@dataclass(frozen=True)
class Shape:
    """One line or polygon: ``rings`` of float64 [M, 3] (exterior first, then holes; z = 0 where 2D)."""

    rings: tuple[np.ndarray, ...]
    is_polygon: bool


def decode_wkb(data: bytes, offset: int = 0) -> list[Shape]:
    """The lines and polygons of a geometry (those of several in their order); rings without points are left out.

    Rings keep the repeated last point of the source out. Both byte orders, ISO and extended type codes.

    Raises:
        WkbError: truncated, an unknown type, more points than bytes, a coordinate that is not finite.
    """
    shapes: list[Shape] = []
    _decode(memoryview(data), offset, shapes, 0)
    return shapes


def _decode(data: memoryview, at: int, shapes: list[Shape], depth: int) -> int:
    if depth > _MAX_DEPTH:
        raise WkbError("nested too deeply", at)
    order, at = _order(data, at)
    code, at = _uint(data, at, order)
    kind = code & 0x0FFFFFFF
    flags = (code >> 29) & 0x7  # extended: SRID, M, Z
    dimensions = 2 + {0: 0, 1: 1, 2: 1, 3: 2}.get(kind // 1000, 0) + (flags >> 2 & 1) + (flags >> 1 & 1)
    has_z = kind // 1000 in (1, 3) or bool(flags >> 2 & 1)
    kind %= 1000
    if flags & 1:
        _, at = _uint(data, at, order)
    if kind == _LINE:
        points, at = _points(data, at, order, dimensions, has_z)
        if len(points):
            shapes.append(Shape((points,), False))
        return at
    if kind == _POLYGON:
        count, at = _uint(data, at, order)
        rings = []
        for _ in range(_bounded(count, 4, data, at)):
            points, at = _points(data, at, order, dimensions, has_z)
            closed = len(points) > 1 and np.array_equal(points[0], points[-1])
            if len(points):
                rings.append(points[:-1] if closed else points)
        if rings:
            shapes.append(Shape(tuple(rings), True))
        return at
    if kind in (_MULTI_LINE, _MULTI_POLYGON, _COLLECTION):
        count, at = _uint(data, at, order)
        for _ in range(_bounded(count, 9, data, at)):
            at = _decode(data, at, shapes, depth + 1)
        return at
    raise WkbError(f"type {code} is neither line nor polygon", at)


def _order(data: memoryview, at: int) -> tuple[str, int]:
    if at >= len(data) or data[at] > 1:
        raise WkbError("no byte order", at)
    return ("<" if data[at] else ">"), at + 1


def _uint(data: memoryview, at: int, order: str) -> tuple[int, int]:
    if at + 4 > len(data):
        raise WkbError("truncated", at)
    return struct.unpack_from(f"{order}I", data, at)[0], at + 4


def _bounded(count: int, least: int, data: memoryview, at: int) -> int:
    """``count`` parts of at least ``least`` bytes each, if they can be there."""
    if count * least > len(data) - at:
        raise WkbError(f"{count} parts in {len(data) - at} bytes", at)
    return count


def _points(data: memoryview, at: int, order: str, dimensions: int, has_z: bool) -> tuple[np.ndarray, int]:
    count, at = _uint(data, at, order)
    size = _bounded(count, 8 * dimensions, data, at) * 8 * dimensions
    values = np.frombuffer(data[at : at + size], dtype=f"{order}f8").reshape(count, dimensions)
    points = np.zeros((count, 3))
    points[:, : 2 + has_z] = values[:, : 2 + has_z]
    if not np.isfinite(points).all():
        raise WkbError("a coordinate is not finite", at)
    return points, at + size


def encode_wkb(rings: list[np.ndarray], *, is_polygon: bool) -> bytes:
    """A line ([M, 3] in a list) or a polygon (exterior and holes, closed here) as little-endian ISO WKB with z."""
    out = struct.pack("<BI", 1, 1000 + (_POLYGON if is_polygon else _LINE))
    if is_polygon:
        out += struct.pack("<I", len(rings))
    for ring in rings:
        points = np.ascontiguousarray(ring, dtype="<f8").reshape(-1, 3)
        if is_polygon and len(points):
            points = np.concatenate([points, points[:1]])
        out += struct.pack("<I", len(points)) + points.tobytes()
    return out
