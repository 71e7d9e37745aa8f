"""Reductions over consecutive rows for the CPU: segments are split over threads, rows stream through once."""

import numpy as np
from numba import njit

from ops import threads as threading

GRAIN = 4096.0  # rows worth a thread


@njit(cache=True, nogil=True)
def _sum(start, stop, values, offsets, mean, out):  # type: ignore[no-untyped-def]
    for v in range(start, stop):
        row, n = out[v], offsets[v + 1] - offsets[v]
        for c in range(row.size):
            row[c] = 0
        for p in range(offsets[v], offsets[v + 1]):
            value = values[p]
            for c in range(row.size):
                row[c] += value[c]
        if mean and n > 1:
            for c in range(row.size):
                row[c] /= np.float32(n)


@njit(cache=True, nogil=True)
def _max(start, stop, values, offsets, out, argmax):  # type: ignore[no-untyped-def]
    for v in range(start, stop):
        row, where = out[v], argmax[v]
        if offsets[v] == offsets[v + 1]:
            for c in range(row.size):
                row[c], where[c] = 0, -1
            continue
        value = values[offsets[v]]
        for c in range(row.size):
            row[c], where[c] = value[c], offsets[v]
        for p in range(offsets[v] + 1, offsets[v + 1]):
            value = values[p]
            for c in range(row.size):
                x, best = value[c], row[c]
                better = (x > best) | ((x != x) & (best == best))  # a NaN wins, the first one stays
                row[c] = x if better else best
                where[c] = p if better else where[c]


@njit(cache=True, nogil=True)
def _spread(start, stop, grad, offsets, mean, out):  # type: ignore[no-untyped-def]
    for v in range(start, stop):
        row, n = grad[v], offsets[v + 1] - offsets[v]
        for p in range(offsets[v], offsets[v + 1]):
            target = out[p]
            if mean:
                for c in range(row.size):
                    target[c] = row[c] / np.float32(n)
            else:
                for c in range(row.size):
                    target[c] = row[c]


@njit(cache=True, nogil=True)
def _spread_max(start, stop, grad, offsets, argmax, out):  # type: ignore[no-untyped-def]
    for v in range(start, stop):
        row, where = grad[v], argmax[v]
        for p in range(offsets[v], offsets[v + 1]):
            target = out[p]
            for c in range(row.size):
                target[c] = row[c] if where[c] == p else np.float32(0)


def reduce(values: np.ndarray, offsets: np.ndarray, *, how: str, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Float32 rows [P, C] -> (segments [V, C], row of the maximum int64 [V, C] or [0, 0])."""
    out = np.empty((offsets.size - 1, values.shape[1]), np.float32)
    parts = threading.balanced_parts(offsets, threads, GRAIN)
    if how == "max":
        argmax = np.empty(out.shape, np.int64)
        threading.run(_max, parts, threads, values, offsets, out, argmax)
        return out, argmax
    threading.run(_sum, parts, threads, values, offsets, how == "mean", out)
    return out, np.empty((0, 0), np.int64)


def spread(
    grad: np.ndarray, offsets: np.ndarray, argmax: np.ndarray, *, num_rows: int, how: str, threads: int
) -> np.ndarray:
    """Float32 segments [V, C] -> rows [num_rows, C]: the gradient of `reduce`."""
    out = np.empty((num_rows, grad.shape[1]), np.float32)
    parts = threading.balanced_parts(offsets, threads, GRAIN)
    if how == "max":
        threading.run(_spread_max, parts, threads, grad, offsets, argmax, out)
    else:
        threading.run(_spread, parts, threads, grad, offsets, how == "mean", out)
    return out
