"""Which box holds which point, for the CPU: a coarse grid lists the boxes that can reach each of its cells.

Float64 inside whatever the points' dtype. Floor: reading the points (16 B) and writing 8 B each, 0.2 ms of 170,000.
"""

import numpy as np
from numba import njit

from ops import threads as threading

GRAIN = 16384
CELL = 1.0  # metres
MOST_CELLS = 512  # along each axis


@njit(cache=True, nogil=True)
def _cell(value, low, cells_a_metre, count):  # type: ignore[no-untyped-def]
    # Not decreasing in `value`, and the same for boxes and points: rounding cannot part a point from its box.
    return min(max(int((value - low) * cells_a_metre), 0), count - 1)


@njit(cache=True, nogil=True)
def _grid(boxes, box_batch, frames, margin):  # type: ignore[no-untyped-def]
    """(tests [N, 8], extent [6], cells [2], starts, candidates): cell c of frame f names boxes
    candidates[starts[k]:starts[k + 1]], k = (f * nx + i) * ny + j, rising; extent: x low high, y low high, cells a
    metre in x and y."""
    N = boxes.shape[0]
    tests, radius = np.empty((N, 8)), np.empty(N)  # a test: centre, cosine and sine of yaw, half sizes
    x_low, y_low, x_high, y_high = np.inf, np.inf, -np.inf, -np.inf
    for n in range(N):
        tests[n, 0], tests[n, 1], tests[n, 2] = boxes[n, 0], boxes[n, 1], boxes[n, 2]
        tests[n, 3], tests[n, 4] = np.cos(np.float64(boxes[n, 6])), np.sin(np.float64(boxes[n, 6]))
        finite = True
        for k in range(7):
            finite &= np.isfinite(boxes[n, k])
        for k in range(3):
            tests[n, 5 + k] = 0.5 * boxes[n, 3 + k] + margin
        radius[n] = np.hypot(tests[n, 5], tests[n, 6]) if finite else np.nan
        if finite:
            x_low, x_high = min(x_low, tests[n, 0] - radius[n]), max(x_high, tests[n, 0] + radius[n])
            y_low, y_high = min(y_low, tests[n, 1] - radius[n]), max(y_high, tests[n, 1] + radius[n])
    extent, cells = np.array([x_low, x_high, y_low, y_high, 0.0, 0.0]), np.ones(2, np.int64)
    if not (np.isfinite(x_low) and np.isfinite(y_low) and np.isfinite(x_high) and np.isfinite(y_high)):
        return tests, extent, cells, np.zeros(frames + 1, np.int64), np.empty(0, np.int64)
    cells[0] = int(min((x_high - x_low) / CELL + 1, float(MOST_CELLS)))
    cells[1] = int(min((y_high - y_low) / CELL + 1, float(MOST_CELLS)))
    first, last = np.empty((N, 2), np.int64), np.empty((N, 2), np.int64)
    while True:  # coarser while huge boxes would be listed in too many cells, or many frames need too many
        extent[4] = 1.0 / max((x_high - x_low) / cells[0], 1e-6)
        extent[5] = 1.0 / max((y_high - y_low) / cells[1], 1e-6)
        entries = 0
        for n in range(N):
            if radius[n] == radius[n]:
                for k in range(2):
                    low = extent[2 * k]
                    first[n, k] = _cell(tests[n, k] - radius[n], low, extent[4 + k], cells[k])
                    last[n, k] = _cell(tests[n, k] + radius[n], low, extent[4 + k], cells[k])
                entries += (last[n, 0] - first[n, 0] + 1) * (last[n, 1] - first[n, 1] + 1)
        small = entries <= 128 * N + 65536 and frames * cells[0] * cells[1] <= 4096 * N + 524288
        if small or (cells[0] == 1 and cells[1] == 1):
            break
        cells[0], cells[1] = max(cells[0] // 2, 1), max(cells[1] // 2, 1)
    nx, ny = cells[0], cells[1]
    starts = np.zeros(frames * nx * ny + 1, np.int64)  # count, prefix sum, fill
    candidates = np.empty(entries, np.int64)
    for fill in range(2):
        for n in range(N):
            if radius[n] == radius[n]:
                for i in range(first[n, 0], last[n, 0] + 1):
                    for j in range(first[n, 1], last[n, 1] + 1):
                        k = (box_batch[n] * nx + i) * ny + j
                        if fill:
                            candidates[starts[k]] = n
                            starts[k] += 1
                        else:
                            starts[k] += 1
        if fill == 0:
            total = 0
            for k in range(starts.size):
                total, starts[k] = total + starts[k], total
    for k in range(starts.size - 1, 0, -1):
        starts[k] = starts[k - 1]
    starts[0] = 0
    return tests, extent, cells, starts, candidates


@njit(cache=True, nogil=True)
def _look_up(start, stop, points, point_batch, frames, grid, parts, owner, counts):  # type: ignore[no-untyped-def]
    """point_batch may be empty: then all points are in frame 0. Part i counts into counts[i]."""
    tests, extent, cells, starts, candidates = grid
    x_low, x_high, y_low, y_high, in_x, in_y = extent[0], extent[1], extent[2], extent[3], extent[4], extent[5]
    nx, ny, one_frame = cells[0], cells[1], point_batch.size == 0
    part = 0
    while parts[part] != start:
        part += 1
    mine = counts[part]
    for p in range(start, stop):
        owner[p] = -1
        x, y, z = np.float64(points[p, 0]), np.float64(points[p, 1]), np.float64(points[p, 2])
        if not ((x >= x_low) & (x <= x_high) & (y >= y_low) & (y <= y_high)):
            continue
        frame = 0 if one_frame else point_batch[p]
        if (frame < 0) | (frame >= frames):
            continue
        # Unsigned: no test for indices below 0.
        cell = np.uint64((frame * nx + _cell(x, x_low, in_x, nx)) * ny + _cell(y, y_low, in_y, ny))
        for k in range(np.uint64(starts[cell]), np.uint64(starts[cell + np.uint64(1)])):
            box = np.uint64(candidates[k])
            ox, oy = x - tests[box, 0], y - tests[box, 1]
            along = tests[box, 3] * ox + tests[box, 4] * oy
            across = tests[box, 3] * oy - tests[box, 4] * ox
            high = abs(z - tests[box, 2]) <= tests[box, 7]
            if high & (abs(along) <= tests[box, 5]) & (abs(across) <= tests[box, 6]):
                mine[box] += 1
                if owner[p] < 0:
                    owner[p] = candidates[k]


def points_in_boxes(
    points: np.ndarray,
    boxes: np.ndarray,
    point_batch: np.ndarray | None = None,
    box_batch: np.ndarray | None = None,
    *,
    margin: float = 0.0,
    threads: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """(first box of each point or -1 [P], points of each box [N]), int64; see ops.points_in_boxes.

    points [P, >=3] and boxes [N, >=7] of any float dtype; frames int64 >= 0; every face moves outwards by `margin`.
    """
    owner = np.empty(points.shape[0], np.int64)
    parts = threading.even_parts(points.shape[0], threads, GRAIN)
    counts = np.zeros((parts.size, boxes.shape[0]), np.int64)
    if points.shape[0] == 0 or boxes.shape[0] == 0:
        owner.fill(-1)
        return owner, counts.sum(0)
    points, boxes = np.ascontiguousarray(points).view(), np.ascontiguousarray(boxes[:, :7], np.float64)
    points.flags.writeable = False  # one compiled variant for arrays of both kinds
    frames = 1
    if point_batch is None or box_batch is None:
        point_batch, box_batch = np.empty(0, np.int64), np.zeros(boxes.shape[0], np.int64)
    else:
        frames = int(box_batch.max()) + 1
        if frames > boxes.shape[0] + 1024:  # far apart frame numbers: count them instead
            names, box_batch = np.unique(box_batch, return_inverse=True)
            place = np.searchsorted(names, point_batch)
            known = names[np.minimum(place, names.size - 1)] == point_batch
            point_batch, frames = np.where(known, place, -1), names.size
    grid = _grid(boxes, box_batch, frames, float(margin))
    threading.run(_look_up, parts, threads, points, point_batch, frames, grid, parts, owner, counts)
    return owner, counts.sum(0)
