"""A uniform grid that lists which boxes touch a cell: places ask their own cell alone. No torch, so that a process
that only simulates starts in a second (ops.polygon_queries answers the same for tensors)."""

from __future__ import annotations

import numpy as np
from numba import njit

MOST_CELLS = 1 << 18


@njit(cache=True, nogil=True)
def cell_of(value, low, size, count):  # type: ignore[no-untyped-def]
    """Row or column of the grid in which a coordinate lies; the outermost ones reach to infinity."""
    return int(min(max((value - low) / size, 0.0), count - 1.0))


@njit(cache=True, nogil=True)
def grid_of(bounds):  # type: ignore[no-untyped-def]
    """Cells of boxes [N, 4] (x low, y low, x high, y high), N > 0: (place [5] x, y, cell size, columns, rows; starts
    [columns * rows + 1]; members: the boxes that touch each cell, one run a cell)."""
    N = bounds.shape[0]
    low_x, low_y = bounds[:, 0].min(), bounds[:, 1].min()
    width, height = max(bounds[:, 2].max() - low_x, 1e-6), max(bounds[:, 3].max() - low_y, 1e-6)
    mean = 0.0
    for n in range(N):
        mean += max(bounds[n, 2] - bounds[n, 0], bounds[n, 3] - bounds[n, 1]) / N
    # About a box's size, and no more cells than a few a box.
    size = max(mean, np.sqrt(width * height / min(4.0 * N, MOST_CELLS)), max(width, height) / 4096)
    columns, rows = int(width / size) + 1, int(height / size) + 1
    starts = np.zeros(columns * rows + 2, np.int64)
    members = np.empty(0, np.int64)
    for fill in range(2):
        for n in range(N):
            i0, i1 = cell_of(bounds[n, 0], low_x, size, columns), cell_of(bounds[n, 2], low_x, size, columns)
            j0, j1 = cell_of(bounds[n, 1], low_y, size, rows), cell_of(bounds[n, 3], low_y, size, rows)
            for j in range(j0, j1 + 1):
                for i in range(i0, i1 + 1):
                    c = j * columns + i
                    if fill:
                        members[starts[c + 1]] = n
                        starts[c + 1] += 1
                    else:
                        starts[c + 2] += 1
        if fill == 0:
            for c in range(1, starts.size):
                starts[c] += starts[c - 1]
            members = np.empty(starts[-1], np.int64)
    return np.array([low_x, low_y, size, float(columns), float(rows)]), starts[:-1], members


@njit(cache=True, nogil=True)
def clear_rings(starts, columns, rows):  # type: ignore[no-untyped-def]
    """int16 beside `starts` [columns * rows + 1]: how many rings of cells around a cell hold nothing (0: it holds
    something itself; as many as there are where all is empty). Two sweeps of the chessboard distance."""
    most = min(max(columns, rows), 32767)
    clear = np.full(starts.size, most, np.int16)
    for sweep in range(2):
        for n in range(rows * columns):
            c = n if sweep == 0 else rows * columns - 1 - n
            i, j = c % columns, c // columns
            if starts[c + 1] > starts[c]:
                clear[c] = 0
                continue
            back = -1 if sweep == 0 else 1
            best = clear[c]
            if 0 <= i + back < columns:
                best = min(best, clear[c + back] + 1)
            if 0 <= j + back < rows:
                for k in range(max(i - 1, 0), min(i + 1, columns - 1) + 1):
                    best = min(best, clear[(j + back) * columns + k] + 1)
            clear[c] = best
    return clear


@njit(cache=True, nogil=True)
def bounds_of(vertices, rings, polygons):  # type: ignore[no-untyped-def]
    """Boxes [G, 4] around polygons."""
    out = np.empty((polygons.size - 1, 4))
    for g in range(polygons.size - 1):
        own = vertices[rings[polygons[g]] : rings[polygons[g + 1]]]
        out[g, 0], out[g, 1] = own[:, 0].min(), own[:, 1].min()
        out[g, 2], out[g, 3] = own[:, 0].max(), own[:, 1].max()
    return out


@njit(cache=True, nogil=True)
def gap2(x, y, x0, y0, x1, y1):  # type: ignore[no-untyped-def]
    """Squared distance from a place to a segment."""
    dx, dy, ox, oy = x1 - x0, y1 - y0, x - x0, y - y0
    share = min(max((ox * dx + oy * dy) / max(dx * dx + dy * dy, 1e-18), 0.0), 1.0)
    return (ox - share * dx) ** 2 + (oy - share * dy) ** 2
