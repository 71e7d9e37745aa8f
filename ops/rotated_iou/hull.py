"""Generalised IoU with the convex hull of two rectangles, pair by pair (compiled, no torch)."""

import numpy as np
from numba import njit

from ops import threads as threading
from ops.rotated_iou.cpu import prepare, row_iou

GRAIN = 256


@njit(cache=True, nogil=True)
def _hull_area(x, y):  # type: ignore[no-untyped-def]
    """Area of the convex hull of 8 points, by wrapping from the leftmost one."""
    start = 0
    for k in range(1, 8):
        if x[k] < x[start] or (x[k] == x[start] and y[k] < y[start]):
            start = k
    here, area = start, 0.0
    for _ in range(8):
        following = 1 if here == 0 else 0
        for k in range(8):
            ax, ay = x[following] - x[here], y[following] - y[here]
            bx, by = x[k] - x[here], y[k] - y[here]
            turn = ax * by - ay * bx
            if turn < 0 or (turn == 0 and bx * bx + by * by > ax * ax + ay * ay):
                following = k
        area += (x[here] - x[start]) * (y[following] - y[start]) - (x[following] - x[start]) * (y[here] - y[start])
        here = following
        if here == start:
            break
    return area / 2


@njit(cache=True, nogil=True)
def _pairs(start, stop, a, reach_a, b, reach_b, out):  # type: ignore[no-untyped-def]
    x, y = np.empty(8), np.empty(8)
    for n in range(start, stop):
        out[n] = -1.0
        if reach_a[n] < 0 or reach_b[n] < 0:
            continue
        gx, gy = b[n, 0] - a[n, 0], b[n, 1] - a[n, 1]
        far = reach_a[n] + reach_b[n]
        iou = row_iou(a, n, b, n, True) if gx * gx + gy * gy <= far * far else 0.0
        cx, cy = a[n, 2] * gx + a[n, 3] * gy, a[n, 2] * gy - a[n, 3] * gx
        c, s = a[n, 2] * b[n, 2] + a[n, 3] * b[n, 3], a[n, 2] * b[n, 3] - a[n, 3] * b[n, 2]
        for k in range(4):
            u, v = 1.0 if k < 2 else -1.0, 1.0 if k == 1 or k == 2 else -1.0
            x[k], y[k] = u * a[n, 4], v * a[n, 5]
            x[4 + k], y[4 + k] = cx + u * b[n, 4] * c - v * b[n, 5] * s, cy + u * b[n, 4] * s + v * b[n, 5] * c
        whole = _hull_area(x, y) * (max(a[n, 7], b[n, 7]) - min(a[n, 6], b[n, 6]))
        part = iou * (a[n, 8] + b[n, 8]) / (1.0 + iou)
        out[n] = iou - (whole - (a[n, 8] + b[n, 8] - part)) / whole


def convex_giou(a: np.ndarray, b: np.ndarray, out: np.ndarray, *, threads: int) -> None:
    """GIoU of boxes a, b [N, >=7] pair by pair into out [N]; -1 for a box that overlaps nothing."""
    rows_a, rows_b = prepare(a, True), prepare(b, True)
    threading.run(_pairs, threading.even_parts(a.shape[0], threads, GRAIN), threads, *rows_a, *rows_b, out)
