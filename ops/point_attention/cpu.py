"""Ragged softmax pooling for the CPU: one segment at a time, its rows read twice from cache."""

import numpy as np
from numba import njit

from ops import threads as threading
from ops.intrinsics import exp32

FAST = {"reassoc", "contract", "nsz", "arcp"}
GRAIN = 2048.0  # rows worth a thread


@njit(cache=True, nogil=True, fastmath=FAST)
def _forward(start, stop, scores, values, offsets, pooled, logsumexp):  # type: ignore[no-untyped-def]
    H = scores.shape[1]
    top, total, weight = np.empty(H, np.float32), np.empty(H, np.float32), np.empty(H, np.float32)
    for v in range(start, stop):
        first, last = offsets[v], offsets[v + 1]
        for h in range(H):
            row = pooled[v, h]
            for c in range(row.size):
                row[c] = 0
            logsumexp[v, h] = top[h] = -np.inf
            total[h] = 0
        if first == last:
            continue
        for p in range(first, last):
            for h in range(H):
                top[h] = max(top[h], scores[p, h])
        for p in range(first, last):
            for h in range(H):
                weight[h] = exp32(scores[p, h] - top[h])
                total[h] += weight[h]
            value = values[p]
            for h in range(H):
                row, w = pooled[v, h], weight[h]
                for c in range(row.size):
                    row[c] += w * value[c]
        for h in range(H):
            row, w = pooled[v, h], np.float32(1) / total[h]
            for c in range(row.size):
                row[c] *= w
            logsumexp[v, h] = top[h] + np.log(total[h])


@njit(cache=True, nogil=True, fastmath=FAST)
def _backward(start, stop, grad, scores, values, offsets, pooled, logsumexp, grad_scores, grad_values):  # type: ignore[no-untyped-def]
    H = scores.shape[1]
    delta, weight = np.empty(H, np.float32), np.empty(H, np.float32)
    for v in range(start, stop):
        for h in range(H):
            g, out, total = grad[v, h], pooled[v, h], np.float32(0)
            for c in range(g.size):
                total += g[c] * out[c]
            delta[h] = total
        for p in range(offsets[v], offsets[v + 1]):
            value, to_value = values[p], grad_values[p]
            for h in range(H):
                weight[h] = exp32(scores[p, h] - logsumexp[v, h])
            for c in range(to_value.size):
                to_value[c] = 0
            for h in range(H):
                g, w, dot = grad[v, h], weight[h], np.float32(0)
                for c in range(g.size):
                    dot += g[c] * value[c]
                    to_value[c] += w * g[c]
                grad_scores[p, h] = w * (dot - delta[h])


def forward(
    scores: np.ndarray, values: np.ndarray, offsets: np.ndarray, *, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Float32 scores [P, H], values [P, C] -> (pooled [V, H, C], log-sum-exp [V, H])."""
    V, H = offsets.size - 1, scores.shape[1]
    pooled, logsumexp = np.empty((V, H, values.shape[1]), np.float32), np.empty((V, H), np.float32)
    parts = threading.balanced_parts(offsets, threads, GRAIN)
    threading.run(_forward, parts, threads, scores, values, offsets, pooled, logsumexp)
    return pooled, logsumexp


def backward(
    grad: np.ndarray,
    scores: np.ndarray,
    values: np.ndarray,
    offsets: np.ndarray,
    pooled: np.ndarray,
    logsumexp: np.ndarray,
    *,
    threads: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of scores [P, H] and values [P, C], float32."""
    grads = np.empty_like(scores), np.empty_like(values)
    parts = threading.balanced_parts(offsets, threads, GRAIN)
    threading.run(_backward, parts, threads, grad, scores, values, offsets, pooled, logsumexp, *grads)
    return grads
