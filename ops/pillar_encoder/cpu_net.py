"""The two-layer pillar net for the CPU: hidden rows of a pillar stay in a buffer between the layers (see cpu.py)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from ops import threads as threading
from ops.pillar_encoder.cpu import GRAIN, PARTS, SAFE, ZERO, compiled, most, size

CHUNK = 64  # points whose hidden rows are in memory at a time: 16 kB of them, and the second layer's rows fit beside it


@cache
def _hidden_kernel(K: int) -> Any:
    @njit(cache=True, nogil=True, fastmath={"contract"})
    def hidden(x, first, last, w1, b1, h):  # type: ignore[no-untyped-def]
        """h[p - first] = ReLU(x[p] @ w1 + b1)."""
        for p in range(first, last, 2):
            q = min(p + 1, last - 1)
            x0, x1, h0, h1 = x[p], x[q], h[p - first], h[q - first]
            for j in range(w1.shape[1]):
                a0, a1 = b1[j], b1[j]
                for k in range(K):
                    a0 += x0[k] * w1[k, j]
                    a1 += x1[k] * w1[k, j]
                h0[j] = a0 if a0 > ZERO else ZERO
                h1[j] = a1 if a1 > ZERO else ZERO

    return hidden


@njit(cache=True, nogil=True, fastmath={"contract"})
def _second(h, first, count, w2, z, best, where, keep):  # type: ignore[no-untyped-def]
    """Maximum into best over the rows h[:count] @ w2, four rows and four inputs at a time; H divides by 4."""
    H, C = w2.shape
    z0, z1, z2, z3 = z[0], z[1], z[2], z[3]
    for i in range(0, count, 4):
        i1, i2, i3 = min(i + 1, count - 1), min(i + 2, count - 1), min(i + 3, count - 1)
        h0, h1, h2, h3 = h[i], h[i1], h[i2], h[i3]
        z[:] = ZERO
        for j in range(0, H, 4):
            u0, u1, u2, u3 = w2[j], w2[j + 1], w2[j + 2], w2[j + 3]
            a0, a1, a2, a3 = h0[j], h0[j + 1], h0[j + 2], h0[j + 3]
            b0, b1, b2, b3 = h1[j], h1[j + 1], h1[j + 2], h1[j + 3]
            c0, c1, c2, c3 = h2[j], h2[j + 1], h2[j + 2], h2[j + 3]
            d0, d1, d2, d3 = h3[j], h3[j + 1], h3[j + 2], h3[j + 3]
            for c in range(C):
                z0[c] += a0 * u0[c] + a1 * u1[c] + a2 * u2[c] + a3 * u3[c]
                z1[c] += b0 * u0[c] + b1 * u1[c] + b2 * u2[c] + b3 * u3[c]
                z2[c] += c0 * u0[c] + c1 * u1[c] + c2 * u2[c] + c3 * u3[c]
                z3[c] += d0 * u0[c] + d1 * u1[c] + d2 * u2[c] + d3 * u3[c]
        if keep:
            p = np.int32(first + i)
            for r in range(min(4, count - i)):
                row, at = z[r], np.int32(p + r)
                for c in range(C):
                    better = row[c] > best[c]
                    best[c] = row[c] if better else best[c]
                    where[c] = at if better else where[c]
        else:
            for c in range(C):
                a = z0[c] if z0[c] > z1[c] else z1[c]
                b = z2[c] if z2[c] > z3[c] else z3[c]
                a = a if a > b else b
                best[c] = a if a > best[c] else best[c]


@cache
def _net_kernel(K: int) -> Any:
    hidden = _hidden_kernel(K)

    @njit(cache=True, nogil=True, fastmath={"contract"})
    def kernel(start, stop, x, offsets, w1, b1, w2, safe, keep, pooled, out, first, second):  # type: ignore[no-untyped-def]
        """Maxima of the hidden rows, and of hidden @ w2 (-inf where a pillar is empty); NaN all over where not safe."""
        H, C = w2.shape
        h, z, flat = np.empty((CHUNK, H), np.float32), np.empty((4, C), np.float32), x.ravel()
        for v in range(start, stop):
            most, best, one, two = pooled[v], out[v], first[v * keep], second[v * keep]
            most[:] = ZERO
            best[:] = -np.inf
            if keep:
                one[:] = -1
                two[:] = -1
            if not size(flat, offsets[v] * K, offsets[v + 1] * K) < safe:
                most[:] = np.nan
                continue
            for p in range(offsets[v], offsets[v + 1], CHUNK):
                n = min(CHUNK, offsets[v + 1] - p)
                hidden(x, p, p + n, w1, b1, h)
                for i in range(n):
                    row, at = h[i], np.int32(p + i)
                    for j in range(H):
                        better = row[j] > most[j]
                        most[j] = row[j] if better else most[j]
                        if keep:
                            one[j] = at if better else one[j]
                _second(h, p, n, w2, z, best, two, keep)

    return kernel


def pillar_net(
    x: np.ndarray, offsets: np.ndarray, w1: np.ndarray, b1: np.ndarray, w2: np.ndarray, *, keep: bool, threads: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(maximum of hidden @ w2 [V, C], maximum of hidden [V, H], the rows of both int32 or [0, ..] without `keep`).

    The hidden width H divides by 4. Rows of `pooled` are NaN for pillars that this kernel must not compute.
    """
    V, (K, H), C = offsets.size - 1, w1.shape, w2.shape[1]
    pooled, out = np.empty((V, H), np.float32), np.empty((V, C), np.float32)
    first, second = np.empty((V if keep else 1, H), np.int32), np.empty((V if keep else 1, C), np.int32)
    parts = threading.balanced_parts(offsets, threads, GRAIN)
    # |hidden| <= sum |x| most(w1) + most(b1) must leave room for H products with w2.
    with np.errstate(all="ignore"):
        safe = (SAFE / np.float32(H) / max(most(w2), np.float32(1)) - most(b1)) / max(most(w1), np.float32(1e-3))
    given = x, offsets, w1, b1, w2, np.float32(safe), keep
    native_net = compiled("net", H, C)
    if native_net is not None:
        sizes = x, offsets, K, w1, b1, H, w2, C, np.float32(safe), keep
        threading.run(native_net, parts, threads, *sizes, pooled, out, first, second)
    else:
        threading.run(_net_kernel(K), parts, threads, *given, pooled, out, first, second)
    return out, pooled, first if keep else first[:0], second if keep else second[:0]


@cache
def _backward_kernel(K: int) -> Any:
    hidden = _hidden_kernel(K)

    @njit(cache=True, nogil=True, fastmath={"contract"})
    def kernel(  # type: ignore[no-untyped-def]
        start, stop, limits, grad, d_pooled, first, second, x, offsets, w1, w1t, b1, w2t, to_x, d_x, d_w1, d_b1, d_w2t
    ):
        K, H = w1.shape
        longest = 0
        for v in range(limits[start], limits[stop]):
            longest = max(longest, offsets[v + 1] - offsets[v])
        h, d = np.empty((longest, H), np.float32), np.empty((longest, H), np.float32)
        for part in range(start, stop):
            for v in range(limits[part], limits[part + 1]):
                begin, n = offsets[v], offsets[v + 1] - offsets[v]
                hidden(x, begin, offsets[v + 1], w1, b1, h)
                d[:n] = ZERO
                for c in range(w2t.shape[0]):
                    g, p = grad[v, c], second[v, c] - begin
                    if g != ZERO and second[v, c] >= 0:
                        row, d_row, w, d_w = h[p], d[p], w2t[c], d_w2t[part, c]
                        for j in range(H):
                            d_row[j] += g * w[j]
                            d_w[j] += g * row[j]
                for j in range(H):
                    if first[v, j] >= 0:
                        d[first[v, j] - begin, j] += d_pooled[v, j]
                for i in range(n):
                    row, d_row, d_b = h[i], d[i], d_b1[part]
                    for j in range(H):
                        d_row[j] = d_row[j] if row[j] > ZERO else ZERO
                        d_b[j] += d_row[j]
                    for k in range(K):
                        y, d_w = x[begin + i, k], d_w1[part, k]
                        for j in range(H):
                            d_w[j] += y * d_row[j]
                    if to_x:
                        target = d_x[begin + i]
                        target[:] = ZERO
                        for j in range(H):
                            w, y = w1t[j], d_row[j]
                            for k in range(K):
                                target[k] += y * w[k]

    return kernel


def pillar_net_backward(
    grad: np.ndarray,
    d_pooled: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    x: np.ndarray,
    offsets: np.ndarray,
    w1: np.ndarray,
    b1: np.ndarray,
    w2: np.ndarray,
    *,
    to_x: bool,
    threads: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of x ([0, K] unless `to_x`), w1, b1 and w2 from those of hidden @ w2's maximum and of hidden's."""
    V, (K, H), C = grad.shape[0], w1.shape, w2.shape[1]
    limits = np.linspace(0, V, PARTS + 1).astype(np.int64)
    d_x = np.empty(x.shape if to_x else (0, K), np.float32)
    d_w1, d_b1 = np.zeros((PARTS, K, H), np.float32), np.zeros((PARTS, H), np.float32)
    d_w2t = np.zeros((PARTS, C, H), np.float32)
    parts = threading.even_parts(PARTS, threads, 1)
    given = limits, grad, d_pooled, first, second, x, offsets, w1, np.ascontiguousarray(w1.T), b1
    rest = np.ascontiguousarray(w2.T), to_x, d_x, d_w1, d_b1, d_w2t
    threading.run(_backward_kernel(K), parts, threads, *given, *rest)
    return d_x, d_w1.sum(0), d_b1.sum(0), np.ascontiguousarray(d_w2t.sum(0).T)
