"""Centre targets for the CPU: a box looks only at the cells around it, through a bitmap of the occupied ones.

Floor of row 5 (3 x 468 x 468 float32, 200 boxes): 2.6 MB are set to zero, 0.1 ms at 25 GB/s; the Gaussians' 16,000
cells take 0.02 ms. Sparse targets: 200 boxes x 2401 cells 0.5 M tests of a bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit

from ops.intrinsics import popcount

ONE, SIX, LOW = np.uint64(1), np.uint64(6), np.uint64(63)
ALL = ~np.uint64(0)
LEAST_HEAT = np.float32(0.01)
CUT = np.float32(4.7)  # scales beyond the nearest voxel at which heat is below 0.01 for certain: exp(-4.7) = 0.0091
HALF, ZERO = np.float32(0.5), np.float32(0)


@njit(cache=True, nogil=True)
def _index(coords, ny, nx, frames):  # type: ignore[no-untyped-def]
    """(whether all cells lie inside, bitmap of occupied cells, cells before each word, row of each in cell order)."""
    words = frames * ny * nx // 64 + 1
    bitmap, before, rows = np.zeros(words, np.uint64), np.empty(words, np.int64), np.empty(coords.shape[0], np.int64)
    inside = True
    for v in range(coords.shape[0]):
        b, y, x = coords[v, 0], coords[v, 2], coords[v, 3]
        inside &= (b >= 0) & (b < frames) & (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
        if inside:
            k = np.uint64((b * ny + y) * nx + x)
            bitmap[k >> SIX] |= ONE << (k & LOW)
    total = np.int64(0)
    for w in range(words):
        before[w] = total
        total += np.int64(popcount(bitmap[w]))
    if inside:
        for v in range(coords.shape[0]):
            k = np.uint64((coords[v, 0] * ny + coords[v, 2]) * nx + coords[v, 3])
            rows[np.uint64(before[k >> SIX]) + popcount(bitmap[k >> SIX] & ((ONE << (k & LOW)) - ONE))] = v
    return inside, bitmap, before, rows


@njit(cache=True, nogil=True)
def _row(k, bitmap, before, rows):  # type: ignore[no-untyped-def]
    """Row of an occupied cell."""
    return rows[np.uint64(before[k >> SIX]) + popcount(bitmap[k >> SIX] & ((ONE << (k & LOW)) - ONE))]


@njit(cache=True, nogil=True)
def _span(place, low, size, reach, n):  # type: ignore[no-untyped-def]
    """First and last cell + 1 within reach of a coordinate, cut to the grid; nothing of a number that is not finite."""
    at = math.floor((place - low) / size)
    if not (at >= -1e9 and at <= 1e9):
        return np.int64(0), np.int64(0)
    middle = np.int64(at)
    return max(middle - reach, 0), min(middle + reach + 1, n)


@njit(cache=True, nogil=True)
def _centres(boxes, box_batch, labels, scales, origin, cell, reach, ny, nx, index, above, heat):  # type: ignore[no-untyped-def]
    """Writes heat; returns (rows, boxes, number of boxes with a voxel)."""
    bitmap, before, rows = index
    room = 256
    row_of, box_of, value_of = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.float32)
    pairs = objects = 0
    for n in range(boxes.shape[0]):
        x0, x1 = _span(boxes[n, 0], origin[0], cell[0], reach, nx)
        y0, y1 = _span(boxes[n, 1], origin[1], cell[1], reach, ny)
        scale, first = scales[labels[n]], pairs
        nearest = np.float32(np.inf)
        if x1 <= x0:
            continue
        reached = CUT * scale
        for y in range(y0, y1):
            off_y = (np.float32(y) + HALF) * cell[1] + origin[1] - boxes[n, 1]
            line = (box_batch[n] * ny + y) * nx
            first_word, last_word = (line + x0) >> 6, (line + x1 - 1) >> 6
            for w in range(first_word, last_word + 1):
                bits = bitmap[w]
                if w == first_word:
                    bits &= ALL << np.uint64((line + x0) & 63)
                if w == last_word:
                    bits &= ALL >> np.uint64(63 - ((line + x1 - 1) & 63))
                while bits != 0:
                    k = 64 * w + np.int64(popcount((bits & (~bits + ONE)) - ONE))
                    bits &= bits - ONE
                    off_x = (np.float32(k - line) + HALF) * cell[0] + origin[0] - boxes[n, 0]
                    # In float64: the root of a sum of two float32 squares, rounded once.
                    distance = np.float32(math.sqrt(np.float64(off_x) * off_x + np.float64(off_y) * off_y))
                    if distance > nearest + reached:
                        continue
                    nearest = min(nearest, distance)
                    if pairs == room:
                        room *= 2
                        row_of, box_of, value_of = _more(row_of, room), _more(box_of, room), _more(value_of, room)
                    row_of[pairs], value_of[pairs] = k, distance
                    pairs += 1
        objects += pairs > first
        last, pairs = pairs, first
        for i in range(first, last):
            if value_of[i] > nearest + reached:
                continue
            value = np.float32(math.exp(-(value_of[i] - nearest) / scale))
            if value > LEAST_HEAT:
                v, label = _row(np.uint64(row_of[i]), bitmap, before, rows), labels[n]
                row_of[pairs], box_of[pairs], value_of[pairs] = v, n, value
                heat[v, label] = max(heat[v, label], value)
                pairs += 1
    kept = 0
    for i in range(pairs):
        best, v = ZERO, row_of[i]
        for label in range(heat.shape[1]):
            best = max(best, heat[v, label])
        if value_of[i] > above and value_of[i] >= best:
            row_of[kept], box_of[kept] = v, box_of[i]
            kept += 1
    return row_of[:kept].copy(), box_of[:kept].copy(), objects


@njit(cache=True, nogil=True)
def _more(values, room):  # type: ignore[no-untyped-def]
    more = np.empty(room, values.dtype)
    more[: values.size] = values
    return more


@njit(cache=True, nogil=True)
def _foreground(boxes, box_batch, labels, origin, cell, ny, nx, index, target):  # type: ignore[no-untyped-def]
    """Separating axes of the cell's square and the box, both seen from above."""
    bitmap, before, rows = index
    half_x, half_y = cell[0] / np.float32(2), cell[1] / np.float32(2)
    for n in range(boxes.shape[0]):
        half_l, half_w = boxes[n, 3] / np.float32(2), boxes[n, 4] / np.float32(2)
        longest = np.float32(math.hypot(half_l, half_w)) / min(cell[0], cell[1])
        if not (longest < np.inf and abs(boxes[n, 6]) < np.inf):
            continue
        reach = min(np.int64(math.ceil(min(longest, np.float32(max(ny, nx))))) + 1, max(ny, nx))
        cos, sin = np.float32(math.cos(boxes[n, 6])), np.float32(math.sin(boxes[n, 6]))
        c, s = abs(cos), abs(sin)
        x0, x1 = _span(boxes[n, 0], origin[0], cell[0], reach, nx)
        y0, y1 = _span(boxes[n, 1], origin[1], cell[1], reach, ny)
        for j in range(y0, y1):
            y = (np.float32(j) + HALF) * cell[1] + origin[1] - boxes[n, 1]
            for i in range(x0, x1):
                x = (np.float32(i) + HALF) * cell[0] + origin[0] - boxes[n, 0]
                if (
                    abs(x) <= half_x + half_l * c + half_w * s
                    and abs(y) <= half_y + half_l * s + half_w * c
                    and abs(x * cos + y * sin) <= half_l + half_x * c + half_y * s
                    and abs(y * cos - x * sin) <= half_w + half_x * s + half_y * c
                ):
                    k = np.uint64((box_batch[n] * ny + j) * nx + i)
                    if bitmap[k >> SIX] & (ONE << (k & LOW)) != 0:
                        target[_row(k, bitmap, before, rows), labels[n]] = True


def _indexed(coords: np.ndarray, ny: int, nx: int, frames: int, op: str) -> Any:
    inside, *index = _index(coords, ny, nx, frames)
    if not inside:
        raise ValueError(f"{op}: coords must lie inside {frames} frames of {ny} x {nx} cells")
    return tuple(index)


def centre_targets(
    coords: np.ndarray,
    boxes: np.ndarray,
    box_batch: np.ndarray,
    labels: np.ndarray,
    scales: np.ndarray,
    *,
    origin: Sequence[float],
    cell: Sequence[float],
    grid: Sequence[int],
    frames: int,
    reach: int,
    above: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """(heat [T, K], rows [M], boxes [M], boxes with a voxel)."""
    ny, nx = grid
    heat = np.zeros((len(coords), len(scales)), np.float32)
    index = _indexed(coords, ny, nx, frames, "centre_targets")
    low, size = np.array(origin, np.float32), np.array(cell, np.float32)
    given = boxes, box_batch, labels, scales, low, size, reach, ny, nx, index, np.float32(above)
    return (heat, *_centres(*given, heat))


def foreground_targets(
    coords: np.ndarray,
    boxes: np.ndarray,
    box_batch: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    origin: Sequence[float],
    cell: Sequence[float],
    grid: Sequence[int],
    frames: int,
) -> np.ndarray:
    """bool [T, K]."""
    ny, nx = grid
    target = np.zeros((len(coords), num_classes), np.bool_)
    index = _indexed(coords, ny, nx, frames, "foreground_targets")
    low, size = np.array(origin, np.float32), np.array(cell, np.float32)
    _foreground(boxes, box_batch, labels, low, size, ny, nx, index, target)
    return target


@njit(cache=True, nogil=True)
def _radius(length, width, overlap):  # type: ignore[no-untyped-def]
    """Largest shift of a box's corners that keeps the overlap (reference.gaussian_radius)."""
    total = length + width
    first = (total + math.sqrt(total * total - 4 * length * width * (1 - overlap) / (1 + overlap))) / 2
    second = (2 * total + math.sqrt(4 * total * total - 16 * (1 - overlap) * length * width)) / 2
    b, c = -2 * overlap * total, (overlap - 1) * length * width
    third = (b + math.sqrt(b * b - 16 * overlap * c)) / 2
    return min(first, second, third)


@njit(cache=True, nogil=True)
def gaussian_heat(boxes, box_batch, labels, x_low, y_low, dx, dy, overlap, least_radius, heat):  # type: ignore[no-untyped-def]
    """Maximum of the boxes' Gaussians into heat [B, K, ny, nx]; a Gaussian is the product of two along the axes.

    Returns whether every frame and label lies inside; where one does not, nothing is written.
    """
    frames, classes, ny, nx = heat.shape
    for n in range(boxes.shape[0]):
        if not (0 <= box_batch[n] < frames and 0 <= labels[n] < classes):
            return False
    along = np.empty(max(ny, nx) + 1)
    for n in range(boxes.shape[0]):
        at_x, at_y = (np.float64(boxes[n, 0]) - x_low) / dx, (np.float64(boxes[n, 1]) - y_low) / dy
        length, width = np.float64(boxes[n, 3]) / dx, np.float64(boxes[n, 4]) / dy
        if not (length > 0 and width > 0 and length < np.inf and width < np.inf):
            continue
        if not (at_x >= 0 and at_x < nx and at_y >= 0 and at_y < ny):
            continue
        radius = max(least_radius, np.int64(min(_radius(length, width, overlap), 1e6)))
        i, j, sigma = np.int64(at_x), np.int64(at_y), (2 * radius + 1) / 6
        for d in range(min(radius, max(ny, nx)) + 1):
            along[d] = math.exp(-(d * d) / (2 * sigma * sigma))
        plane = heat[box_batch[n], labels[n]]
        for y in range(max(j - radius, 0), min(j + radius, ny - 1) + 1):
            row, up = plane[y], along[abs(y - j)]
            for x in range(max(i - radius, 0), min(i + radius, nx - 1) + 1):
                value = np.float32(up * along[abs(x - i)])
                row[x] = value if value > row[x] else row[x]
    return True
