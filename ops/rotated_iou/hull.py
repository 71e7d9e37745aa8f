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
def row_giou(a, reach_a, i, b, reach_b, j, x, y):  # type: ignore[no-untyped-def]
    """GIoU of row i of `a` and row j of `b`, both from `prepare` in 3D; x and y [8] are room for the corners."""
    if reach_a[i] < 0 or reach_b[j] < 0:
        return -1.0
    gx, gy = b[j, 0] - a[i, 0], b[j, 1] - a[i, 1]
    far = reach_a[i] + reach_b[j]
    iou = row_iou(a, i, b, j, True) if gx * gx + gy * gy <= far * far else 0.0
    cx, cy = a[i, 2] * gx + a[i, 3] * gy, a[i, 2] * gy - a[i, 3] * gx
    c, s = a[i, 2] * b[j, 2] + a[i, 3] * b[j, 3], a[i, 2] * b[j, 3] - a[i, 3] * b[j, 2]
    for k in range(4):
        u, v = 1.0 if k < 2 else -1.0, 1.0 if k == 1 or k == 2 else -1.0
        x[k], y[k] = u * a[i, 4], v * a[i, 5]
        x[4 + k], y[4 + k] = cx + u * b[j, 4] * c - v * b[j, 5] * s, cy + u * b[j, 4] * s + v * b[j, 5] * c
    whole = _hull_area(x, y) * (max(a[i, 7], b[j, 7]) - min(a[i, 6], b[j, 6]))
    part = iou * (a[i, 8] + b[j, 8]) / (1.0 + iou)
    return iou - (whole - (a[i, 8] + b[j, 8] - part)) / whole


@njit(cache=True, nogil=True)
def _pairs(start, stop, a, reach_a, b, reach_b, out):  # type: ignore[no-untyped-def]
    x, y = np.empty(8), np.empty(8)
    for n in range(start, stop):
        out[n] = row_giou(a, reach_a, n, b, reach_b, n, x, y)


def convex_giou(a: np.ndarray, b: np.ndarray, out: np.ndarray, *, threads: int) -> None:
    """GIoU of boxes a, b [N, >=7] pair by pair into out [N]; -1 for a box that overlaps nothing."""
    rows_a, rows_b = prepare(a, True), prepare(b, True)
    threading.run(_pairs, threading.even_parts(a.shape[0], threads, GRAIN), threads, *rows_a, *rows_b, out)
