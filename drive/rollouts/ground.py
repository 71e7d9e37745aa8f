"""Where the road is, for places in many scenes at once: how far off it, and in which lanes.

The maps of S scenes lie in one set of arrays, each with grids of its own; kernels take the scene's number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit

from drive.rollouts.cells import bounds_of, cell_of, clear_rings, gap2, grid_of
from drive.samples.scene import CONNECTOR, LANE, ON_ROAD, Scene, SceneMap
from ops.polygon_queries.cpu import inside

NOTHING, POLYGONS, EDGES = range(3)
Z_WEIGHT = 3.0
"""Heights count this much when the nearest road edge is looked for (Waymo's sim-agents metric): what runs above or
below on a bridge is far."""


class Ground(NamedTuple):
    """Maps of S scenes. Ring, polygon and segment numbers are flat over all; a grid is (place [5], starts, members) as
    ``drive.rollouts.cells.grid_of`` makes it, with starts and members flat too."""

    kind: np.ndarray  # int8 [S] NOTHING, POLYGONS, EDGES
    vertices: np.ndarray  # float64 [M, 2]
    rings: np.ndarray  # int64
    polygons: np.ndarray  # int64, rings of polygon g
    layer: np.ndarray  # uint8 [G]
    bounds: np.ndarray  # float64 [G, 4]
    scene_polygons: np.ndarray  # int64 [S + 1]
    place: np.ndarray  # float64 [S, 5]
    starts_at: np.ndarray  # int64 [S + 1]
    starts: np.ndarray
    members: np.ndarray  # polygon numbers, flat
    segments: np.ndarray  # float64 [E, 6]: x y z of both ends
    before: np.ndarray  # int64 [E], the segment that ends where this one starts, or -1
    after: np.ndarray  # int64 [E]
    edge_place: np.ndarray  # float64 [S, 5]
    edge_starts_at: np.ndarray
    edge_starts: np.ndarray
    edge_members: np.ndarray
    edge_clear: np.ndarray  # int16, beside edge_starts: rings of cells around a cell in which there is no segment


def ground_of(scenes: Sequence[Scene]) -> Ground:
    """The maps of scenes, ready for queries."""
    maps = [scene.map for scene in scenes]
    rings = [0, *np.cumsum([len(m.vertices) for m in maps])]
    polygon_parts, ring_parts, bounds, edges = [], [], [], []
    place: list[np.ndarray] = []
    starts: list[np.ndarray] = []
    members: list[np.ndarray] = []
    edge_place: list[np.ndarray] = []
    edge_starts: list[np.ndarray] = []
    edge_members: list[np.ndarray] = []
    edge_clear: list[np.ndarray] = []
    ring_count = polygon_count = segment_count = 0
    for m, first in zip(maps, rings, strict=False):
        ring_parts.append(m.ring_offsets[:-1] + first)
        polygon_parts.append(m.polygon_offsets[:-1] + ring_count)
        box = bounds_of(m.vertices, m.ring_offsets, m.polygon_offsets) if len(m.polygon_layer) else np.zeros((0, 4))
        cells = _cells(box, polygon_count)
        bounds.append(box)
        for own, kept in zip(cells, (place, starts, members), strict=True):
            kept.append(own)
        segments, before, after = _segments(m)
        low, high = np.minimum(segments[:, :2], segments[:, 3:5]), np.maximum(segments[:, :2], segments[:, 3:5])
        cells = _cells(np.concatenate([low, high], axis=1), segment_count)
        for own, kept in zip(cells, (edge_place, edge_starts, edge_members), strict=True):
            kept.append(own)
        edge_clear.append(clear_rings(cells[1], int(cells[0][3]), int(cells[0][4])))
        edges.append((segments, *(np.where(n >= 0, n + segment_count, -1) for n in (before, after))))
        ring_count += len(m.ring_offsets) - 1
        polygon_count += len(m.polygon_layer)
        segment_count += len(segments)
    starts_flat, starts_at = _flat_starts(starts, members)
    edge_starts_flat, edge_starts_at = _flat_starts(edge_starts, edge_members)
    counts = np.cumsum([0, *(len(m.polygon_layer) for m in maps)]).astype(np.int64)
    return Ground(
        kind=np.array([_kind(m) for m in maps], np.int8),
        vertices=_joined([m.vertices for m in maps], (0, 2)),
        rings=np.append(_joined(ring_parts, (0,)), rings[-1]).astype(np.int64),
        polygons=np.append(_joined(polygon_parts, (0,)), ring_count).astype(np.int64),
        layer=_joined([m.polygon_layer for m in maps], (0,)).astype(np.uint8),
        bounds=_joined(bounds, (0, 4)),
        scene_polygons=counts,
        place=_joined([p[None] for p in place], (0, 5)),
        starts_at=starts_at,
        starts=starts_flat,
        members=_joined(members, (0,)).astype(np.int64),
        segments=_joined([e[0] for e in edges], (0, 6)),
        before=_joined([e[1] for e in edges], (0,)).astype(np.int64),
        after=_joined([e[2] for e in edges], (0,)).astype(np.int64),
        edge_place=_joined([p[None] for p in edge_place], (0, 5)),
        edge_starts_at=edge_starts_at,
        edge_starts=edge_starts_flat,
        edge_members=_joined(edge_members, (0,)).astype(np.int64),
        edge_clear=_joined(edge_clear, (0,)).astype(np.int16),
    )


def _kind(m: SceneMap) -> int:
    if m.drivable_from == "road edges" and len(m.edge_vertices) > 1:
        return EDGES
    return POLYGONS if (m.polygon_layer & ON_ROAD).any() else NOTHING


def _joined(parts: Sequence[np.ndarray], empty: tuple[int, ...]) -> np.ndarray:
    return np.concatenate(parts) if len(parts) else np.zeros(empty)


def _cells(bounds: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not len(bounds):
        return np.array([0.0, 0.0, 1.0, 1.0, 1.0]), np.zeros(2, np.int64), np.zeros(0, np.int64)
    place, starts, members = grid_of(bounds)
    return place, starts, members + first


def _flat_starts(starts: list[np.ndarray], members: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Starts of all grids one after the other, counted over all members, and where each grid's begin."""
    shift = np.cumsum([0, *(len(m) for m in members)])
    flat = [own + by for own, by in zip(starts, shift, strict=False)]
    return _joined(flat, (0,)).astype(np.int64), np.cumsum([0, *(len(s) for s in starts)]).astype(np.int64)


def _segments(m: SceneMap) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Segments [E, 6] of all road edges, and for each the one before and after it; closed edges are cyclic."""
    points = np.concatenate([m.edge_vertices, m.edge_z[:, None]], axis=1)
    rows, before, after = [], [], []
    count = 0
    for e in range(len(m.edge_offsets) - 1):
        line = points[m.edge_offsets[e] : m.edge_offsets[e + 1]]
        line = line[np.append(True, np.linalg.norm(np.diff(line[:, :2], axis=0), axis=1) > 1e-6)] if len(line) else line
        pieces = max(len(line) - 1, 0)
        if not pieces:
            continue
        numbers = count + np.arange(pieces)
        closed = pieces > 2 and np.linalg.norm(line[0, :2] - line[-1, :2]) < 1e-6
        rows.append(np.concatenate([line[:-1], line[1:]], axis=1))
        before.append(np.append(numbers[-1] if closed else -1, numbers[:-1]))
        after.append(np.append(numbers[1:], numbers[0] if closed else -1))
        count += pieces
    if not rows:
        return np.zeros((0, 6)), np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(rows), np.concatenate(before), np.concatenate(after)


@njit(cache=True, nogil=True)
def off_road(ground, s, x, y, z):  # type: ignore[no-untyped-def]
    """Metres that a place of scene s lies off the road. Polygons: 0 on it. Road edges: signed, negative on it. 0 where
    the scene's map does not say."""
    if ground.kind[s] == POLYGONS:
        return _off_polygons(ground, s, x, y)
    if ground.kind[s] == EDGES:
        return _off_edges(ground, s, x, y, z)
    return 0.0


@njit(cache=True, nogil=True)
def _off_polygons(ground, s, x, y):  # type: ignore[no-untyped-def]
    place, base = ground.place[s], ground.starts_at[s]
    nx, ny = int(place[3]), int(place[4])
    cell = cell_of(y, place[1], place[2], ny) * nx + cell_of(x, place[0], place[2], nx)
    for k in range(ground.starts[base + cell], ground.starts[base + cell + 1]):
        g = ground.members[k]
        b = ground.bounds[g]
        if not (ground.layer[g] & ON_ROAD and x >= b[0] and x <= b[2] and y >= b[1] and y <= b[3]):
            continue
        if inside(x, y, ground.vertices, ground.rings, ground.polygons[g], ground.polygons[g + 1]):
            return 0.0
    best = np.inf
    for g in range(ground.scene_polygons[s], ground.scene_polygons[s + 1]):
        if not ground.layer[g] & ON_ROAD:
            continue
        b = ground.bounds[g]
        gx, gy = max(b[0] - x, x - b[2], 0.0), max(b[1] - y, y - b[3], 0.0)
        if gx * gx + gy * gy >= best:
            continue
        for r in range(ground.polygons[g], ground.polygons[g + 1]):
            first, last = ground.rings[r], ground.rings[r + 1]
            for k in range(first, last):
                to = k + 1 if k + 1 < last else first
                v, w = ground.vertices[k], ground.vertices[to]
                best = min(best, gap2(x, y, v[0], v[1], w[0], w[1]))
    return np.sqrt(best)


@njit(cache=True, nogil=True)
def _off_edges(ground, s, x, y, z):  # type: ignore[no-untyped-def]
    """The nearest segment by 3-D distance with heights stretched, then its 2-D distance: right of it is off the road.

    Rings of cells are looked at until none can be nearer: a 3-D distance is never below the 2-D one. Elements are read
    one by one: a view of a row costs more than the arithmetic on it.
    """
    base, nx, ny = ground.edge_starts_at[s], int(ground.edge_place[s, 3]), int(ground.edge_place[s, 4])
    left_x, low_y, size = ground.edge_place[s, 0], ground.edge_place[s, 1], ground.edge_place[s, 2]
    ci, cj = cell_of(x, left_x, size, nx), cell_of(y, low_y, size, ny)
    ix, iy = min(max(x, left_x), left_x + nx * size), min(max(y, low_y), low_y + ny * size)
    outside = (x - ix) ** 2 + (y - iy) ** 2
    # From the place (the nearest one within the grid) to the nearest side of its cell.
    inner = min(ix - left_x - ci * size, left_x + (ci + 1) * size - ix)
    inner = max(min(inner, iy - low_y - cj * size, low_y + (cj + 1) * size - iy), 0.0)
    starts, members, segments = ground.edge_starts, ground.edge_members, ground.segments
    best, found, at = np.inf, -1, 0.0
    for ring in range(ground.edge_clear[base + cj * nx + ci], max(nx, ny)):
        away = inner + (ring - 1) * size
        if ring > 0 and best < outside + away * away:
            break
        for j in range(max(cj - ring, 0), min(cj + ring, ny - 1) + 1):
            rim = j == cj - ring or j == cj + ring
            for i in range(ci - ring, ci + ring + 1, 1 if rim or ring == 0 else 2 * ring):
                if i < 0 or i >= nx:
                    continue
                # How far this cell is at least: most of a ring is too far once something is found.
                px, py = left_x + i * size, low_y + j * size
                px, py = max(px - x, x - px - size, 0.0), max(py - y, y - py - size, 0.0)
                if found >= 0 and px * px + py * py > best:
                    continue
                cell = base + j * nx + i
                for k in range(starts[cell], starts[cell + 1]):
                    e = members[k]
                    x0, y0, z0 = segments[e, 0], segments[e, 1], segments[e, 2]
                    dx, dy, dz = segments[e, 3] - x0, segments[e, 4] - y0, Z_WEIGHT * (segments[e, 5] - z0)
                    ox, oy, oz = x - x0, y - y0, Z_WEIGHT * (z - z0)
                    share = (ox * dx + oy * dy + oz * dz) / max(dx * dx + dy * dy + dz * dz, 1e-18)
                    share = min(max(share, 0.0), 1.0)
                    gap = (ox - share * dx) ** 2 + (oy - share * dy) ** 2 + (oz - share * dz) ** 2
                    if gap < best:
                        best, found, at = gap, e, share
    if found < 0:
        return 0.0
    return _beside(segments, ground.before, ground.after, found, at, x, y)


@njit(cache=True, nogil=True)
def _beside(segments, before, after, found, at, x, y):  # type: ignore[no-untyped-def]
    """Signed 2-D distance to segment `found`, to whose share `at` the place is nearest: negative left of it."""
    q = segments[found]
    gx, gy = x - (q[0] + at * (q[3] - q[0])), y - (q[1] + at * (q[4] - q[1]))
    left = _left_of(q, x, y)
    other = before[found] if at <= 0.0 else after[found] if at >= 1.0 else -1
    if other >= 0:
        o = segments[other]
        # At a corner both segments are asked: road that turns left around it must be left of both, else of either.
        cross = (q[3] - q[0]) * (o[4] - o[1]) - (q[4] - q[1]) * (o[3] - o[0])
        turns_left = cross < 0 if at <= 0.0 else cross > 0
        left = (left and _left_of(o, x, y)) if turns_left else (left or _left_of(o, x, y))
    distance = np.sqrt(gx * gx + gy * gy)
    return -distance if left else distance


@njit(cache=True, nogil=True)
def _left_of(q, x, y):  # type: ignore[no-untyped-def]
    return (q[3] - q[0]) * (y - q[1]) - (q[4] - q[1]) * (x - q[0]) >= 0


@njit(cache=True, nogil=True)
def in_several_lanes(ground, s, corners):  # type: ignore[no-untyped-def]
    """Whether corners [4, 2] touch more than one lane and none holds them all (the PDM score's rule)."""
    place, base = ground.place[s], ground.starts_at[s]
    nx, ny = int(place[3]), int(place[4])
    lanes, touched = LANE | CONNECTOR, 0
    for c in range(4):
        cell = cell_of(corners[c, 1], place[1], place[2], ny) * nx
        cell += cell_of(corners[c, 0], place[0], place[2], nx)
        for k in range(ground.starts[base + cell], ground.starts[base + cell + 1]):
            g = ground.members[k]
            if not ground.layer[g] & lanes:
                continue
            held, first = 0, 4
            for d in range(4):
                if inside(
                    corners[d, 0], corners[d, 1], ground.vertices, ground.rings, ground.polygons[g],
                    ground.polygons[g + 1],
                ):  # fmt: skip
                    held += 1
                    first = min(first, d)
            if held == 4:
                return False
            touched += held > 0 and first == c  # each lane once, at the first corner that it holds
    return touched > 1


@njit(cache=True, nogil=True)
def _places_off_road(ground, scene, places, z, out):  # type: ignore[no-untyped-def]
    for n in range(places.shape[0]):
        out[n] = off_road(ground, scene[n], places[n, 0], places[n, 1], z[n])


def places_off_road(ground: Ground, scene: np.ndarray, places: np.ndarray, z: np.ndarray) -> np.ndarray:
    """`off_road` float64 [N] of places [N, 2] at heights z [N] in the scenes of numbers scene [N]."""
    out = np.zeros(len(places))
    _places_off_road(ground, np.asarray(scene, np.int64), np.ascontiguousarray(places), np.asarray(z, float), out)
    return out
