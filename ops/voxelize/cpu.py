"""Grouping points by voxel for the CPU: a bitmap of occupied cells ranks them, then a counting sort by rank."""

from collections.abc import Sequence

import numpy as np
from numba import njit

from ops import threads as threading
from ops.intrinsics import popcount

GRAIN = 16384


@njit(cache=True, nogil=True)
def _cells(start, stop, points, point_batch, low, high, size, shape, cell):  # type: ignore[no-untyped-def]
    """cell[p] = ((batch * nz + z) * ny + y) * nx + x, or -1 out of range."""
    nz, ny, nx = shape
    for p in range(start, stop):
        x, y, z = points[p, 0], points[p, 1], points[p, 2]
        inside = (x >= low[0]) & (x < high[0]) & (y >= low[1]) & (y < high[1]) & (z >= low[2]) & (z < high[2])
        if inside:
            # A point just below the upper bound may round up to the cell beyond: it belongs to the last cell.
            ix = min(np.int64((x - low[0]) / size[0]), nx - 1)
            iy = min(np.int64((y - low[1]) / size[1]), ny - 1)
            iz = min(np.int64((z - low[2]) / size[2]), nz - 1)
            cell[p] = ((point_batch[p] * nz + iz) * ny + iy) * nx + ix
        else:
            cell[p] = -1


@njit(cache=True, nogil=True)
def _rank(cell, cells):  # type: ignore[no-untyped-def]
    """(bitmap of occupied cells, occupied cells before each of its words, points in range)."""
    words = (cells + 63) // 64
    bitmap = np.zeros(words, np.uint64)
    inside = 0
    for p in range(cell.size):
        c = cell[p]
        if c >= 0:
            bitmap[c >> 6] |= np.uint64(1) << np.uint64(c & 63)
            inside += 1
    before = np.empty(words + 1, np.int64)
    total = np.int64(0)
    for word in range(words):
        before[word] = total
        total += np.int64(popcount(bitmap[word]))
    before[words] = total
    return bitmap, before, inside


@njit(cache=True, nogil=True)
def _group(cell, bitmap, before, shape, coords, order, offsets):  # type: ignore[no-untyped-def]
    nz, ny, nx = shape
    rank = np.empty(cell.size, np.int32)
    for p in range(cell.size):
        c = cell[p]
        if c >= 0:
            below = bitmap[c >> 6] & ((np.uint64(1) << np.uint64(c & 63)) - np.uint64(1))
            r = before[c >> 6] + np.int64(popcount(below))
            rank[p] = r
            if offsets[r + 1] == 0:
                coords[r, 3] = c % nx
                row = c // nx
                coords[r, 2] = row % ny
                row //= ny
                coords[r, 1] = row % nz
                coords[r, 0] = row // nz
            offsets[r + 1] += 1
    cursor = np.empty(coords.shape[0], np.int64)
    for v in range(coords.shape[0]):
        cursor[v] = offsets[v]
        offsets[v + 1] += offsets[v]
    for p in range(cell.size):
        if cell[p] >= 0:
            order[cursor[rank[p]]] = p
            cursor[rank[p]] += 1


def voxelize(
    points: np.ndarray,
    point_batch: np.ndarray,
    *,
    point_range: Sequence[float],
    voxel_size: Sequence[float],
    shape: tuple[int, int, int],
    batch_size: int,
    threads: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See ops.voxelize.voxelize; `shape` = (nz, ny, nx)."""
    low, high, size = (np.array(values, points.dtype) for values in (point_range[:3], point_range[3:], voxel_size))
    cell = np.empty(points.shape[0], np.int64)
    parts = threading.even_parts(points.shape[0], threads, GRAIN)
    threading.run(_cells, parts, threads, points, point_batch, low, high, size, shape, cell)
    bitmap, before, inside = _rank(cell, batch_size * shape[0] * shape[1] * shape[2])
    coords, order = np.empty((before[-1], 4), np.int64), np.empty(inside, np.int64)
    offsets = np.zeros(before[-1] + 1, np.int64)
    _group(cell, bitmap, before, shape, coords, order, offsets)
    return coords, order, offsets
