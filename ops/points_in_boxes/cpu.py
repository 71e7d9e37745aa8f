"""Which box holds which point, for the CPU: a coarse grid lists the boxes that can reach each of its cells."""

import numpy as np
from numba import njit

from ops import threads as threading

GRAIN = 16384
CELLS = 128  # along each axis, at most
SMALLEST_CELL = 2.0  # metres


@njit(cache=True, nogil=True)
def _list_boxes(boxes, box_batch, reach, low_x, low_y, cell, width, members, offsets):  # type: ignore[no-untyped-def]
    """Ragged lists: cell c (frame-major, `width` squared a frame) names members[offsets[c]:offsets[c + 1]], rising.

    Called twice: with no room in `members` it counts into offsets[c + 1], then it fills.
    """
    cursor = offsets.copy()
    for n in range(boxes.shape[0]):
        if not np.isfinite(reach[n]):
            continue
        x0 = int((boxes[n, 0] - reach[n] - low_x) / cell)
        x1 = min(int((boxes[n, 0] + reach[n] - low_x) / cell), width - 1)
        y0 = int((boxes[n, 1] - reach[n] - low_y) / cell)
        y1 = min(int((boxes[n, 1] + reach[n] - low_y) / cell), width - 1)
        for y in range(max(y0, 0), y1 + 1):
            for x in range(max(x0, 0), x1 + 1):
                c = (box_batch[n] * width + y) * width + x
                if members.size:
                    members[cursor[c]] = n
                    cursor[c] += 1
                else:
                    offsets[c + 1] += 1


@njit(cache=True, nogil=True)
def _look_up(  # type: ignore[no-untyped-def]
    start, stop, points, point_batch, boxes, turn, low_x, low_y, cell, width, members, offsets, parts, first, counts
):
    batches = (offsets.size - 1) // (width * width)
    mine = np.zeros(counts.shape[1], np.int64)
    for p in range(start, stop):
        first[p] = -1
        gx, gy, frame = (points[p, 0] - low_x) / cell, (points[p, 1] - low_y) / cell, point_batch[p]
        if not ((gx >= 0) & (gx < width) & (gy >= 0) & (gy < width) & (frame >= 0) & (frame < batches)):
            continue
        c = (frame * width + int(gy)) * width + int(gx)
        for m in range(offsets[c], offsets[c + 1]):
            n = members[m]
            dx, dy, dz = points[p, 0] - boxes[n, 0], points[p, 1] - boxes[n, 1], points[p, 2] - boxes[n, 2]
            if (
                abs(turn[n, 0] * dx + turn[n, 1] * dy) <= boxes[n, 3] / 2
                and abs(turn[n, 0] * dy - turn[n, 1] * dx) <= boxes[n, 4] / 2
                and abs(dz) <= boxes[n, 5] / 2
            ):
                mine[n] += 1
                if first[p] < 0:
                    first[p] = n
    part = 0
    while parts[part] != start:
        part += 1
    for n in range(mine.size):
        counts[part, n] = mine[n]


def points_in_boxes(
    points: np.ndarray, point_batch: np.ndarray, boxes: np.ndarray, box_batch: np.ndarray, *, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """See ops.points_in_boxes.points_in_boxes; box_batch >= 0, one float dtype."""
    boxes = np.ascontiguousarray(boxes[:, :7])
    # A little more than half the diagonal, so that no rounding puts a corner outside its cells.
    reach = np.hypot(boxes[:, 3], boxes[:, 4]).astype(np.float64) * 0.50001 + 1e-3
    reach[~np.isfinite(boxes).all(1)] = np.nan
    usable = boxes[np.isfinite(reach)].astype(np.float64)
    first, parts = np.full(points.shape[0], -1), threading.even_parts(points.shape[0], threads, GRAIN)
    counts = np.zeros((parts.size, boxes.shape[0]), np.int64)
    if usable.size == 0:
        return first, counts.sum(0)
    margin = float(np.nanmax(reach))
    low_x, low_y = usable[:, 0].min() - margin, usable[:, 1].min() - margin
    extent = max(np.ptp(usable[:, 0]), np.ptp(usable[:, 1])) + 2 * margin
    cell = max(extent / CELLS * (1 + 1e-9), SMALLEST_CELL)
    width = int(extent / cell) + 1
    offsets = np.zeros((int(box_batch.max()) + 1) * width * width + 1, np.int64)
    grid = (boxes, box_batch, reach, low_x, low_y, cell, width)
    _list_boxes(*grid, np.empty(0, np.int64), offsets)
    np.cumsum(offsets, out=offsets)
    members = np.empty(max(int(offsets[-1]), 1), np.int64)
    _list_boxes(*grid, members, offsets)
    turn = np.stack([np.cos(boxes[:, 6]), np.sin(boxes[:, 6])], 1)
    lists = (low_x, low_y, cell, width, members, offsets)
    threading.run(_look_up, parts, threads, points, point_batch, boxes, turn, *lists, parts, first, counts)
    return first, counts.sum(0)
