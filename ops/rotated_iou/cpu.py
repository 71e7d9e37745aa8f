"""Overlap of rotated rectangles for the CPU, float64 inside.

All pairs: neighbours come from a grid (near.py), and the common area of a pair is one integral without branches: in the
frame of A, the sides of B are walked once and the height under each is clamped to A. Floor of 500 x 500: 1 MB written
and 2,500 pairs x 150 operations, 0.1 ms on one thread. Pairs with a gradient are clipped side by side (`overlap`).
"""

import numpy as np
from numba import njit

from ops import threads as threading
from ops.rotated_iou import near

GRAIN = 64
LARGEST = 1e9  # metres or radians: a box with a larger number, or with none, overlaps nothing


@njit(cache=True, nogil=True)
def new_scratch():  # type: ignore[no-untyped-def]
    """Room for one clipping: two polygons [9, 3] (x, y, name of the side that starts there)."""
    return np.empty((2, 9, 3))


@njit(cache=True, nogil=True)
def overlap(ax, ay, al, aw, ayaw, bx, by, bl, bw, byaw, scratch):  # type: ignore[no-untyped-def]
    """(area, corners) of the common part; the polygon stays in scratch[0], in the frame of A.

    Sides 0..3 are B's front, left, back, right, 4..7 those of A.
    """
    ca, sa = np.cos(ayaw), np.sin(ayaw)
    cx, cy = ca * (bx - ax) + sa * (by - ay), ca * (by - ay) - sa * (bx - ax)
    c, s = np.cos(byaw - ayaw), np.sin(byaw - ayaw)
    lx, ly, wx, wy = c * bl / 2, s * bl / 2, -s * bw / 2, c * bw / 2
    now, then = scratch[0], scratch[1]
    now[0, 0], now[0, 1] = cx + lx - wx, cy + ly - wy
    now[1, 0], now[1, 1] = cx + lx + wx, cy + ly + wy
    now[2, 0], now[2, 1] = cx - lx + wx, cy - ly + wy
    now[3, 0], now[3, 1] = cx - lx - wx, cy - ly - wy
    for i in range(4):
        now[i, 2] = i
    count = 4
    for plane in range(4):
        axis = plane % 2
        sign = 1.0 if plane < 2 else -1.0
        half = (al if axis == 0 else aw) / 2
        kept = 0
        for i in range(count):
            following = i + 1 if i + 1 < count else 0
            here, there = half - sign * now[i, axis], half - sign * now[following, axis]
            if here >= 0:
                then[kept, 0], then[kept, 1], then[kept, 2] = now[i, 0], now[i, 1], now[i, 2]
                kept += 1
            if (here >= 0) != (there >= 0):
                t = here / (here - there)
                then[kept, 0] = now[i, 0] + t * (now[following, 0] - now[i, 0])
                then[kept, 1] = now[i, 1] + t * (now[following, 1] - now[i, 1])
                then[kept, 2] = plane + 4 if here >= 0 else now[i, 2]
                kept += 1
        now, then = then, now
        count = kept
    area = 0.0
    for i in range(count):
        following = i + 1 if i + 1 < count else 0
        area += now[i, 0] * now[following, 1] - now[i, 1] * now[following, 0]
    return max(area, 0.0) / 2, count


@njit(cache=True, nogil=True)
def _rectangle(boxes, n):  # type: ignore[no-untyped-def]
    for d in range(5):
        if not abs(boxes[n, d]) <= LARGEST:
            return False
    return boxes[n, 2] > 0 and boxes[n, 3] > 0


@njit(cache=True, nogil=True)
def _paired(start, stop, a, b, area, grad_a, grad_b):  # type: ignore[no-untyped-def]
    scratch = new_scratch()
    for n in range(start, stop):
        area[n] = 0
        for d in range(5):
            grad_a[n, d] = grad_b[n, d] = 0
        reach = (np.hypot(a[n, 2], a[n, 3]) + np.hypot(b[n, 2], b[n, 3])) / 2
        away_x, away_y = a[n, 0] - b[n, 0], a[n, 1] - b[n, 1]
        if not (_rectangle(a, n) and _rectangle(b, n) and away_x * away_x + away_y * away_y <= reach * reach):
            continue
        area[n], count = overlap(
            a[n, 0], a[n, 1], a[n, 2], a[n, 3], a[n, 4], b[n, 0], b[n, 1], b[n, 2], b[n, 3], b[n, 4], scratch
        )
        if area[n] == 0:
            continue
        ca, sa, cb, sb = np.cos(a[n, 4]), np.sin(a[n, 4]), np.cos(b[n, 4]), np.sin(b[n, 4])
        for i in range(count):
            # A side that moves outward by d adds d times its length to the area.
            following = i + 1 if i + 1 < count else 0
            x0, y0, x1, y1 = scratch[0, i, 0], scratch[0, i, 1], scratch[0, following, 0], scratch[0, following, 1]
            mx, my = ca * (x0 + x1) / 2 - sa * (y0 + y1) / 2, sa * (x0 + x1) / 2 + ca * (y0 + y1) / 2
            length = np.sqrt((x1 - x0) * (x1 - x0) + (y1 - y0) * (y1 - y0))
            side = int(scratch[0, i, 2])
            grad = grad_a[n] if side >= 4 else grad_b[n]
            c, s = (ca, sa) if side >= 4 else (cb, sb)
            if side < 4:
                mx, my = mx + away_x, my + away_y
            sign = 1.0 if side % 4 < 2 else -1.0
            nx, ny = (-sign * s, sign * c) if side % 2 else (sign * c, sign * s)
            grad[0] += length * nx
            grad[1] += length * ny
            grad[2 + side % 2] += length / 2
            grad[4] += length * (mx * ny - my * nx)


@njit(cache=True, nogil=True)
def _under(x0, y0, dx, dy, inverse_x, inverse_y, half_l, half_w):  # type: ignore[no-untyped-def]
    """Integral over x in [-half_l, half_l] of the side from (x0, y0) to (x0 + dx, y0 + dy), clamped to +-half_w.

    No difference of large numbers: a nearly parallel side may be cut at a wrong place, where it changes nothing.
    """
    t, u = (-half_l - x0) * inverse_x, (half_l - x0) * inverse_x
    low, high = max(min(t, u), 0.0), min(max(t, u), 1.0)
    high = max(low, high)
    a, b = y0 + low * dy, y0 + high * dy
    a, b = min(max(a, -half_w), half_w), min(max(b, -half_w), half_w)
    t, u = (-half_w - y0) * inverse_y, (half_w - y0) * inverse_y
    leave, enter = max(t, u), min(t, u)
    enter, leave = min(max(enter, low), high), min(max(leave, low), high)
    return dx * ((enter - low) * a + (leave - enter) * (a + b) * 0.5 + (high - leave) * b)


@njit(cache=True, nogil=True)
def common_area(x, y, cos, sin, half_l, half_w, other_l, other_w):  # type: ignore[no-untyped-def]
    """Area of a rectangle at (x, y), direction (cos, sin), half sizes other_l and other_w, within |x| <= half_l and
    |y| <= half_w. Exact up to a few roundings of the perimeter times the width."""
    lx, ly, wx, wy = cos * other_l, sin * other_l, -sin * other_w, cos * other_w
    # Apart along one of the four axes: exactly 0, where the sum below would leave a rounding of either sign.
    if (
        (abs(x) >= half_l + abs(lx) + abs(wx))
        | (abs(y) >= half_w + abs(ly) + abs(wy))
        | (abs(x * cos + y * sin) >= other_l + half_l * abs(cos) + half_w * abs(sin))
        | (abs(y * cos - x * sin) >= other_w + half_l * abs(sin) + half_w * abs(cos))
    ):
        return 0.0
    # A side shorter than 1e-30 along an axis adds nothing: no division by it.
    ilx = -0.5 / lx if abs(lx) > 1e-30 else 0.0
    ily = -0.5 / ly if abs(ly) > 1e-30 else 0.0
    iwx = 0.5 / wx if abs(wx) > 1e-30 else 0.0
    iwy = 0.5 / wy if abs(wy) > 1e-30 else 0.0
    area = -_under(x + lx - wx, y + ly - wy, 2 * wx, 2 * wy, iwx, iwy, half_l, half_w)
    area -= _under(x + lx + wx, y + ly + wy, -2 * lx, -2 * ly, ilx, ily, half_l, half_w)
    area -= _under(x - lx + wx, y - ly + wy, -2 * wx, -2 * wy, -iwx, -iwy, half_l, half_w)
    area -= _under(x - lx - wx, y - ly - wy, 2 * lx, 2 * ly, -ilx, -ily, half_l, half_w)
    return max(area, 0.0)


@njit(cache=True, nogil=True)
def prepare(boxes, three_d):  # type: ignore[no-untyped-def]
    """Rows x y cos sin half_length half_width bottom top size [N, 9] of boxes [N, >=7], and reach [N] (half the
    diagonal from above; -1 for a box that overlaps nothing: no size, not finite or beyond LARGEST)."""
    N = boxes.shape[0]
    rows, reach = np.empty((N, 9)), np.empty(N)
    for n in range(N):
        x, y, z = np.float64(boxes[n, 0]), np.float64(boxes[n, 1]), np.float64(boxes[n, 2])
        length, width, height = np.float64(boxes[n, 3]), np.float64(boxes[n, 4]), np.float64(boxes[n, 5])
        yaw = np.float64(boxes[n, 6])
        good = (abs(x) <= LARGEST) & (abs(y) <= LARGEST) & (abs(yaw) <= LARGEST)
        good &= (length > 0) & (width > 0) & (length <= LARGEST) & (width <= LARGEST)
        if three_d:
            good &= (abs(z) <= LARGEST) & (height > 0) & (height <= LARGEST)
        reach[n] = np.sqrt(length * length + width * width) / 2 if good else -1.0
        rows[n, 0], rows[n, 1], rows[n, 2], rows[n, 3] = x, y, np.cos(yaw), np.sin(yaw)
        rows[n, 4], rows[n, 5], rows[n, 6], rows[n, 7] = length / 2, width / 2, z - height / 2, z + height / 2
        rows[n, 8] = length * width * (height if three_d else 1.0)
    return rows, reach


@njit(cache=True, nogil=True)
def row_iou(a, i, b, j, three_d):  # type: ignore[no-untyped-def]
    """IoU of row i of `a` and row j of `b`, both from `prepare`."""
    dx, dy, ca, sa, cb, sb = b[j, 0] - a[i, 0], b[j, 1] - a[i, 1], a[i, 2], a[i, 3], b[j, 2], b[j, 3]
    height = min(a[i, 7], b[j, 7]) - max(a[i, 6], b[j, 6]) if three_d else 1.0
    if height <= 0:
        return 0.0
    x, y, cos, sin = ca * dx + sa * dy, ca * dy - sa * dx, ca * cb + sa * sb, ca * sb - sa * cb
    part = common_area(x, y, cos, sin, a[i, 4], a[i, 5], b[j, 4], b[j, 5]) * height
    part = min(part, min(a[i, 8], b[j, 8]))
    return part / (a[i, 8] + b[j, 8] - part)


@njit(cache=True, nogil=True)
def _matrix(start, stop, a, reach, b, grid, three_d, out):  # type: ignore[no-untyped-def]
    found = np.empty(b.shape[0] + 1, np.int64)
    for i in range(start, stop):
        out[i, :] = 0
        if reach[i] >= 0:
            for k in range(near.query(grid, a[i, 0], a[i, 1], reach[i], found)):
                out[i, found[k]] = row_iou(a, i, b, found[k], three_d)


@njit(cache=True, nogil=True)
def _grid_of(rows, reach):  # type: ignore[no-untyped-def]
    return near.build(rows[:, 0], rows[:, 1], reach)


def iou_matrix(a: np.ndarray, b: np.ndarray, out: np.ndarray, *, three_d: bool, threads: int) -> None:
    """IoU of boxes a [N, >=7], b [M, >=7] into out [N, M]; any float dtype, float64 inside."""
    rows_a, reach_a = prepare(a, three_d)
    rows_b, reach_b = prepare(b, three_d)
    parts = threading.even_parts(a.shape[0], threads, GRAIN)
    threading.run(_matrix, parts, threads, rows_a, reach_a, rows_b, _grid_of(rows_b, reach_b), three_d, out)


def paired_overlap(a: np.ndarray, b: np.ndarray, *, threads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Overlap [N] of float64 rectangles a, b [N, 5] (x y length width yaw) and its gradients [N, 5]."""
    out = np.empty(a.shape[0]), np.empty_like(a), np.empty_like(b)
    threading.run(_paired, threading.even_parts(a.shape[0], threads, GRAIN * 8), threads, a, b, *out)
    return out
