"""Points in polygons and nearest points on polylines for the CPU: a uniform grid lists what can matter in each cell.

A query looks at the polygons whose bounds touch its cell, or at rings of cells around it until no nearer segment is
possible: cost does not grow with the map. Floor: one cell and a few edges a point, about 50 ns.
"""

import numpy as np
from numba import njit

from ops import threads as threading

GRAIN = 1024
MOST_CELLS = 1 << 18
LARGEST = 1e9


@njit(cache=True, nogil=True)
def _index(value, low, inverse, count):  # type: ignore[no-untyped-def]
    # Not decreasing in `value`: rounding cannot part a point from its cell.
    return int(min(max((value - low) * inverse, 0.0), count - 1.0))


@njit(cache=True, nogil=True)
def grid(bounds):  # type: ignore[no-untyped-def]
    """Cells that list the boxes bounds [N, 4] (x low, y low, x high, y high) that touch them.

    Returns (place [5] x low, y low, cell, nx, ny; starts; members rising)."""
    N = bounds.shape[0]
    low_x, low_y, high_x, high_y = np.inf, np.inf, -np.inf, -np.inf
    size = 0.0
    for n in range(N):
        low_x, low_y = min(low_x, bounds[n, 0]), min(low_y, bounds[n, 1])
        high_x, high_y = max(high_x, bounds[n, 2]), max(high_y, bounds[n, 3])
        size += max(bounds[n, 2] - bounds[n, 0], bounds[n, 3] - bounds[n, 1]) / N
    width, height = max(high_x - low_x, 1e-6), max(high_y - low_y, 1e-6)
    # Cells of about the boxes' size, no more than a few a box.
    cell = max(size, np.sqrt(width * height / min(4.0 * N, MOST_CELLS)), max(width, height) / 4096)
    while True:
        nx, ny = int(width / cell) + 1, int(height / cell) + 1
        entries = 0
        for n in range(N):
            i0, i1 = _index(bounds[n, 0], low_x, 1 / cell, nx), _index(bounds[n, 2], low_x, 1 / cell, nx)
            j0, j1 = _index(bounds[n, 1], low_y, 1 / cell, ny), _index(bounds[n, 3], low_y, 1 / cell, ny)
            entries += (i1 - i0 + 1) * (j1 - j0 + 1)
        if (entries <= 64 * N + 4096 and nx * ny <= 4 * MOST_CELLS) or nx * ny == 1:
            break
        cell *= 2
    starts = np.zeros(nx * ny + 2, np.int64)
    members = np.empty(entries, np.int64)
    for fill in range(2):
        for n in range(N):
            i0, i1 = _index(bounds[n, 0], low_x, 1 / cell, nx), _index(bounds[n, 2], low_x, 1 / cell, nx)
            j0, j1 = _index(bounds[n, 1], low_y, 1 / cell, ny), _index(bounds[n, 3], low_y, 1 / cell, ny)
            for j in range(j0, j1 + 1):
                for i in range(i0, i1 + 1):
                    c = j * nx + i
                    if fill:
                        members[starts[c + 1]] = n
                        starts[c + 1] += 1
                    else:
                        starts[c + 2] += 1
        if fill == 0:
            for c in range(1, starts.size):
                starts[c] += starts[c - 1]
    return np.array([low_x, low_y, cell, float(nx), float(ny)]), starts[:-1], members


@njit(cache=True, nogil=True)
def inside(x, y, vertices, rings, first, last):  # type: ignore[no-untyped-def]
    """Even-odd over the rings first..last (the outer ring and the holes): a hole is outside."""
    odd = False
    for r in range(first, last):
        a, b = rings[r], rings[r + 1]
        for k in range(a, b):
            following = k + 1 if k + 1 < b else a
            x0, y0, x1, y1 = vertices[k, 0], vertices[k, 1], vertices[following, 0], vertices[following, 1]
            if (y0 > y) != (y1 > y):
                # Which side of the edge, without a division.
                side = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
                odd ^= (side > 0) == (y1 > y0)
    return odd


@njit(cache=True, nogil=True)
def _corners_inside(start, stop, points, vertices, rings, polygons, bounds, cells, any_of, all_of, touched):  # type: ignore[no-untyped-def]
    """points [N, C, 2]; any_of [N]: bit c is set where some polygon holds point c; all_of [N]: the first polygon that
    holds all C, or -1; touched [N]: polygons that hold at least one."""
    place, starts, members = cells
    C = points.shape[1]
    seen, held = np.full(bounds.shape[0], -1, np.int64), np.zeros(bounds.shape[0], np.int64)
    for n in range(start, stop):
        any_of[n], all_of[n], touched[n] = 0, -1, 0
        for c in range(C):
            x, y = points[n, c, 0], points[n, c, 1]
            if not ((abs(x) <= LARGEST) & (abs(y) <= LARGEST)):
                continue
            i, j = _index(x, place[0], 1 / place[2], int(place[3])), _index(y, place[1], 1 / place[2], int(place[4]))
            cell = j * int(place[3]) + i
            for k in range(starts[cell], starts[cell + 1]):
                g = members[k]
                if not ((x >= bounds[g, 0]) & (x <= bounds[g, 2]) & (y >= bounds[g, 1]) & (y <= bounds[g, 3])):
                    continue
                if inside(x, y, vertices, rings, polygons[g], polygons[g + 1]):
                    any_of[n] |= 1 << c
                    if seen[g] != n:
                        seen[g], held[g] = n, 0
                        touched[n] += 1
                    held[g] += 1
                    if held[g] == C and (all_of[n] < 0 or g < all_of[n]):
                        all_of[n] = g


@njit(cache=True, nogil=True)
def _bounds(vertices, rings, polygons):  # type: ignore[no-untyped-def]
    out = np.empty((polygons.size - 1, 4))
    for g in range(polygons.size - 1):
        low_x, low_y, high_x, high_y = np.inf, np.inf, -np.inf, -np.inf
        for k in range(rings[polygons[g]], rings[polygons[g + 1]]):
            low_x, high_x = min(low_x, vertices[k, 0]), max(high_x, vertices[k, 0])
            low_y, high_y = min(low_y, vertices[k, 1]), max(high_y, vertices[k, 1])
        out[g, 0], out[g, 1], out[g, 2], out[g, 3] = low_x, low_y, high_x, high_y
    return out


@njit(cache=True, nogil=True)
def _segments(vertices, lines):  # type: ignore[no-untyped-def]
    """(bounds [S, 4], first vertex [S], line [S]) of all segments."""
    S = vertices.shape[0] - (lines.size - 1)
    bounds, first, line = np.empty((S, 4)), np.empty(S, np.int64), np.empty(S, np.int64)
    s = 0
    for n in range(lines.size - 1):
        for k in range(lines[n], lines[n + 1] - 1):
            for d in range(2):
                bounds[s, d] = min(vertices[k, d], vertices[k + 1, d])
                bounds[s, 2 + d] = max(vertices[k, d], vertices[k + 1, d])
            first[s], line[s] = k, n
            s += 1
    return bounds, first, line


@njit(cache=True, nogil=True)
def _foot(x, y, vertices, k):  # type: ignore[no-untyped-def]
    """(squared distance, share along the segment from vertex k)."""
    dx, dy = vertices[k + 1, 0] - vertices[k, 0], vertices[k + 1, 1] - vertices[k, 1]
    ox, oy = x - vertices[k, 0], y - vertices[k, 1]
    length = dx * dx + dy * dy
    share = min(max((ox * dx + oy * dy) / length, 0.0), 1.0) if length > 0 else 0.0
    ex, ey = ox - share * dx, oy - share * dy
    return ex * ex + ey * ey, share


@njit(cache=True, nogil=True)
def _nearest(start, stop, points, vertices, segments, cells, segment, share):  # type: ignore[no-untyped-def]
    place, starts, members = cells
    nx, ny, cell = int(place[3]), int(place[4]), place[2]
    for n in range(start, stop):
        segment[n], share[n] = -1, 0.0
        x, y = points[n, 0], points[n, 1]
        if not ((abs(x) <= LARGEST) & (abs(y) <= LARGEST)):
            continue
        ci, cj = _index(x, place[0], 1 / cell, nx), _index(y, place[1], 1 / cell, ny)
        # The nearest point of the grid's rectangle: what lies k rings on is at least that far, and k - 1 cells, away.
        ix = min(max(x, place[0]), place[0] + nx * cell)
        iy = min(max(y, place[1]), place[1] + ny * cell)
        outside = (x - ix) * (x - ix) + (y - iy) * (y - iy)
        best = np.inf
        for ring in range(max(nx, ny)):
            away = max(ring - 1, 0) * cell
            if best < (outside + away * away) * (1 - 1e-12):
                break
            for j in range(max(cj - ring, 0), min(cj + ring, ny - 1) + 1):
                edge = j == cj - ring or j == cj + ring
                for i in range(ci - ring, ci + ring + 1, 1 if edge or ring == 0 else 2 * ring):
                    if i < 0 or i >= nx:
                        continue
                    for k in range(starts[j * nx + i], starts[j * nx + i + 1]):
                        s = members[k]
                        distance, at = _foot(x, y, vertices, segments[s])
                        if distance < best or (distance == best and s < segment[n]):
                            best, segment[n], share[n] = distance, s, at


def corners_inside(
    points: np.ndarray, vertices: np.ndarray, rings: np.ndarray, polygons: np.ndarray, *, threads: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See `_corners_inside`; points float64 [N, C, 2], C <= 32."""
    N = points.shape[0]
    out = np.zeros(N, np.int64), np.full(N, -1, np.int64), np.zeros(N, np.int64)
    if polygons.size > 1 and vertices.shape[0]:
        bounds = _bounds(vertices, rings, polygons)
        full = np.isfinite(bounds).all(1)
        safe = np.where(full[:, None], bounds, np.nanmin(vertices))
        parts = threading.even_parts(N, threads, GRAIN)
        threading.run(_corners_inside, parts, threads, points, vertices, rings, polygons, bounds, grid(safe), *out)
    return out


def nearest(
    points: np.ndarray, vertices: np.ndarray, lines: np.ndarray, *, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """(segment [N] counted over all lines, or -1 where there is none; share along it [N])."""
    N = points.shape[0]
    segment, share = np.full(N, -1, np.int64), np.zeros(N)
    bounds, first, _ = _segments(vertices, lines)
    if first.size:
        parts = threading.even_parts(N, threads, GRAIN)
        threading.run(_nearest, parts, threads, points, vertices, first, grid(bounds), segment, share)
    return segment, share
