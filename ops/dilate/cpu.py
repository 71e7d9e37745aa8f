"""Dilation of sparse cells for the CPU: dense maps of rows and of counts, scanned in cell order."""

import numpy as np
from numba import njit

from ops import threads as threading

GRAIN = 4096.0  # rows gathered, worth a thread
CHANNELS = 16  # worth a thread in the backward pass


@njit(cache=True, nogil=True)
def _mark(coords, keep, reach, row_at, found):  # type: ignore[no-untyped-def]
    """Writes the input row at every cell, and counts the chosen cells within reach of every cell; returns (D, E)."""
    _, ny, nx = found.shape
    marked = pairs = 0
    for v in range(coords.shape[0]):
        b, y, x = coords[v, 0], coords[v, 2], coords[v, 3]
        row_at[b, y, x] = v
        if keep[v]:
            for yy in range(max(y - reach, 0), min(y + reach, ny - 1) + 1):
                for xx in range(max(x - reach, 0), min(x + reach, nx - 1) + 1):
                    marked += found[b, yy, xx] == 0
                    pairs += 1
                    found[b, yy, xx] += 1
    return marked, pairs


@njit(cache=True, nogil=True)
def _list(keep, reach, row_at, found, cells, source, neighbours, offsets):  # type: ignore[no-untyped-def]
    """Lists the marked cells in order, then hands each chosen cell to all within reach. `found` becomes a cursor."""
    batches, ny, nx = found.shape
    d = total = 0
    for b in range(batches):
        for y in range(ny):
            for x in range(nx):
                if found[b, y, x] > 0:
                    cells[d, 0], cells[d, 1], cells[d, 2], cells[d, 3] = b, 0, y, x
                    source[d], offsets[d] = row_at[b, y, x], total
                    total += found[b, y, x]
                    found[b, y, x] = offsets[d]
                    d += 1
    offsets[d] = total
    for b in range(batches):
        for y in range(ny):
            for x in range(nx):
                v = row_at[b, y, x]
                if v >= 0 and keep[v]:
                    for yy in range(max(y - reach, 0), min(y + reach, ny - 1) + 1):
                        for xx in range(max(x - reach, 0), min(x + reach, nx - 1) + 1):
                            neighbours[found[b, yy, xx]] = v
                            found[b, yy, xx] += 1


def dilate(
    coords: np.ndarray, keep: np.ndarray, *, kernel: int, ny: int, nx: int, batch_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """See ops.dilate.dilate: (coords [D, 4], source [D], neighbours [E], offsets [D + 1])."""
    reach = kernel // 2
    row_at = np.full((batch_size, ny, nx), -1, np.int32)
    found = np.zeros((batch_size, ny, nx), np.int32)
    D, E = _mark(coords, keep, reach, row_at, found)
    cells, source, offsets = np.empty((D, 4), np.int64), np.empty(D, np.int64), np.empty(D + 1, np.int64)
    neighbours = np.empty(E, np.int64)
    _list(keep, reach, row_at, found, cells, source, neighbours, offsets)
    return cells, source, neighbours, offsets


@njit(cache=True, nogil=True)
def _gather_max(start, stop, values, index, offsets, out, rows):  # type: ignore[no-untyped-def]
    for d in range(start, stop):
        best, where = out[d], rows[d]
        if offsets[d] == offsets[d + 1]:
            for c in range(best.size):
                best[c], where[c] = 0, -1
            continue
        v = index[offsets[d]]
        value = values[v]
        for c in range(best.size):
            best[c], where[c] = value[c], v
        for e in range(offsets[d] + 1, offsets[d + 1]):
            v = index[e]
            value = values[v]
            for c in range(best.size):
                x, old = value[c], best[c]
                better = (x > old) | ((x != x) & (old == old))  # a NaN wins, the first one stays
                best[c] = x if better else old
                where[c] = v if better else where[c]


@njit(cache=True, nogil=True)
def _gather_max_backward(start, stop, grad, rows, out):  # type: ignore[no-untyped-def]
    """Channels start..stop: cells share rows, so threads split channels and add in cell order."""
    for d in range(rows.shape[0]):
        for c in range(start, stop):
            if rows[d, c] >= 0:
                out[rows[d, c], c] += grad[d, c]


def gather_max(
    values: np.ndarray, index: np.ndarray, offsets: np.ndarray, *, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Float32 values [V, C] -> (maximum [D, C], its row int64 [D, C], -1 where empty)."""
    size = (offsets.size - 1, values.shape[1])
    out, rows = np.empty(size, np.float32), np.empty(size, np.int64)
    parts = threading.balanced_parts(offsets, threads, GRAIN)
    threading.run(_gather_max, parts, threads, values, index, offsets, out, rows)
    return out, rows


def gather_max_backward(grad: np.ndarray, rows: np.ndarray, *, num_rows: int, threads: int) -> np.ndarray:
    """Gradient of values, float32 [num_rows, C]."""
    out = np.zeros((num_rows, grad.shape[1]), np.float32)
    parts = threading.even_parts(grad.shape[1], threads, CHANNELS)
    threading.run(_gather_max_backward, parts, threads, grad, rows, out)
    return out
