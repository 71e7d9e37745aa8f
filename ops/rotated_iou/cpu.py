"""Overlap of rotated rectangles for the CPU: the reference's clipping, one pair at a time in float64."""

import numpy as np
from numba import njit

from ops import threads as threading

GRAIN = 64


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
def _paired(start, stop, a, b, area, grad_a, grad_b):  # type: ignore[no-untyped-def]
    scratch = new_scratch()
    for n in range(start, stop):
        area[n] = 0
        for d in range(5):
            grad_a[n, d] = grad_b[n, d] = 0
        reach = (np.hypot(a[n, 2], a[n, 3]) + np.hypot(b[n, 2], b[n, 3])) / 2
        if not np.hypot(a[n, 0] - b[n, 0], a[n, 1] - b[n, 1]) <= reach:
            continue
        area[n], count = overlap(
            a[n, 0], a[n, 1], a[n, 2], a[n, 3], a[n, 4], b[n, 0], b[n, 1], b[n, 2], b[n, 3], b[n, 4], scratch
        )
        for i in range(count):
            # A side that moves outward by d adds d times its length to the area.
            following = i + 1 if i + 1 < count else 0
            x0, y0, x1, y1 = scratch[0, i, 0], scratch[0, i, 1], scratch[0, following, 0], scratch[0, following, 1]
            ca, sa = np.cos(a[n, 4]), np.sin(a[n, 4])
            mx, my = ca * (x0 + x1) / 2 - sa * (y0 + y1) / 2, sa * (x0 + x1) / 2 + ca * (y0 + y1) / 2
            length = np.hypot(x1 - x0, y1 - y0)
            side = int(scratch[0, i, 2])
            grad = grad_a[n] if side >= 4 else grad_b[n]
            if side < 4:
                mx, my = mx + a[n, 0] - b[n, 0], my + a[n, 1] - b[n, 1]
            yaw = (a[n, 4] if side >= 4 else b[n, 4]) + side % 4 * (np.pi / 2)
            nx, ny = np.cos(yaw), np.sin(yaw)
            grad[0] += length * nx
            grad[1] += length * ny
            grad[2 + side % 2] += length / 2
            grad[4] += length * (mx * ny - my * nx)


@njit(cache=True, nogil=True)
def half_diagonals(boxes):  # type: ignore[no-untyped-def]
    """How far each box [N, 7] reaches from its centre, seen from above: [N]."""
    reach = np.empty(boxes.shape[0])
    for n in range(reach.size):
        reach[n] = np.sqrt(boxes[n, 3] * boxes[n, 3] + boxes[n, 4] * boxes[n, 4]) / 2
    return reach


@njit(cache=True, nogil=True)
def box_iou(a, i, b, j, three_d, scratch):  # type: ignore[no-untyped-def]
    """IoU of box a[i] and box b[j] (rows x y z length width height yaw, float64)."""
    part, _ = overlap(a[i, 0], a[i, 1], a[i, 3], a[i, 4], a[i, 6], b[j, 0], b[j, 1], b[j, 3], b[j, 4], b[j, 6], scratch)
    size_a, size_b = a[i, 3] * a[i, 4], b[j, 3] * b[j, 4]
    if three_d:
        top = min(a[i, 2] + a[i, 5] / 2, b[j, 2] + b[j, 5] / 2)
        bottom = max(a[i, 2] - a[i, 5] / 2, b[j, 2] - b[j, 5] / 2)
        part *= max(top - bottom, 0.0)
        size_a *= a[i, 5]
        size_b *= b[j, 5]
    union = size_a + size_b - part
    return part / union if union > 0 else 0.0


@njit(cache=True, nogil=True)
def _matrix(start, stop, a, b, three_d, out):  # type: ignore[no-untyped-def]
    scratch, reach_a, reach_b = new_scratch(), half_diagonals(a), half_diagonals(b)
    for i in range(start, stop):
        for j in range(b.shape[0]):
            dx, dy, far = a[i, 0] - b[j, 0], a[i, 1] - b[j, 1], reach_a[i] + reach_b[j]
            out[i, j] = box_iou(a, i, b, j, three_d, scratch) if dx * dx + dy * dy <= far * far else 0.0


def iou_matrix(a: np.ndarray, b: np.ndarray, *, three_d: bool, threads: int) -> np.ndarray:
    """IoU float64 [N, M] of float64 boxes a [N, 7], b [M, 7]."""
    out = np.empty((a.shape[0], b.shape[0]))
    threading.run(_matrix, threading.even_parts(a.shape[0], threads, GRAIN), threads, a, b, three_d, out)
    return out


def paired_overlap(a: np.ndarray, b: np.ndarray, *, threads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Overlap [N] of float64 rectangles a, b [N, 5] (x y length width yaw) and its gradients [N, 5]."""
    out = np.empty(a.shape[0]), np.empty_like(a), np.empty_like(b)
    threading.run(_paired, threading.even_parts(a.shape[0], threads, GRAIN * 8), threads, a, b, *out)
    return out
