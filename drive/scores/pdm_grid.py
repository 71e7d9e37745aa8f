"""Which polygons of a map hold a point, in time that does not grow with the map.

A uniform grid lists for each cell the polygons that cover it and the edges that cross it. A point in a covered cell
needs no arithmetic; in a crossed one it is joined to the cell's reference point, whose place (inside or outside) is
known, and only the cell's own edges are crossed or not. Points on an edge (to the last digits) go to either side.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from ops.polygon_queries.cpu import inside

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CELL_M = 2.0
MOST_CELLS = 1 << 20
LARGEST = 1e9


class Grid(NamedTuple):
    """The cells of G polygons; `make_grid` makes it, the kernels below and `pdm_areas` read it.

    Attributes:
        x, y: low corner. inverse: 1 / cell size. nx, ny: cells; cell (i, j) is number j * nx + i.
        starts: int64 [cells + 1], the entries of each cell.
        polygon: int64 [entries], rising within a cell.
        first, last: int64 [entries], its rows of `edges`; first == last: the polygon covers the cell.
        odd: bool [entries]: the polygon holds the cell's reference point.
        edges: float64 [rows, 4] x0 y0 x1 y1.
        reference: float64 [cells, 2].
    """

    x: float
    y: float
    inverse: float
    nx: int
    ny: int
    starts: Ints
    polygon: Ints
    first: Ints
    last: Ints
    odd: npt.NDArray[np.bool_]
    edges: Floats
    reference: Floats


def make_grid(
    vertices: Floats,
    ring_offsets: Ints,
    polygon_offsets: Ints,
    cell_m: float = CELL_M,
    within: Floats | None = None,
) -> Grid:
    """The grid of polygons in the ragged layout of ops.polygon_queries (even-odd, rings not closed), float64 [M, 2].

    within: float64 [4] x low, y low, x high, y high: only there is it asked; it holds nothing outside.
    ValueError: offsets that do not fit, a vertex that is not finite or beyond 1e9.
    """
    vertices = np.ascontiguousarray(vertices, dtype=np.float64).reshape(-1, 2)
    rings = np.ascontiguousarray(ring_offsets, dtype=np.int64)
    polygons = np.ascontiguousarray(polygon_offsets, dtype=np.int64)
    for name, offsets, total in (("ring", rings, len(vertices)), ("polygon", polygons, len(rings) - 1)):
        if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != total or np.any(np.diff(offsets) < 0):
            raise ValueError(f"{name}_offsets must rise from 0 to {total}")
    if not np.all(np.abs(vertices) <= LARGEST):
        raise ValueError("a vertex of the map is not finite or beyond 1e9 m")
    if not len(vertices):
        vertices = np.zeros((1, 2))
        rings, polygons = np.zeros(1, np.int64), np.zeros(len(polygons), np.int64)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    if within is not None:
        low, high = np.maximum(low, within[:2]), np.minimum(high, within[2:])
        high = np.maximum(high, low)
    cell = max(cell_m, float(np.sqrt(np.prod(high - low + 2 * cell_m) / MOST_CELLS)))
    # Not on round numbers: maps made by hand have their edges there.
    low = low - cell * 0.3819660112501051
    nx, ny = (np.floor((high - low) / cell).astype(np.int64) + 1).tolist()
    return Grid(float(low[0]), float(low[1]), 1.0 / cell, nx, ny, *_fill(vertices, rings, polygons, low, cell, nx, ny))


@njit(cache=True, nogil=True)
def _crosses(x0, y0, x1, y1, middle_x, middle_y, half):  # type: ignore[no-untyped-def]
    """Whether a segment, known to touch the cell's bounds on both axes, touches the cell."""
    dx, dy = x1 - x0, y1 - y0
    return abs(dx * (middle_y - y0) - dy * (middle_x - x0)) <= (abs(dx) + abs(dy)) * half + 1e-12


@njit(cache=True, nogil=True)
def _fill(vertices, rings, polygons, low, cell, nx, ny):  # type: ignore[no-untyped-def]
    G = polygons.size - 1
    half = 0.5 * cell * (1 + 1e-9) + 1e-9
    starts, edge_at = np.zeros(nx * ny + 1, np.int64), np.zeros(nx * ny + 1, np.int64)
    toggles = np.zeros(nx + 1, np.bool_)
    polygon, first, last = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64)
    edges = np.empty((0, 4))
    entry_at = np.zeros(nx * ny, np.int64)
    for fill in range(2):
        seen, current = np.full(nx * ny, -1, np.int64), np.zeros(nx * ny, np.int64)
        if fill:
            for c in range(nx * ny):
                starts[c + 1] += starts[c]
                edge_at[c + 1] += edge_at[c]
            entry_at[:] = starts[:-1]
            polygon, first = np.empty(starts[-1], np.int64), np.zeros(starts[-1], np.int64)
            last, edges = np.zeros(starts[-1], np.int64), np.empty((edge_at[-1], 4))
        for g in range(G):
            low_j, high_j = ny, -1
            for r in range(polygons[g], polygons[g + 1]):
                for k in range(rings[r], rings[r + 1]):
                    following = k + 1 if k + 1 < rings[r + 1] else rings[r]
                    x0, y0 = vertices[k, 0], vertices[k, 1]
                    x1, y1 = vertices[following, 0], vertices[following, 1]
                    i0 = max(int((min(x0, x1) - low[0] - 1e-9) / cell), 0)
                    i1 = min(int((max(x0, x1) - low[0] + 1e-9) / cell), nx - 1)
                    j0 = max(int((min(y0, y1) - low[1] - 1e-9) / cell), 0)
                    j1 = min(int((max(y0, y1) - low[1] + 1e-9) / cell), ny - 1)
                    low_j, high_j = min(low_j, j0), max(high_j, j1)
                    for j in range(j0, j1 + 1):
                        for i in range(i0, i1 + 1):
                            middle_x, middle_y = low[0] + (i + 0.5) * cell, low[1] + (j + 0.5) * cell
                            if not _crosses(x0, y0, x1, y1, middle_x, middle_y, half):
                                continue
                            c = j * nx + i
                            if fill:
                                if seen[c] != g:
                                    current[c] = entry_at[c]
                                    entry_at[c] += 1
                                    polygon[current[c]], first[current[c]] = g, edge_at[c]
                                edges[edge_at[c], 0], edges[edge_at[c], 1] = x0, y0
                                edges[edge_at[c], 2], edges[edge_at[c], 3] = x1, y1
                                edge_at[c] += 1
                                last[current[c]] = edge_at[c]
                            else:
                                edge_at[c + 1] += 1
                                starts[c + 1] += seen[c] != g
                            seen[c] = g
            # Cells without an edge of this polygon: inside or outside as their middle is.
            for j in range(low_j, high_j + 1):
                toggles[:] = False
                y = low[1] + (j + 0.5) * cell
                for r in range(polygons[g], polygons[g + 1]):
                    for k in range(rings[r], rings[r + 1]):
                        following = k + 1 if k + 1 < rings[r + 1] else rings[r]
                        y0, y1 = vertices[k, 1], vertices[following, 1]
                        if (y0 > y) != (y1 > y):
                            x0, x1 = vertices[k, 0], vertices[following, 0]
                            x = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
                            toggles[min(max(int(np.ceil((x - low[0]) / cell - 0.5)), 0), nx)] ^= True
                odd = False
                for i in range(nx):
                    odd ^= toggles[i]
                    c = j * nx + i
                    if odd and seen[c] != g:
                        if fill:
                            polygon[entry_at[c]] = g
                            entry_at[c] += 1
                        else:
                            starts[c + 1] += 1
    # Reference points well away from every edge of their cell.
    reference, odd_at = np.empty((nx * ny, 2)), np.zeros(polygon.size, np.bool_)
    for c in range(nx * ny):
        best = -1.0
        for trial in range(8):
            x = low[0] + (c % nx + 0.5 + 0.37 * np.cos(2.4 * trial) * (trial > 0)) * cell
            y = low[1] + (c // nx + 0.5 + 0.37 * np.sin(2.4 * trial) * (trial > 0)) * cell
            nearest = np.inf
            for e in range(starts[c], starts[c + 1]):
                for k in range(first[e], last[e]):
                    dx, dy = edges[k, 2] - edges[k, 0], edges[k, 3] - edges[k, 1]
                    length = np.sqrt(dx * dx + dy * dy)
                    if length > 0:
                        nearest = min(nearest, abs(dx * (y - edges[k, 1]) - dy * (x - edges[k, 0])) / length)
            if nearest > best:
                best = nearest
                reference[c, 0], reference[c, 1] = x, y
            if best > 0.05 * cell:
                break
        for e in range(starts[c], starts[c + 1]):
            g = polygon[e]
            if last[e] > first[e]:
                odd_at[e] = inside(reference[c, 0], reference[c, 1], vertices, rings, polygons[g], polygons[g + 1])
    return starts, polygon, first, last, odd_at, edges, reference


@njit(cache=True, nogil=True)
def cell_of(x, y, grid):  # type: ignore[no-untyped-def]
    """The number of the cell that holds a point, or -1 (also for a NaN)."""
    i, j = (x - grid.x) * grid.inverse, (y - grid.y) * grid.inverse
    if not ((i >= 0) & (i < grid.nx) & (j >= 0) & (j < grid.ny)):
        return -1
    return int(j) * grid.nx + int(i)


@njit(cache=True, nogil=True)
def entry_holds(x, y, cell, entry, grid):  # type: ignore[no-untyped-def]
    """Whether the polygon of an entry of this cell holds the point."""
    first, last = grid.first[entry], grid.last[entry]
    if first == last:
        return True
    odd = grid.odd[entry]
    rx, ry = grid.reference[cell, 0] - x, grid.reference[cell, 1] - y
    edges = grid.edges
    for k in range(first, last):
        ax, ay, bx, by = edges[k, 0] - x, edges[k, 1] - y, edges[k, 2] - x, edges[k, 3] - y
        # Both ends on one side of the line from the point to the reference: not crossed.
        if (rx * ay - ry * ax > 0) == (rx * by - ry * bx > 0):
            continue
        dx, dy = bx - ax, by - ay
        odd ^= (dy * ax - dx * ay > 0) != (dx * (ry - ay) - dy * (rx - ax) > 0)
    return odd


@njit(cache=True, nogil=True)
def edge_within(x, y, reach, layers, wanted, grid):  # type: ignore[no-untyped-def]
    """Whether an edge of a polygon with one of the `wanted` bits of layers [G] passes within `reach` of the point."""
    i0, i1 = (x - reach - grid.x) * grid.inverse, (x + reach - grid.x) * grid.inverse
    j0, j1 = (y - reach - grid.y) * grid.inverse, (y + reach - grid.y) * grid.inverse
    if not ((i1 >= 0) & (i0 < grid.nx) & (j1 >= 0) & (j0 < grid.ny)):
        return False
    for j in range(int(max(j0, 0)), int(min(j1, grid.ny - 1)) + 1):
        for i in range(int(max(i0, 0)), int(min(i1, grid.nx - 1)) + 1):
            cell = j * grid.nx + i
            for e in range(grid.starts[cell], grid.starts[cell + 1]):
                if not layers[grid.polygon[e]] & wanted:
                    continue
                for k in range(grid.first[e], grid.last[e]):
                    ax, ay = grid.edges[k, 0] - x, grid.edges[k, 1] - y
                    dx, dy = grid.edges[k, 2] - grid.edges[k, 0], grid.edges[k, 3] - grid.edges[k, 1]
                    length = dx * dx + dy * dy
                    share = min(max(-(ax * dx + ay * dy) / length, 0.0), 1.0) if length > 0 else 0.0
                    px, py = ax + share * dx, ay + share * dy
                    if px * px + py * py <= reach * reach:
                        return True
    return False
