"""Which points lie in which boxes, fast enough to be asked for every training sample.

A coarse grid over the boxes lists the candidates of each cell, so a point tests one or two boxes, not all of them.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

CELL_M = 1.0
_MAX_CELLS_PER_AXIS = 512


@numba.njit(cache=True, nogil=True)
def _cell(value, low, cells_a_metre, count):  # type: ignore[no-untyped-def]
    # Not decreasing in `value`, and the same for boxes and points: rounding cannot part a point from its box.
    return min(max(int((value - low) * cells_a_metre), 0), count - 1)


@numba.njit(cache=True, nogil=True)
def _visit(points, boxes, margin, owner, counts):  # type: ignore[no-untyped-def]
    n = boxes.shape[0]
    radius = np.empty(n)
    x_low, y_low, x_high, y_high = np.inf, np.inf, -np.inf, -np.inf
    for b in range(n):
        radius[b] = 0.5 * np.hypot(boxes[b, 3] + 2 * margin, boxes[b, 4] + 2 * margin)
        x_low, x_high = min(x_low, boxes[b, 0] - radius[b]), max(x_high, boxes[b, 0] + radius[b])
        y_low, y_high = min(y_low, boxes[b, 1] - radius[b]), max(y_high, boxes[b, 1] + radius[b])
    nx = min(int((x_high - x_low) / CELL_M) + 1, _MAX_CELLS_PER_AXIS)
    ny = min(int((y_high - y_low) / CELL_M) + 1, _MAX_CELLS_PER_AXIS)
    dx, dy = 1.0 / max((x_high - x_low) / nx, 1e-6), 1.0 / max((y_high - y_low) / ny, 1e-6)

    first, last = np.empty((n, 2), np.int64), np.empty((n, 2), np.int64)  # cells that each box may touch
    starts = np.zeros(nx * ny + 1, np.int64)  # candidates of each cell: count, prefix sum, fill
    for b in range(n):
        x, y, r = boxes[b, 0], boxes[b, 1], radius[b]
        first[b, 0], last[b, 0] = _cell(x - r, x_low, dx, nx), _cell(x + r, x_low, dx, nx)
        first[b, 1], last[b, 1] = _cell(y - r, y_low, dy, ny), _cell(y + r, y_low, dy, ny)
        for i in range(first[b, 0], last[b, 0] + 1):
            for j in range(first[b, 1], last[b, 1] + 1):
                starts[i * ny + j + 1] += 1
    for c in range(nx * ny):
        starts[c + 1] += starts[c]
    filled = starts[:-1].copy()
    candidates = np.empty(starts[-1], np.int64)
    for b in range(n):
        for i in range(first[b, 0], last[b, 0] + 1):
            for j in range(first[b, 1], last[b, 1] + 1):
                candidates[filled[i * ny + j]] = b
                filled[i * ny + j] += 1

    # One row a box: centre, cosine and sine of yaw, half sizes.
    tests = np.empty((n, 8))
    for b in range(n):
        tests[b, 0], tests[b, 1], tests[b, 2] = boxes[b, 0], boxes[b, 1], boxes[b, 2]
        tests[b, 3], tests[b, 4] = np.cos(boxes[b, 6]), np.sin(boxes[b, 6])
        for k in range(3):
            tests[b, 5 + k] = 0.5 * boxes[b, 3 + k] + margin
    for p in range(points.shape[0]):
        x, y, z = np.float64(points[p, 0]), np.float64(points[p, 1]), np.float64(points[p, 2])
        if (x < x_low) | (x > x_high) | (y < y_low) | (y > y_high):
            continue
        # Unsigned: no test for indices below 0.
        cell = np.uint64(_cell(x, x_low, dx, nx) * ny + _cell(y, y_low, dy, ny))
        for k in range(np.uint64(starts[cell]), np.uint64(starts[cell + np.uint64(1)])):
            box = np.uint64(candidates[k])
            ox, oy = x - tests[box, 0], y - tests[box, 1]
            along = tests[box, 3] * ox + tests[box, 4] * oy
            across = tests[box, 3] * oy - tests[box, 4] * ox
            high = abs(z - tests[box, 2]) <= tests[box, 7]
            if high & (abs(along) <= tests[box, 5]) & (abs(across) <= tests[box, 6]):
                counts[box] += 1
                if owner[p] < 0:
                    owner[p] = candidates[k]


def points_in_boxes(
    points: npt.NDArray[np.float32], boxes: np.ndarray, margin_m: float = 0.0
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First box of each point, and the number of points in each box (faces count, boxes may overlap).

    Args:
        points: float32 [P, >=3], the boxes' own frame.
        boxes: [N, >=7] x y z length width height yaw.
        margin_m: Every face is moved outwards by this.

    Returns:
        int64 [P], the lowest index of a box that holds the point or -1; int64 [N], counts.
    """
    owner = np.full(len(points), -1, np.int64)
    counts = np.zeros(len(boxes), np.int64)
    if len(points) and len(boxes):
        view = points.view()
        view.flags.writeable = False
        _visit(view, np.ascontiguousarray(boxes[:, :7], dtype=np.float64), float(margin_m), owner, counts)
    return owner, counts
