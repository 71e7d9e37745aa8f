"""The pillar encoder for the CPU: a pillar's points pass through both layers while they are in the first cache.

Floor of row 1d (172k points, 10 -> 64): 0.22 GFLOP, 2.2 ms on one thread at 99 GFLOP/s; the bytes (7 MB in, 3.5 MB
out) take 0.4 ms. The two layers 17 -> 64 -> 128 of the detector: 3.2 GFLOP, 32 ms.

The first layer is compiled for its number of inputs, so that a channel's sum runs without a loop; 16 channels share an
instruction. Maxima are exact whatever the order, so threads do not change a bit; sums over pillars (gradients of the
weights) are taken in PARTS fixed parts. Comparisons as fast as these lose a NaN: pillars whose numbers are not finite,
or so large that a sum might overflow, take the slow way (`_careful`).

kernel.c takes the place of the forward passes where it can be compiled and the channels divide by 64: it keeps the sums
of six points and their maxima in registers, which numba's loops load and store for every point.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from ops import native
from ops import threads as threading

SOURCE = Path(__file__).with_name("kernel.c")
WIDTH = 64  # channels that every processor's registers divide

GRAIN = 2048.0  # points worth a thread
PARTS = 32  # of the sums over all pillars
SAFE = np.float32(1e37)
ZERO = np.float32(0)


@cache
def _max_kernel(K: int, keep: bool) -> Any:
    """pillar_max of K inputs; `keep`: also the row of every maximum."""

    @njit(cache=True, nogil=True, fastmath={"contract"})
    def kernel(start, stop, x, offsets, w, bias, own, w_most, b_most, out, where):  # type: ignore[no-untyped-def]
        flat = x.ravel()
        for v in range(start, stop):
            best, b = out[v], bias[v * own]
            if not size(flat, offsets[v] * K, offsets[v + 1] * K) * w_most + b_most < SAFE:
                _careful(x, offsets[v], offsets[v + 1], w, b, best, where[v * keep])
                continue
            for c in range(best.size):
                best[c] = ZERO
                if keep:
                    where[v, c] = np.int32(-1)
            for p in range(offsets[v], offsets[v + 1], 2):
                q = min(p + 1, offsets[v + 1] - 1)  # an odd last point is its own partner
                x0, x1 = x[p], x[q]
                p32, q32 = np.int32(p), np.int32(q)
                for c in range(best.size):
                    a0, a1 = b[c], b[c]
                    for k in range(K):
                        a0 += x0[k] * w[k, c]
                        a1 += x1[k] * w[k, c]
                    a = a1 if a1 > a0 else a0
                    if keep:
                        at = q32 if a1 > a0 else p32
                        where[v, c] = at if a > best[c] else where[v, c]
                    best[c] = a if a > best[c] else best[c]

    return kernel


@njit(cache=True, nogil=True, fastmath={"reassoc"})
def size(flat, first, last):  # type: ignore[no-untyped-def]
    """Sum of sizes, not finite where a number is not; the order of a sum may change, so it is fast."""
    total = ZERO
    for i in range(first, last):
        total += abs(flat[i])
    return total


@njit(cache=True, nogil=True)
def _careful(x, first, last, w, b, best, where):  # type: ignore[no-untyped-def]
    """One pillar's maximum where a NaN or an infinity may turn up: a NaN wins and the first one stays."""
    for c in range(best.size):
        top, at = ZERO, -1
        for p in range(first, last):
            a = b[c]
            for k in range(w.shape[0]):
                a += x[p, k] * w[k, c]
            if a > top or (a != a and top == top):
                top, at = a, p
        best[c] = top
        if where.size:
            where[c] = at


@njit(cache=True, nogil=True)
def _careful_ones(left, x, offsets, w, bias, own, out, where, keep):  # type: ignore[no-untyped-def]
    for v in range(left.size):
        if left[v]:
            _careful(x, offsets[v], offsets[v + 1], w, bias[v * own], out[v], where[v * keep])


def compiled(name: str, *channels: int) -> Any:
    """The C function, or None where numba runs."""
    return None if any(c % WIDTH or c > 1024 for c in channels) else native.kernel(SOURCE, name)


def in_use() -> tuple[str, str]:
    """(kernel, reason) of the forward passes on this machine, for the table of kernels."""
    return native.kernel_in_use(SOURCE)


def pillar_max(
    x: np.ndarray, offsets: np.ndarray, w: np.ndarray, bias: np.ndarray, *, keep: bool, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Float32 rows [P, K] -> (maximum [V, C], its row int32 [V, C] or, without `keep`, [0, 0])."""
    V, (K, C) = offsets.size - 1, w.shape
    out = np.empty((V, C), np.float32)
    where = np.empty((V if keep else 1, C if keep else 0), np.int32)
    own = int(bias.ndim == 2)
    bias = bias if own else bias[None]
    parts = threading.balanced_parts(offsets, threads, GRAIN)
    given = x, offsets, w, bias, own, most(w), most(bias)
    native_layer = compiled("layer", C)
    if native_layer is not None:
        left = np.empty(V, np.uint8)
        sizes = x, offsets, K, w, bias, C, own, *given[5:], SAFE, out, where, keep, left
        threading.run(native_layer, parts, threads, *sizes)
        if left.any():
            _careful_ones(left, *given[:5], out, where, keep)
        return out, where if keep else where[:0]
    threading.run(_max_kernel(K, keep), parts, threads, *given, out, where)
    return out, where if keep else where[:0]


def most(values: np.ndarray) -> np.float32:
    """Largest size; NaN where one is NaN, 0 of nothing."""
    return np.float32(np.maximum(values.max(), -values.min())) if values.size else ZERO


@njit(cache=True, nogil=True)
def _max_backward(start, stop, limits, grad, where, x, wt, own, to_x, d_x, d_wt, d_bias):  # type: ignore[no-untyped-def]
    K = x.shape[1]
    for part in range(start, stop):
        mine = d_wt[part]
        for v in range(limits[part], limits[part + 1]):
            for c in range(wt.shape[0]):
                p, g = where[v, c], grad[v, c]
                if p < 0:
                    if own:
                        d_bias[v, c] = ZERO
                    continue
                row, d_w = x[p], mine[c]
                for k in range(K):
                    d_w[k] += g * row[k]
                if to_x:
                    d_row, w = d_x[p], wt[c]
                    for k in range(K):
                        d_row[k] += g * w[k]
                if own:
                    d_bias[v, c] = g
                else:
                    d_bias[part, c] += g


def pillar_max_backward(
    grad: np.ndarray, where: np.ndarray, x: np.ndarray, w: np.ndarray, *, own: bool, to_x: bool, threads: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of x ([0, K] unless `to_x`), w and the bias."""
    V, C = grad.shape
    limits = np.linspace(0, V, PARTS + 1).astype(np.int64)
    d_x = np.zeros(x.shape if to_x else (0, x.shape[1]), np.float32)
    d_wt = np.zeros((PARTS, C, x.shape[1]), np.float32)
    d_bias = np.empty((V, C), np.float32) if own else np.zeros((PARTS, C), np.float32)
    given = limits, grad, where, x, np.ascontiguousarray(w.T), own, to_x
    parts = threading.even_parts(PARTS, threads, 1)
    threading.run(_max_backward, parts, threads, *given, d_x, d_wt, d_bias)
    return d_x, np.ascontiguousarray(d_wt.sum(0).T), d_bias if own else d_bias.sum(0)
