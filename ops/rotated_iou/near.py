"""Which boxes can touch: a grid that wraps around, one for every octave of size (compiled, no torch).

A box lies in the cell of its centre, in the grid of its octave of size; a query looks at the cells within its own reach
and the octave's largest. The grid of an octave is a torus of about as many cells as boxes, so neither a far outlier nor
a huge box costs the others anything: cost is linear in boxes at constant density.
"""

import numpy as np
from numba import njit

OCTAVES = 20
SMALLEST = 1e-3  # metres: everything smaller shares the lowest octave


@njit(cache=True, nogil=True)
def _octave(reach, smallest):  # type: ignore[no-untyped-def]
    level, size = 0, smallest
    while reach > size and level < OCTAVES - 1:
        size *= 2.0
        level += 1
    return level


@njit(cache=True, nogil=True)
def build(x, y, reach):  # type: ignore[no-untyped-def]
    """The grids of boxes at x, y [N] that reach `reach` [N] from there; a negative reach leaves the box out.

    Returns (members int64, starts int64, shape int64 [OCTAVES, 2] (width, first cell), scale float64 [OCTAVES, 2]
    (cells a metre, largest reach), place float64 [members, 3] (x, y, reach in the order of `members`)).
    """
    N = x.size
    largest, count = 0.0, 0
    for n in range(N):
        if reach[n] >= 0:
            largest = max(largest, reach[n])
            count += 1
    smallest = max(largest * 2.0 ** (1 - OCTAVES), SMALLEST)
    level, cell = np.empty(N, np.int64), np.empty(N, np.int64)
    shape, scale = np.zeros((OCTAVES, 2), np.int64), np.zeros((OCTAVES, 2))
    for n in range(N):
        if reach[n] >= 0:
            level[n] = _octave(reach[n], smallest)
            shape[level[n], 0] += 1
            scale[level[n], 1] = max(scale[level[n], 1], reach[n])
    cells = 0
    for k in range(OCTAVES):
        if shape[k, 0] > 0:
            width = 1
            while width * width < shape[k, 0]:
                width *= 2
            shape[k, 0], shape[k, 1] = width, cells
            cells += width * width
            scale[k, 0] = 0.5 / max(scale[k, 1], smallest)
    starts = np.zeros(cells + 1, np.int64)
    for n in range(N):
        if reach[n] >= 0:
            k = level[n]
            mask = shape[k, 0] - 1
            cx, cy = int(np.floor(x[n] * scale[k, 0])) & mask, int(np.floor(y[n] * scale[k, 0])) & mask
            cell[n] = shape[k, 1] + cy * shape[k, 0] + cx
            starts[cell[n] + 1] += 1
    for c in range(cells):
        starts[c + 1] += starts[c]
    cursor = starts[:-1].copy()
    members, place = np.empty(count, np.int64), np.empty((count, 3))
    for n in range(N):
        if reach[n] >= 0:
            at = cursor[cell[n]]
            cursor[cell[n]] += 1
            members[at] = n
            place[at, 0], place[at, 1], place[at, 2] = x[n], y[n], reach[n]
    return members, starts, shape, scale, place


@njit(cache=True, nogil=True)
def _scan(first, last, x, y, reach, members, place, found, count):  # type: ignore[no-untyped-def]
    for at in range(first, last):
        dx, dy, far = place[at, 0] - x, place[at, 1] - y, place[at, 2] + reach
        found[count] = members[at]
        count += dx * dx + dy * dy <= far * far
    return count


@njit(cache=True, nogil=True)
def query(grid, x, y, reach, found):  # type: ignore[no-untyped-def]
    """Write the boxes whose circle meets the circle at (x, y) into `found` [members + 1]; returns how many."""
    members, starts, shape, scale, place = grid
    count = 0
    for k in range(OCTAVES):
        width = shape[k, 0]
        if width == 0:
            continue
        mask, base, far = width - 1, shape[k, 1], reach + scale[k, 1]
        x0, x1 = int(np.floor((x - far) * scale[k, 0])), int(np.floor((x + far) * scale[k, 0]))
        y0, y1 = int(np.floor((y - far) * scale[k, 0])), int(np.floor((y + far) * scale[k, 0]))
        y1 = min(y1, y0 + mask)
        whole_row = x1 - x0 >= mask
        for row in range(y0, y1 + 1):
            start = base + (row & mask) * width
            a, b = x0 & mask, x1 & mask
            if whole_row:
                count = _scan(starts[start], starts[start + width], x, y, reach, members, place, found, count)
            elif a <= b:
                count = _scan(starts[start + a], starts[start + b + 1], x, y, reach, members, place, found, count)
            else:
                count = _scan(starts[start], starts[start + b + 1], x, y, reach, members, place, found, count)
                count = _scan(starts[start + a], starts[start + width], x, y, reach, members, place, found, count)
    return count
